"""The section of a recipe that says which images are sampled, and how."""

from dataclasses import dataclass

from jobs.config.evaluation import PROTOCOL_NAMES
from jobs.config.settings import setting


@dataclass(frozen=True)
class SampleConfig:
    """Which images to make."""

    classes: str | None = setting(
        None,
        "Class ids or names: 0,3,7 or 0-9 (id:3 or name:3 where names are numbers); every class that had training "
        "images, in turn, when absent.",
        metavar="LIST",
        group="What",
    )
    prompt: tuple[str, ...] = setting(
        (),
        "A caption to sample, for generators that take captions; may be repeated, and then they are taken in turn.",
        metavar="TEXT",
        group="What",
    )
    prompts: str | None = setting(
        None,
        "File of captions, one a line, or JSON lines with a caption each; or held-out: the first caption of each "
        "held-out row that the generator was not trained on. --prompt goes before it.",
        metavar="FILE|held-out",
        group="What",
    )
    protocol: str | None = setting(
        None,
        "Number, labels, steps, solver and guidance as a published evaluation has them (docs/methods/protocols.md).",
        choices=PROTOCOL_NAMES,
        group="What",
        omit_default=True,
    )
    num: int = setting(40, "Images in all.", metavar="COUNT", low=1, group="What")
    labels: str = setting(
        "balanced",
        "balanced = the classes or prompts in turn; random = each image's drawn by the seed.",
        choices=("balanced", "random"),
        group="What",
    )
    size: int | str | None = setting(
        None,
        "Pixels of the images, HEIGHTxWIDTH or one number for squares; those that the models were trained on when "
        "absent. On others shapes are right, quality is not promised.",
        metavar="SIZE",
        low=1,
        group="What",
        omit_default=True,
    )
    positions: str = setting(
        "interpolate",
        "Where the tokens of another size lie: interpolate = between the trained positions, which the image spans; "
        "extrapolate = at the trained distances, around the middle and beyond.",
        choices=("interpolate", "extrapolate"),
        group="How",
        omit_default=True,
    )
    original_size: int | str | None = setting(
        None,
        "Size that the image is said to have had before it was resized, HEIGHTxWIDTH or one number, for a generator "
        "conditioned on size; that of the image when absent.",
        metavar="SIZE",
        low=1,
        group="What",
        omit_default=True,
    )
    crop: str | None = setting(
        None,
        "Pixels that are said to have been cut off above and on the left, TOPxLEFT, for such a generator; 0x0 when "
        "absent.",
        metavar="TOPxLEFT",
        group="What",
        omit_default=True,
    )
    seed: int = setting(0, "Seed of the first image; the k-th has seed + k.", metavar="SEED", low=0, group="What")
    steps: int = setting(250, "Solver steps (the paper: 250); a flow has none.", metavar="STEPS", low=1, group="How")
    guidance_scale: float = setting(
        1.0,
        "Guidance towards the class or caption; 1 = none (the paper for captions: 1.5 with interval 0.9,0).",
        metavar="SCALE",
        low=0.0,
        group="How",
    )
    guidance_interval: str = setting(
        "1,0",
        "Guided span of t as t_hi,t_lo (1 = noise); several t_hi,t_lo,scale separated by semicolons; or paper: "
        "1,0.9,0.9; 0.7,0,2.5, whatever the scale.",
        metavar="SPANS",
        group="How",
    )
    internal_guidance_scale: float = setting(
        1.0,
        "Guidance by the generator's own early head, at no second pass; 1 = none (published: 1.4 to 2.3).",
        metavar="SCALE",
        low=0.0,
        group="How",
        omit_default=True,
    )
    internal_guidance_interval: str = setting(
        "1,0.1",
        "Span of t of that guidance, as for --guidance-interval.",
        metavar="SPANS",
        group="How",
        omit_default=True,
    )
    solver: str = setting(
        "euler",
        "euler (the paper's with guidance), heun (two evaluations a step), dpm++ (second order at one evaluation a "
        "step, for few of them), or sde (the paper's without).",
        choices=("euler", "heun", "dpm++", "sde"),
        group="How",
    )
    checkpoint: int | None = setting(
        None,
        "Averaged weights of the generator's kept checkpoint of this step (see generator.keep_every); the finished "
        "ones when absent.",
        metavar="STEP",
        low=1,
        group="How",
        omit_default=True,
    )
    weights: str = setting(
        "ema",
        "The generator's averaged weights (ema), the raw ones that the optimizer left, or another average by its name "
        "in generator.ema_bank; any power:SIGMA is reconstructed from those that were kept.",
        metavar="ema|raw|NAME",
        group="How",
        omit_default=True,
    )
    autoguidance: str | None = setting(
        None,
        "Guide by this weaker generator (name or path) instead of by the null class or empty caption.",
        metavar="NAME|PATH",
        group="How",
    )
    batch_size: int = setting(
        64, "Images made at once; moves an image by rounding alone.", metavar="ROWS", low=1, group="How"
    )
    compile: bool | None = setting(
        None,
        "Compile the generator's blocks with torch.compile; auto = on NVIDIA GPUs, off elsewhere. It moves an image by "
        "rounding alone.",
        metavar="auto|on|off",
        group="How",
        absent="auto",
        omit_default=True,
    )
    columns: int = setting(10, "Columns of the grid.", metavar="COUNT", low=1, group="How")
    format: str | None = setting(
        None,
        "Make a store of samples on the workers and write it as PNG files, WebDataset tars, or the .npz of ADM's "
        "evaluation suite; when absent (and no --out), PNG files and a grid, made in this process.",
        choices=("png", "webdataset", "npz"),
        group="Many images",
    )
    out: str | None = setting(
        None,
        "New or empty folder, or URL, for these files (webdataset without --format); beside the store when absent.",
        metavar="DIR|URL",
        group="Many images",
    )
    rows_per_shard: int | None = setting(
        None, "Images in a shard; four batches when absent.", metavar="ROWS", low=1, group="Many images"
    )
