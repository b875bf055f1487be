"""Alignment of a generator with the features that its latents were made of."""

from pathlib import Path
from typing import Any

from fae.generators import Alignment, AlignmentConfig, DiffusionGenerator, Generator, early_block
from jobs.config import GeneratorConfig
from jobs.loop import Trainer
from jobs.runs import resolve_reference
from jobs.train.families import FAMILIES
from stores import AnyStore, Store, open_store
from stores.core import member_stores

FEATURES = "features"
# In the averages and checkpoints of a training, not in the model that is saved.
PREFIX = "alignment."


def aligns(config: GeneratorConfig) -> bool:
    """Whether the settings align a generator of a family that has tokens to align."""
    return config.alignment != "none" and "alignment" in FAMILIES[config.model].settings


def aligned_features(latents: AnyStore, config: GeneratorConfig) -> list[Store]:
    """The feature store that each store of latents was encoded from; none where the settings align no generator.

    Raises:
        ValueError: latents of no feature store, or one that is not there any more or has changed.
    """
    if not aligns(config):
        return []
    return [_features_of(store) for store in member_stores(latents)]


def _features_of(latents: Store) -> Store:
    reference = latents.attributes.get("features")
    if reference is None:
        raise ValueError(f"{latents.url}: expected latents with their feature store for alignment; received none")
    place = str(resolve_reference(latents.url, reference))
    if "://" not in place and not Path(place).exists():
        raise ValueError(
            f"{latents.url}: expected its feature store at {place}; it is not there; put it back, or set "
            "generator.alignment none"
        )
    cache = latents.cache
    features = open_store(place) if cache is None else open_store(place, cache.folder, cache.max_bytes)
    if features.content_id != latents.manifest.ingredients.get("features_content_id"):
        raise ValueError(f"{place}: expected the features that {latents.url} was encoded from; their content differs")
    return features


def alignment_ingredients(latents: AnyStore, config: GeneratorConfig) -> dict[str, Any]:
    """What alignment adds to that which decides the weights."""
    if not aligns(config):
        return {}
    digests = [store.manifest.ingredients.get("features_content_id") for store in member_stores(latents)]
    return {"features_content_id": digests[0] if len(digests) == 1 else digests}


def add_alignment(generator: Generator, features: Store, config: GeneratorConfig) -> None:
    """Give a fresh generator its projector, trained and averaged along with it."""
    assert isinstance(generator, DiffusionGenerator)
    sizes: Any = generator.model.config
    depth = int(sizes.depth)
    settings = AlignmentConfig(config.alignment, config.alignment_weight, config.alignment_depth or early_block(depth))
    channels = features.arrays[FEATURES].row_shape[-1]
    generator.alignment = Alignment(settings, int(sizes.hidden_size), channels, depth)


def stop_alignment(trainer: Trainer, config: GeneratorConfig, generator: Generator) -> None:
    """Switch the alignment off once the trainer is beyond its share of the steps."""
    if isinstance(generator, DiffusionGenerator) and generator.alignment is not None:
        generator.alignment.active = trainer.step < round(config.alignment_stop * config.steps)
