"""Trackers: what TensorBoard is given, under the same names; one that fails is said once and ends no training."""

import importlib.util
import os

import pytest
import torch
from PIL import Image

from jobs.loggers import logger as loggers
from jobs.loggers.logger import GuardedLogger, LoggerError, check_logger, open_logger
from jobs.loggers.tracked_run import TrackedRun
from jobs.runs.metrics_log import MetricsLog
from jobs.runs.training_speed import TrainingSpeed

ONE, ZERO = torch.tensor(1.0), torch.tensor(0.0)


class Recorder:
    """Remembers what it was given; fails at its `fails`-th call."""

    def __init__(self, fails=0):
        self.calls, self.fails = [], fails

    def _take(self, *call):
        self.calls.append(call)
        if len(self.calls) == self.fails:
            raise ConnectionError("the server\nis gone")

    def add_line(self, values, step):
        self._take("line", set(values), step)

    def add_image(self, name, file, step):
        self._take("image", name, step)

    def add_settings(self, settings, metrics):
        self._take("settings", settings, metrics)

    def close(self):
        self._take("close")


def train(folder, logger):
    """The log's calls of a short training, with an image and a metric of held-out rows."""
    Image.new("RGB", (4, 4)).save(folder / "preview.png")
    with MetricsLog(folder, 0, TrainingSpeed(4), logger=logger) as log:
        log.add({"loss": torch.tensor(0.5)}, ONE, ZERO, 0.0)
        log.add_metrics({"val_velocity_mse": 0.75})
        log.write(1, 0.1, 0, 0.0)
        log.write_image("preview", folder / "preview.png", 1)
        log.write_metrics(2, {"psnr_db": 20.0})
        log.write_settings({"steps": 2, "size": "tiny"}, {"psnr_db": 20.0})


def test_a_tracker_is_given_what_tensorboard_is_given(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recorder = Recorder()
    train(tmp_path, GuardedLogger("recorder", lambda: recorder))
    kinds = [call[0] for call in recorder.calls]
    assert kinds == ["line", "image", "line", "settings", "close"]
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert recorder.calls[0][1] | recorder.calls[2][1] == set(board.Tags()["scalars"])
    assert recorder.calls[3][1:] == ({"steps": 2, "size": "tiny"}, {"val/psnr_db": 20.0})


@pytest.mark.parametrize("fails", [1, 3])
def test_a_failure_is_said_once_and_the_training_goes_on(tmp_path, caplog, fails):
    recorder = Recorder(fails)
    train(tmp_path, GuardedLogger("recorder", lambda: recorder))
    assert len(recorder.calls) == fails
    (record,) = caplog.records
    assert "recorder takes no more metrics of this run (the server is gone)" in record.message
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 2


def test_a_tracker_that_does_not_open_is_said_once_too(tmp_path, caplog):
    def refuse():
        raise OSError("no room")

    train(tmp_path, GuardedLogger("recorder", refuse))
    assert len(caplog.records) == 1


def test_only_the_leading_rank_writes(tmp_path):
    recorder = Recorder()
    with MetricsLog(tmp_path, 0, TrainingSpeed(4), writes=False, logger=recorder) as log:
        log.add({"loss": torch.tensor(0.5)}, ONE, ZERO, 0.0)
        log.write(1, 0.1, 0, 0.0)
    assert recorder.calls == []


def test_a_missing_package_is_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LoggerError, match=r"run: pip install 'fae-pipe\[wandb\]'"):
        check_logger("wandb")
    check_logger("none")
    assert open_logger("none", None) is None


@pytest.fixture
def tracked(tmp_path):
    return TrackedRun(tmp_path / "root", "generators", "mine", "0123456789abcdef")


def needs(package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs the extra {package}")


@pytest.mark.slow
def test_mlflow_has_the_curves_and_the_same_run_goes_on(tmp_path, tracked, monkeypatch):
    needs("mlflow")
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.setenv(name, "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for _ in range(2):
        guarded = open_logger("mlflow", tracked)
        train(tmp_path, guarded)
        assert guarded._logger is not None
    from mlflow import MlflowClient

    client = MlflowClient((tracked.root / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("fae-pipe").experiment_id])
    assert run.data.metrics["train/loss"] == 0.5
    assert run.data.metrics["val/velocity_mse"] == 0.75
    assert run.data.params == {"steps": "2", "size": "tiny"}
    assert [file.path for file in client.list_artifacts(run.info.run_id, "preview")] == ["preview/step-1"]


@pytest.mark.slow
def test_wandb_writes_offline_into_the_root(tmp_path, tracked, monkeypatch):
    needs("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    guarded = open_logger("wandb", tracked)
    train(tmp_path, guarded)
    assert guarded._logger is not None
    import wandb

    wandb.teardown()  # its process flushes the file when it ends
    (file,) = (tracked.root / "wandb").glob(f"offline-run-*-{tracked.id}/*.wandb")
    data = file.read_bytes()
    assert all(name in data for name in (b"train/loss", b"val/velocity_mse", b"val/psnr_db", b"preview"))
    assert "WANDB_MODE" not in os.environ
