"""Which feature stores an extraction makes: what images, encoder and settings decide; found without torch."""

import importlib.metadata
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fae.encoders import EncoderSpec, is_hook
from jobs.config import DataConfig, ExtractConfig, RuntimeConfig
from jobs.extraction.arrays import feature_arrays
from jobs.extraction.data_summary import MOST_IMAGES, data_record, look_at_images, spread
from jobs.extraction.encoder_facts import EncoderFacts, check_aspect, encoder_facts, encoder_spec
from stores import ArraySpec, StoreWriter, fingerprint
from stores.backends import Location
from stores.sources import ScanResult, Source, SourceItem, open_source, scan


@dataclass(frozen=True)
class FeaturePlan:
    """Everything `StoreWriter.plan` needs, and the parts a worker needs to fill a shard."""

    source: Source
    config: ExtractConfig
    spec: EncoderSpec
    scanned: ScanResult
    arrays: list[ArraySpec]
    ingredients: dict[str, Any]
    attributes: dict[str, Any]

    def writer(self, parent: Location, name: str) -> StoreWriter:
        """The store's writer: a new folder, or the one that these ingredients already have."""
        return StoreWriter.plan(
            parent,
            kind="features",
            name=name,
            arrays=self.arrays,
            views=1 + self.config.flip,
            index=self.scanned.table,
            ingredients=self.ingredients,
            attributes=self.attributes,
            rows_per_shard=self.config.rows_per_shard,
            seed=self.config.seed,
        )

    def with_data_record(self, data: DataConfig) -> "FeaturePlan":
        """The same plan, whose manifest keeps what was understood of the images; the headers of some are read."""
        facts = look_at_images(self.source, _locations(self.scanned.table))
        record = data_record(self.scanned.summary, data, facts)
        return replace(self, attributes={**self.attributes, "data": record})


def plan_features(
    data: DataConfig,
    configs: Sequence[ExtractConfig],
    runtime: RuntimeConfig,
    cache: Path,
    on_progress: Callable[[int, int], None] | None = None,
    on_listing: Callable[[int, int], None] | None = None,
) -> list[FeaturePlan]:
    """Read every image's bytes once, digest the encoders' weights, and name all that decides the features.

    Args:
        data: where the images are.
        configs: settings of the stores; they differ in the encoder and its block alone.
        runtime: where the encoder will run.
        cache: folder for unpacked tars, and for digests of images and weights that have not changed.
        on_progress: called with the images read and their number.
        on_listing: called before that, with the archives listed and their number.

    Raises:
        ValueError: no data path, no image, or settings that do not fit the encoder.
    """
    source = open_images(data, cache)
    encoders = [encoder_facts(config, runtime.device, cache) for config in configs]
    # The images come last: reading them all may take an hour, and a mistake in the settings is said before.
    digests = cache / f"digests-{fingerprint({'root': str(Path(str(data.path)).absolute())})[:12]}.parquet"
    scanned = scan(
        source,
        holdout=data.holdout,
        limit=data.limit,
        cache=digests,
        progress=on_progress,
        listing_progress=on_listing,
    )
    pairs = zip(configs, encoders, strict=True)
    return [plan_of(source, config, facts, scanned, cache) for config, facts in pairs]


def open_images(data: DataConfig, cache: Path) -> Source:
    """The source of the images that the settings name; `cache` is a folder for unpacked tars.

    Raises:
        ValueError: no path.
        SourceError: no source of images is there.
    """
    if data.path is None:
        raise ValueError("data.path: expected a folder, tar or Parquet file of images; received none; pass --data PATH")
    return open_source(data.path, data.source_options(), cache=str(cache / "unpacked"))


def _locations(table: Any) -> list[SourceItem]:
    """Some rows of a scan, spread over it."""
    rows = table.take(spread(table.num_rows, MOST_IMAGES))
    names = ("key", "label", "caption", "split", "source", "offset", "num_bytes")
    return [SourceItem(**{name: row[name] for name in names}) for row in rows.to_pylist()]


def check_compiler(config: ExtractConfig, device: str) -> None:
    """Raise ValueError where an encoder cannot be compiled: a hook's, or on a processor without a C++ compiler."""
    if is_hook(config.encoder):
        raise ValueError(
            f"extract.compile: expected a preset or timm name; received {config.encoder}; compile your network in its "
            "own function"
        )
    compilers = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
    if device == "cpu" and not any(map(shutil.which, compilers)):
        raise ValueError(
            f"extract.compile: expected a C++ compiler; received none of {', '.join(compilers)}; install one"
        )


def plan_of(
    source: Source, config: ExtractConfig, facts: EncoderFacts, scanned: ScanResult, cache: Path
) -> FeaturePlan:
    """The plan of a store of the scanned images by an encoder; with dtype auto some of them are encoded for it."""
    check_aspect(config, facts.shape)
    choice = None
    if config.dtype == "auto":
        from jobs.extraction.encoder_trials import chosen_dtype  # with torch

        choice = chosen_dtype(source, config, facts, _locations(scanned.table), cache)
        config = replace(config, dtype=choice["dtype"])
    arrays = feature_arrays(config, facts.shape)
    ingredients = {"encoder": facts.encoder, "image_size": config.image_size, "precision": facts.precision}
    if config.compile:
        check_compiler(config, facts.device)
        ingredients["compile"] = {"torch": importlib.metadata.version("torch")}
    attributes: dict[str, Any] = {"class_names": scanned.class_names, "device": facts.device}
    attributes |= {"dtype_choice": choice} if choice else {}
    return FeaturePlan(source, config, encoder_spec(config), scanned, arrays, ingredients, attributes)
