"""The section of a recipe that says how images are evaluated."""

from dataclasses import dataclass

from jobs.config.settings import setting

PROTOCOL_NAMES = ("adm-50k", "balanced-50", "rae", "fae", "quick")


@dataclass(frozen=True)
class EvalConfig:
    """What is compared with what, and by which frozen networks."""

    protocol: str | None = setting(
        None,
        "Refuse samples that were not made as this published evaluation has it; names of metrics carry it.",
        choices=PROTOCOL_NAMES,
        group="Reference",
    )
    reference: str | None = setting(
        None,
        "Real images to compare with: folder, tar, Parquet file(s), a store with images (or its name), or a .npz "
        "of images or statistics.",
        metavar="SET",
        group="Reference",
    )
    reference_split: str | None = setting(
        None, "Use this part of the reference alone.", choices=("train", "val"), group="Reference"
    )
    reference_count: int | None = setting(
        None, "Use so many images of the reference, at random.", metavar="COUNT", low=2, group="Reference"
    )
    validation: str | None = setting(
        None,
        "Other real images of the same data, of the same kinds as the reference: distances of samples also in units "
        "of these images' own (FDr), and their mean over several networks (FDr^k).",
        metavar="SET",
        group="Reference",
    )
    validation_split: str | None = setting(
        None, "Use this part of the validation images alone.", choices=("train", "val"), group="Reference"
    )
    checkpoints: str | None = setting(
        None,
        "Steps of a generator's kept checkpoints whose samples are evaluated too, such as 1000,2000.",
        metavar="STEPS",
        group="What is evaluated",
    )
    averages: str | None = setting(
        None,
        "Averages of a generator's weights whose samples are evaluated too, at the last step and at `checkpoints`: all "
        "(ema, raw and the run's ema_bank), or names with commas, such as raw,0.999,power:0.15.",
        metavar="all|NAMES",
        group="What is evaluated",
    )
    distance: float | None = setting(
        None,
        "Fréchet distance of samples for which the epochs until the best of these averages reached it are named "
        "(EP_FID@k; needs `checkpoints`).",
        metavar="K",
        low=0.0,
        group="What is evaluated",
    )
    rebuilt: bool = setting(
        False,
        "Evaluate held-out images that the autoencoder rebuilds, too; read by `fae-pipe run` alone.",
        group="What is evaluated",
    )
    split: str | None = setting(
        None,
        "Evaluate this part alone; for reconstructions val when absent.",
        choices=("train", "val"),
        group="What is evaluated",
    )
    count: int | None = setting(None, "Evaluate so many images.", metavar="COUNT", low=2, group="What is evaluated")
    size: int | str | None = setting(
        None,
        "Pixels, HEIGHTxWIDTH or a side, to which images of files are cropped (ADM's center crop); of the evaluated "
        "ones a side as short as their own when absent, of the reference that of the evaluated ones.",
        metavar="SIZE",
        low=8,
        group="What is evaluated",
    )
    weights: str = setting(
        "ema",
        "Of a decoder's or autoencoder's run the averaged weights (ema), the raw ones that the optimizer left, or "
        "another average by its name in the run's ema_bank.",
        metavar="ema|raw|NAME",
        group="What is evaluated",
    )
    max_rejected: float = setting(
        0.01,
        "Share of unreadable images above which the command ends with an error.",
        metavar="SHARE",
        low=0.0,
        high=1.0,
        group="What is evaluated",
    )
    extractors: str | None = setting(
        None,
        "lite0, dinov2, inception, or several with commas; when absent lite0 and those whose weights or encoder are "
        "named.",
        metavar="LIST",
        group="Networks",
    )
    inception_weights: str | None = setting(
        None,
        "torch-fidelity's weights of InceptionV3 (pt_inception-2015-12-05-6726825d.pth); FID, sFID, IS need them.",
        metavar="FILE",
        group="Networks",
    )
    encoder: str | None = setting(
        None,
        "ViT of dinov2, a preset or timm name; dinov2-l is that of FD-DINOv2; several with commas.",
        metavar="NAME",
        group="Networks",
    )
    encoder_weights: str | None = setting(
        None,
        "Its weights, a local file or local-dir:PATH; else the preset's own; of several in their order with commas, an "
        "empty one for the preset's own.",
        metavar="FILE",
        group="Networks",
    )
    lpips: str = setting(
        "alex", "Network of LPIPS, for reconstructions.", choices=("alex", "vgg", "none"), group="Networks"
    )
    text_tower: str | None = setting(
        None,
        "Transformers folder of a joint vision-text model (SigLIP, CLIP) that measures whether samples show their "
        "captions; when absent a small head does, trained on the real pairs of the samples' generator.",
        metavar="DIR",
        group="Networks",
    )
    pair_rows: int = setting(
        10_000,
        "Images of each side, at random, that KID, precision and recall look at.",
        metavar="COUNT",
        low=4,
        group="Networks",
    )
    batch_size: int = setting(64, "Images in one forward pass.", metavar="ROWS", low=1, group="Networks")
    seed: int = setting(0, "Seed of the bootstrap.", metavar="SEED", low=0, group="Networks")
