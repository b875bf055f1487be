"""A run in a folder that stands for a URL on a real S3 server, and what a training does to it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jobs.runs import Rotation, RunFolder, save_checkpoint
from stores.backends import ByteStore, open_bytestore, working_folder
from stores.core import Lease

SETTINGS = {"steps": 4, "keep": 2, "keep_every": 0, "keep_best": 0}


@dataclass
class TrainedRun:
    """A run without a model: what its training writes."""

    run: RunFolder
    blobs: ByteStore

    @property
    def path(self) -> Path:
        return self.run.path

    def step(self, number: int, loss: float = 1.0) -> None:
        """Metrics, then a checkpoint; two stay."""
        with (self.path / "metrics.jsonl").open("a") as out:
            out.write(f'{{"step": {number}, "loss": {loss}}}\n')
        parts = {"model": {"weight": torch.full((4,), float(number))}}
        save_checkpoint(self.path / "checkpoints", number, parts, {"loss": loss}, Rotation(2))

    def finish(self) -> RunFolder:
        self.run.model_path.mkdir(exist_ok=True)
        save_file({"weight": torch.ones(4)}, self.run.weights_path)
        (self.run.model_path / "config.json").write_text("{}")
        self.run.finish({"loss": 0.5})
        return self.run

    def remote_keys(self) -> list[str]:
        return [key for key in list(self.blobs.keys()) if key != "lease.json"]


@pytest.fixture
def new_run(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], TrainedRun]:
    """The same run, begun; in a folder that is empty where the one before was removed."""
    monkeypatch.chdir(tmp_path)

    def begin() -> TrainedRun:
        run = RunFolder.create(working_folder(s3_url), "generators", "g", {"seed": 0}, SETTINGS, {})
        return TrainedRun(run, open_bytestore(f"{s3_url}/generators/{run.path.name}"))

    return begin


@pytest.fixture
def trained(new_run: Callable[[], TrainedRun]) -> TrainedRun:
    return new_run()


@pytest.fixture
def lease(trained: TrainedRun) -> Lease:
    return Lease(trained.blobs)
