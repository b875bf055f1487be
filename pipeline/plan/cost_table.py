"""What models cost, counted once and kept in costs.json, so that estimates of known sizes need no torch.

Keys are digests of all that decides a model's structure; what is not in the table is counted from the model itself.
`python -m pipeline.plan.count_table` writes the file anew; a test compares it with the models.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from jobs.config import ExtractConfig, GeneratorConfig, SampleConfig, TextConfig, TrainConfig
from jobs.extraction import encoder_spec
from pipeline.config import TEXT_STAGE, Recipe
from pipeline.plan.cost import Cost
from stores import fingerprint

FILE = Path(__file__).with_name("costs.json")
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class TextSize:
    """Tokens, channels of a state and of the pooled vector, and the cost of the text encoder for a caption."""

    tokens: int
    width: int
    pooled_width: int
    cost: Cost


@dataclass(frozen=True)
class RecipeCosts:
    """What a recipe's models cost for an image: by name, with the tokens' shape and the generator's evaluations."""

    shape: Shape
    latent_shape: Shape
    text: TextSize | None
    costs: dict[str, Cost]
    function_evaluations: float


@dataclass
class CostTable:
    """Counted costs by key; what is asked for and not there is counted and kept."""

    entries: dict[str, Any] = field(default_factory=dict)

    def get(self, what: str, decided_by: Mapping[str, Any], count: Callable[[], Any]) -> Any:
        """The entry of a model whose structure is decided so, as JSON values."""
        key = f"{what} {fingerprint(dict(decided_by))[:16]}"
        if key not in self.entries:
            self.entries[key] = count()
        return self.entries[key]


@lru_cache
def shipped_table() -> CostTable:
    """The table of costs.json."""
    return CostTable(json.loads(FILE.read_text()))


def recipe_costs(recipe: Recipe, classes: int, caption_tokens: int, table: CostTable | None = None) -> RecipeCosts:
    """The costs of a recipe's models; its generator has so many classes, or captions of so many tokens.

    Raises:
        ValueError: settings that do not fit the encoder.
    """
    table = shipped_table() if table is None else table
    encoder, shape = encoder_costs(recipe.extract, table)
    latent_shape = (*shape[:2], recipe.autoencoder.latent_channels)
    text = text_size(recipe.text, caption_tokens, table) if TEXT_STAGE in recipe.stages else None
    costs = {"frozen encoder": encoder} | ({"text encoder": text.cost} if text else {})
    costs |= {name: Cost(**cost) for name, cost in _halves(recipe, shape, table).items()}
    costs["generator"] = generator_costs(recipe.generator, latent_shape, classes, text, table)
    evaluations = _evaluations(recipe.sample, recipe.generator, latent_shape, classes, text, table)
    return RecipeCosts(shape, latent_shape, text, costs, evaluations)


def encoder_costs(config: ExtractConfig, table: CostTable) -> tuple[Cost, Shape]:
    """Of the frozen encoder up to its tapped block, and its tokens' (h, w, C)."""

    def count() -> dict[str, Any]:
        from pipeline.plan.model_costs import encoder_cost, meta_encoder

        encoder, shape = meta_encoder(config)
        return {"cost": asdict(encoder_cost(encoder)), "shape": list(shape)}

    spec = encoder_spec(config)
    defaults = type(spec)(spec.name)
    decided_by = {name: value for name, value in vars(spec).items() if value != getattr(defaults, name)}
    entry = table.get("encoder", {"name": spec.name, **decided_by}, count)
    height, width, channels = entry["shape"]
    return Cost(**entry["cost"]), (height, width, channels)


def text_size(config: TextConfig, tokens: int, table: CostTable) -> TextSize:
    """Of captions of so many tokens (fewer where the settings cut them); two operations a weight and token.

    Attention's own are left out, some percent for captions, and embeddings only look up.
    """

    def count() -> dict[str, int]:
        from fae.encoders import text_encoder_size

        return vars(text_encoder_size(config.text_encoder)).copy()

    size, tokens = table.get("text", {"encoder": config.text_encoder}, count), min(tokens, config.max_tokens or tokens)
    flops = 2 * (size["parameters"] - size["embedding_parameters"]) * tokens
    return TextSize(tokens, size["width"], size["pooled_width"], Cost(size["parameters"], flops, size["parameters"]))


def generator_costs(
    config: GeneratorConfig, shape: Shape, classes: int, text: TextSize | None, table: CostTable
) -> Cost:
    """Of one evaluation of the generator's model on latents (h, w, c), given a class or a caption."""

    def count() -> dict[str, int]:
        from pipeline.plan.model_costs import blank_caption, generator_cost

        caption = blank_caption(text.tokens, text.width, text.pooled_width) if text else None
        return asdict(generator_cost(shape, classes, config, caption))

    return Cost(**table.get("generator", _generator_key(config, shape, classes, text), count))


def _halves(recipe: Recipe, shape: Shape, table: CostTable) -> dict[str, dict[str, int]]:
    """Of the autoencoder (whole, encode, decode) and of the pixel decoder."""

    def autoencoder() -> dict[str, Any]:
        from pipeline.plan.model_costs import autoencoder_costs

        return {name: asdict(cost) for name, cost in autoencoder_costs(shape, recipe.autoencoder).items()}

    def decoder() -> dict[str, int]:
        from pipeline.plan.model_costs import decoder_cost

        return asdict(decoder_cost(shape, recipe.extract.image_size, recipe.decoder))

    found = dict(table.get("autoencoder", {"shape": shape, **_structure(recipe.autoencoder)}, autoencoder))
    key = {"shape": shape, "image_size": recipe.extract.image_size, **_structure(recipe.decoder)}
    return found | {"pixel decoder": table.get("decoder", key, decoder)}


def _evaluations(
    sample: SampleConfig,
    config: GeneratorConfig,
    shape: Shape,
    classes: int,
    text: TextSize | None,
    table: CostTable,
) -> float:
    def count() -> float:
        from pipeline.plan.model_costs import blank_caption, num_function_evaluations

        caption = blank_caption(text.tokens, text.width, text.pooled_width) if text else None
        return num_function_evaluations(sample, shape, classes, config, caption)

    names = ("steps", "solver", "guidance_interval", "guidance_scale")
    sampling = {name: getattr(sample, name) for name in names}
    return float(table.get("evaluations", {**_generator_key(config, shape, classes, text), **sampling}, count))


def _generator_key(config: GeneratorConfig, shape: Shape, classes: int, text: TextSize | None) -> dict[str, Any]:
    caption = [text.tokens, text.width, text.pooled_width] if text else None
    return {"shape": shape, "classes": classes, "caption": caption, "generator": _structure(config)}


def _structure(config: TrainConfig) -> dict[str, Any]:
    """The settings that are not their defaults, but for those of training that hold no memory and change no model.

    All that decide a model's structure are among them; a new setting that is off by default changes no key.
    """
    general = {part.name for part in fields(TrainConfig)} - {"optimizer", "ema_bank"}
    values = {part.name: getattr(config, part.name) for part in fields(config) if part.name not in general}
    defaults = type(config)()
    return {name: value for name, value in values.items() if value != getattr(defaults, name)}
