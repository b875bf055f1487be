"""The README.md of an exported pipeline: how to use it, what made it, what it reaches, whose encoder it stands on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fae.encoders import encoder_license

CLASS_TAG, UNCONDITIONAL_TAG = "class-conditional-image-generation", "unconditional-image-generation"


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
    """Of the example call."""
    steps: int = 250
    data: str = "not recorded"
    """What it was trained on, and under which terms."""


def model_card(facts: CardFacts) -> str:
    """The card as Markdown with the hub's YAML head."""
    tag, what, condition, section = _condition(facts)
    return "\n".join(
        [
            f"---\nlibrary_name: diffusers\ntags:\n- fae\n- {tag}\n---",
            f"# {facts.name}\n",
            f"{what} by a Feature Auto-Encoder (arXiv 2512.07829): a generator makes latents, a "
            "light decoder rebuilds the tokens of a frozen vision encoder from them, a ViT decodes the image.\n",
            "## Use\n\n```python\n# pip install fae-pipe\nfrom fae.export.pipeline_fae import FAEPipeline\n",
            f'pipe = FAEPipeline.from_pretrained("{facts.name}")',
            f"pipe({condition}seeds=[0], guidance_scale={facts.guidance_scale}, "
            f'num_inference_steps={facts.steps}).images[0].save("image.png")\n```\n',
            "A seed gives the same image whatever else is in the batch. `DiffusionPipeline.from_pretrained(folder, "
            "custom_pipeline=folder, trust_remote_code=True)` loads it too where fae-pipe is installed.\n",
            section,
            "## Metrics\n\n" + _table(("measure", "value"), [(key, _number(v)) for key, v in facts.metrics.items()]),
            "## Lineage\n\n" + _table(("stage", "folder", "digest"), facts.lineage),
            "## Encoder\n\n" + _table(("setting", "value"), [(key, str(v)) for key, v in facts.encoder.items()]),
            f"Licence of its weights: {encoder_license(str(facts.encoder['name']))}.\n",
            f"## Data\n\n{facts.data}\n",
            f"## Recipe\n\n```yaml\n{facts.recipe.strip()}\n```\n",
        ]
    )


def _condition(facts: CardFacts) -> tuple[str, str, str, str]:
    """Tag, what the images are, the first argument of the example call, and the section about conditions."""
    if facts.text_encoder:
        prompt = f"prompt=[{json.dumps(facts.prompt, ensure_ascii=False)}], "
        return "text-to-image", "Images of captions", prompt, _captions(facts.text_encoder)
    if facts.unconditional:
        section = "## Conditions\n\nNone: seeds alone choose the image, and guidance does nothing.\n"
        return UNCONDITIONAL_TAG, "Unconditional images", "", section
    label = repr(facts.class_names[0]) if facts.class_names else "0"
    section = f"## Classes\n\n{_classes(facts.class_names)}\n"
    return CLASS_TAG, "Class-conditional images", f"class_labels=[{label}], ", section


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
