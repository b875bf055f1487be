"""The README.md of an exported pipeline: how to use it, what made it, what it reaches, whose encoder it stands on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import ModelCardData

from fae.encoders import encoder_license

CLASS_TAG = "class-conditional-image-generation"
TEXT_TASK, UNCONDITIONAL_TASK = "text-to-image", "unconditional-image-generation"


@dataclass(frozen=True)
class CardFacts:
    """What the card tells; everything comes from manifests and run folders, nothing is made up here."""

    name: str
    """Of the model."""
    encoder: Mapping[str, Any]
    """The frozen encoder's `describe()`: name, layer, norm, weights_sha256, …"""
    recipe: str
    """The resolved recipe, YAML."""
    lineage: Sequence[tuple[str, str, str]]
    """(stage, folder name, content id or weights digest), first to last."""
    metrics: Mapping[str, float | int | str] = field(default_factory=dict)
    """Measured metrics by name."""
    class_names: Sequence[str] = ()
    unconditional: bool = False
    """Whether the model takes neither classes nor captions."""
    text_encoder: Mapping[str, Any] = field(default_factory=dict)
    """Of a model that takes captions: what encodes them (name, sha256, max_tokens); empty for one of classes."""
    prompt: str = "a photograph"
    """The caption of the example call."""
    guidance_scale: float = 1.0
    """Recommended."""
    guidance_interval: str = "1,0"
    """Recommended: spans of t as text, see `fae.sampling.parse_guidance`."""
    internal_guidance_scale: float = 1.0
    """Recommended: guidance by the model's own early head; 1 = none."""
    steps: int | None = 250
    """Recommended; None for a model that solves no ODE."""
    solver: str = "euler"
    """That the metrics and the images were made with."""
    images: str = ""
    """How the images of samples.png were made; empty = there are none."""
    license: str = "other"
    """Of these weights, by its identifier on the hub."""
    data: str = "not recorded"
    """What it was trained on, and under which terms."""


def model_card(facts: CardFacts) -> str:
    """The card as Markdown with the hub's YAML head; its examples run in the folder that holds the exported one."""
    what, condition, section = _condition(facts)
    return "\n".join(
        [
            f"---\n{_head(facts)}\n---",
            f"# {facts.name}\n",
            f"{what} by a Feature Auto-Encoder (arXiv 2512.07829): a generator makes latents, a "
            "light decoder rebuilds the tokens of a frozen vision encoder from them, a ViT decodes the image.\n",
            *([f"![Samples](samples.png)\n\n{facts.images}\n"] if facts.images else []),
            "## Use\n",
            "The folder holds the code of its models: torch, diffusers and safetensors are enough"
            + (f", and for captions transformers {_transformers()}.\n" if facts.text_encoder else ".\n"),
            "```python\nfrom diffusers import DiffusionPipeline\n",
            f'pipe = DiffusionPipeline.from_pretrained("{facts.name}", trust_remote_code=True)',
            _call(facts, condition),
            "```\n",
            "Where fae-pipe is installed, no code of the folder is run:\n",
            f'```python\nfrom fae.export import FAEPipeline\n\npipe = FAEPipeline.from_pretrained("{facts.name}")',
            _call(facts, condition),
            "```\n",
            "A seed gives the same image whatever else is in the batch. Other settings: `guidance_interval`, "
            "`num_images_per_prompt`, `generator`, `latents`, `output_type`, `callback_on_step_end`.\n",
            "## Recommended settings\n\n" + _table(("setting", "value"), _recommended(facts)),
            section,
            "## Metrics\n\n" + _table(("measure", "value"), [(key, _number(v)) for key, v in facts.metrics.items()]),
            "## Lineage\n\n" + _table(("stage", "folder", "digest"), facts.lineage),
            "## Encoder\n\n" + _table(("setting", "value"), [(key, str(v)) for key, v in facts.encoder.items()]),
            f"Licence of its weights: {encoder_license(str(facts.encoder['name']))}.\n",
            f"## Data\n\n{facts.data}\n",
            f"## Recipe\n\n```yaml\n{facts.recipe.strip()}\n```\n",
        ]
    )


def _transformers() -> str:
    """The major release that saves the tokenizer; an earlier one does not read it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{version('transformers').partition('.')[0]} or newer"
    except PackageNotFoundError:
        return "as it saved the tokenizer"


def _head(facts: CardFacts) -> str:
    """The hub's metadata as YAML."""
    task = TEXT_TASK if facts.text_encoder else UNCONDITIONAL_TASK if facts.unconditional else None
    tags = ["fae", "arxiv:2512.07829", task or CLASS_TAG]
    return ModelCardData(license=facts.license, library_name="diffusers", pipeline_tag=task, tags=tags).to_yaml()


def _call(facts: CardFacts, condition: str) -> str:
    """The example's call with the recommended settings, and the image saved."""
    settings = [condition] if condition else []
    settings += ["seeds=[0]", *(f"{name}={value!r}" for name, value in _settings(facts).items())]
    return f'pipe({", ".join(settings)}).images[0].save("image.png")'


def _settings(facts: CardFacts) -> dict[str, float | int | str]:
    """Arguments of the pipeline, those alone that differ from its defaults or matter most."""
    settings: dict[str, float | int | str] = {"guidance_scale": facts.guidance_scale}
    if facts.guidance_interval != "1,0":
        settings["guidance_interval"] = facts.guidance_interval
    if facts.internal_guidance_scale != 1:
        settings["internal_guidance_scale"] = facts.internal_guidance_scale
    return settings if facts.steps is None else {**settings, "num_inference_steps": facts.steps}


def _recommended(facts: CardFacts) -> list[tuple[str, str]]:
    rows = [(name, str(value)) for name, value in _settings(facts).items()]
    return rows if facts.solver == "euler" else [*rows, ("solver of the samples", facts.solver)]


def _condition(facts: CardFacts) -> tuple[str, str, str]:
    """What the images are, the first argument of the example call, and the section about conditions."""
    if facts.text_encoder:
        prompt = f"prompt=[{json.dumps(facts.prompt, ensure_ascii=False)}]"
        return "Images of captions", prompt, _captions(facts.text_encoder)
    if facts.unconditional:
        section = "## Conditions\n\nNone: seeds alone choose the image, and guidance does nothing.\n"
        return "Unconditional images", "", section
    label = repr(facts.class_names[0]) if facts.class_names else "0"
    section = f"## Classes\n\n{_classes(facts.class_names)}\n"
    return "Class-conditional images", f"class_labels=[{label}]", section


def _captions(text_encoder: Mapping[str, Any]) -> str:
    return (
        "## Captions\n\nThe generator is conditioned on a caption's states of this frozen text encoder. A copy of it "
        "lies in `text_encoder/` and `tokenizer/`; its licence is its authors', ask them before you pass it on.\n\n"
        + _table(("setting", "value"), [(key, str(value)) for key, value in text_encoder.items()])
    )


def _classes(names: Sequence[str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in enumerate(names)) if names else "Ids without names."


def _number(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "None recorded.\n"
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
