"""MLflow: a folder of runs below the root, unless MLFLOW_TRACKING_URI names a server."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.loggers.tracked_run import TrackedRun

EXPERIMENT, FOLDER, ID_TAG = "fae-pipe", "mlruns", "fae-pipe.id"
# No usage statistics to its authors; and files as they are, which need no database beside the client.
PRIVATE_AND_LOCAL = ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE")
MOST_CHARACTERS = 500  # of a setting's value, which MLflow bounds


class MlflowLogger:
    """One run of the experiment `fae-pipe`; one that is trained on goes on in its record."""

    def __init__(self, run: TrackedRun) -> None:
        for name in PRIVATE_AND_LOCAL:  # read when it is imported
            os.environ.setdefault(name, "true")
        from mlflow import MlflowClient

        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or (run.root / FOLDER).absolute().as_uri())
        known = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = known.experiment_id if known else self._client.create_experiment(EXPERIMENT)
        before = self._client.search_runs([experiment], f"tags.`{ID_TAG}` = '{run.id}'", max_results=1)
        found = before[0] if before else self._client.create_run(experiment, tags={ID_TAG: run.id}, run_name=run.name)
        self._id = str(found.info.run_id)
        self._client.set_terminated(self._id, "RUNNING") if before else None

    def add_line(self, values: Mapping[str, float], step: int) -> None:
        """Points of curves at a step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def add_image(self, name: str, file: Path, step: int) -> None:
        """An image file, as an artifact of its step."""
        self._client.log_artifact(self._id, str(file), f"{name}/step-{step}")

    def add_settings(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Settings as parameters, which MLflow lets nobody change: only those that are new."""
        from mlflow.entities import Metric, Param

        known = self._client.get_run(self._id).data.params
        params = [Param(name, str(value)[:MOST_CHARACTERS]) for name, value in settings.items() if name not in known]
        now = int(time.time() * 1000)
        final = [Metric(f"final/{name}", value, now, 0) for name, value in metrics.items()]
        self._client.log_batch(self._id, params=params, metrics=final)

    def close(self) -> None:
        """End the record."""
        self._client.set_terminated(self._id)
