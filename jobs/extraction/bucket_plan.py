"""Which stores an extraction into buckets makes, and the set that they become."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.config import AUTO_GRID, DataConfig, EncodeConfig, ExtractConfig, RuntimeConfig
from jobs.executors import OnProgress
from jobs.extraction.buckets import Shape, assign, bucket_rule, crop_box, image_shapes
from jobs.extraction.encoder_facts import encoder_facts
from jobs.extraction.feature_plan import FeaturePlan, open_images, plan_of
from jobs.extraction.images import extract_set
from jobs.extraction.latents import encode_set
from jobs.runs import RunFolder
from stores import Store, StoreWriter, fingerprint
from stores.backends import Location, inside
from stores.core import SETS, BucketSet, bucket_set_ingredients, write_bucket_set
from stores.sources import scan

INDEX_COLUMNS = ["key", "label", "split", "status", "sha256"]


@dataclass(frozen=True)
class BucketPlan:
    """A feature plan for each size that images go to, and the (height, width) of each image by its digest."""

    rule: str
    plans: Mapping[str, FeaturePlan]
    shapes: Mapping[str, Shape]

    def writers(self, parent: Location, name: str) -> dict[str, StoreWriter]:
        """The writer of each size's store, `<name>-<size>`."""
        return {size: plan.writer(parent, f"{name}-{size}") for size, plan in self.plans.items()}

    def with_data_record(self, data: DataConfig) -> "BucketPlan":
        """The same plan, whose manifests keep what was understood of the images; see `FeaturePlan`."""
        return replace(self, plans={size: plan.with_data_record(data) for size, plan in self.plans.items()})

    def location(self, root: Location, name: str, writers: Mapping[str, StoreWriter]) -> Location:
        """Where the set of these stores lies."""
        return set_location(root, name, self.rule, writers)

    def write_set(
        self, root: Location, name: str, writers: Mapping[str, StoreWriter], stores: Sequence[Store]
    ) -> BucketSet:
        """The record of the complete stores, in the writers' order."""
        index = self._index(dict(zip(writers, stores, strict=True)))
        return write_set(self.location(root, name, writers), name, self.rule, writers, stores, index)

    def _index(self, stores: Mapping[str, Store]) -> pa.Table:
        """One row an image, by key; see `write_bucket_set`."""
        return pa.concat_tables([self._rows_of(size, store) for size, store in stores.items()]).sort_by("key")

    def _rows_of(self, size: str, store: Store) -> pa.Table:
        table = store.index.select(INDEX_COLUMNS)
        shapes = [self.shapes[digest] for digest in table["sha256"].to_pylist()]
        height, width = store.arrays["pixels" if "pixels" in store.arrays else "features"].row_shape[:2]
        boxes = np.array([crop_box(shape, (height, width)) if min(shape) else (0.0,) * 4 for shape in shapes])
        columns: dict[str, object] = {
            "bucket": [size] * table.num_rows,
            "row": np.arange(table.num_rows),
            "height": [shape[0] for shape in shapes],
            "width": [shape[1] for shape in shapes],
        }
        columns |= {f"crop_{side}": boxes[:, at] for at, side in enumerate(("top", "left", "height", "width"))}
        for name, values in columns.items():
            table = table.append_column(name, pa.array(values))
        return table


def plan_buckets(
    data: DataConfig,
    config: ExtractConfig,
    runtime: RuntimeConfig,
    cache: Path,
    on_progress: Callable[[int, int], None] | None = None,
    on_listing: Callable[[int, int], None] | None = None,
) -> BucketPlan:
    """Read every image's bytes for its digest and its size, and choose its bucket; arguments as of `plan_features`.

    Raises:
        ValueError: no data path, no image, a rule or settings that do not fit the encoder.
    """
    rule = bucket_rule(config)
    source = open_images(data, cache)
    buckets = rule.shapes()
    configs = {f"{height}x{width}": _config_of(config, (height, width)) for height, width in buckets}
    # The images come last: reading them all may take an hour, and a mistake in the settings is said before.
    encoder_facts(next(iter(configs.values())), runtime.device, cache)
    scanned = scan(
        *(source,),
        holdout=data.holdout,
        limit=data.limit,
        cache=cache / f"digests-{fingerprint({'root': str(Path(str(data.path)).absolute())})[:12]}.parquet",
        progress=on_progress,
        listing_progress=on_listing,
    )
    shapes = image_shapes(source, scanned.table, cache / "image-sizes.parquet")
    numbers = assign(shapes, buckets)
    plans = {}
    for number, (size, one) in enumerate(configs.items()):
        mask = numbers == number
        if mask.any():
            rows = replace(scanned, table=scanned.table.filter(pa.array(mask)))
            plans[size] = plan_of(source, one, encoder_facts(one, runtime.device, cache), rows, cache)
    by_digest = dict(zip(scanned.table["sha256"].to_pylist(), shapes, strict=True))
    return BucketPlan(rule.text, plans, by_digest)


def set_location(root: Location, name: str, rule: str, writers: Mapping[str, StoreWriter]) -> Location:
    """Where the set of these stores by size lies, a folder or URL like the root."""
    return inside(inside(root, SETS), f"{name}-{fingerprint(_ingredients(rule, writers))[:12]}")


def write_set(
    location: Location,
    name: str,
    rule: str,
    writers: Mapping[str, StoreWriter],
    stores: Sequence[Store],
    index: pa.Table,
) -> BucketSet:
    """The record of complete stores, in the writers' order, with an index as of `write_bucket_set`."""
    by_size = dict(zip(writers, stores, strict=True))
    return write_bucket_set(location, name, _ingredients(rule, writers), by_size, index)


def _ingredients(rule: str, writers: Mapping[str, StoreWriter]) -> dict[str, Any]:
    return bucket_set_ingredients(rule, {size: writer.manifest.fingerprint for size, writer in writers.items()})


def encode_buckets(
    features: BucketSet,
    writers: Mapping[str, StoreWriter],
    autoencoder: RunFolder,
    config: EncodeConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
) -> list[Store]:
    """Fill the latent store of each size by one autoencoder, which takes any grid."""
    members = [features.stores[size] for size in writers]
    return encode_set([*writers.values()], members, autoencoder, config, runtime, on_progress)


def extract_buckets(
    plan: BucketPlan,
    writers: Mapping[str, StoreWriter],
    data: DataConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
) -> list[Store]:
    """Fill the store of each size by one encoder; the share of images that may be rejected is that of all.

    Raises:
        StoreError: more than `data.max_rejected` of the images could not be read (the stores are kept).
    """
    return extract_set([*writers.values()], [plan.plans[size] for size in writers], data, runtime, on_progress)


def _config_of(config: ExtractConfig, shape: Shape) -> ExtractConfig:
    """The settings of a bucket's store: those that an extraction of images of this size alone has."""
    height, width = shape
    size = height if height == width else f"{height}x{width}"
    return replace(config, image_size=size, grid=AUTO_GRID, buckets=None)
