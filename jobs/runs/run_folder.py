"""The folder of one trained model: what it was made from, its metrics, its checkpoints and the finished weights."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.config import PIXEL_VAE
from jobs.runs.references import reference_to, resolve_reference
from jobs.runs.run_record import COMPLETE, KINDS, METRICS_FILE, RUN_FILE, TRAINING, RunError, RunRecord
from stores import LeaseHeldError, fingerprint
from stores.backends import LocalByteStore, replace_file, sha256_of, share_file, url_of
from stores.core import Lease

RENAMED_ARGUMENTS = {"picture_size": "image_size"}  # of models that were saved before run.json had schema version 2


@dataclass
class RunFolder:
    """`<root>/<kind>/<name>-<fingerprint12>/` with run.json, metrics.jsonl, checkpoints/ and model/."""

    path: Path
    record: RunRecord
    lease_id: str | None = None
    """Owner of the lease that whoever trains this run has taken; None outside of a training."""

    @classmethod
    def create(
        cls,
        root: Path,
        kind: str,
        name: str,
        ingredients: dict[str, Any],
        config: dict[str, Any],
        inputs: Mapping[str, Path | str],
        facts: dict[str, Any] | None = None,
    ) -> "RunFolder":
        """Make the folder of these ingredients, or open the one that exists (which is how a run resumes).

        `config` is everything that was set, `ingredients` the part that decides the weights, `inputs` where the
        stores and runs lie that it is trained on (by role), kept for lineage; `facts` are further fields of the record.
        """
        path = cls.locate(root, kind, name, ingredients)
        if (path / RUN_FILE).exists():
            return cls.open(path)
        created, identity = round(time.time(), 3), fingerprint(ingredients)
        made_from = {role: reference_to(root, location) for role, location in inputs.items()}
        record = RunRecord(kind, name, identity, TRAINING, created, ingredients, config, made_from, **(facts or {}))
        run = cls(path, record)
        run.save()
        return run

    @staticmethod
    def locate(root: Path, kind: str, name: str, ingredients: dict[str, Any]) -> Path:
        """Where the run of these ingredients lies, whether or not it exists yet."""
        assert kind in KINDS, kind
        return root / kind / f"{name}-{fingerprint(ingredients)[:12]}"

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open an existing run folder; RunError when it is none."""
        file = path / RUN_FILE
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            raise RunError(f"{path}: expected a run folder with a {RUN_FILE}; received none") from None
        return cls(path, RunRecord.from_bytes(data, file))

    def input(self, role: str) -> Path | str:
        """Where the store or run lies that was the input of this role.

        Raises:
            KeyError: it had none.
        """
        return resolve_reference(self.path, self.record.inputs[role])

    @property
    def complete(self) -> bool:
        """Whether the training has ended and its weights are there, or at the URL that the folder stands for."""
        return self.record.status == COMPLETE and (self.weights_path.exists() or url_of(self.path) is not None)

    @property
    def decodes_to_pixels(self) -> bool:
        """Whether this is an autoencoder whose decoder makes images, so that no pixel decoder is needed."""
        return self.record.kind == "autoencoders" and self.record.config.get("encoder") == PIXEL_VAE

    @property
    def model_path(self) -> Path:
        """The folder of the finished model."""
        return self.path / "model"

    def model_config(self) -> dict[str, Any]:
        """The arguments that the finished model was built with, by today's names."""
        config: dict[str, Any] = json.loads((self.model_path / "config.json").read_text())
        return {RENAMED_ARGUMENTS.get(key, key): value for key, value in config.items()}

    @property
    def weights_path(self) -> Path:
        """The file of the finished weights."""
        return self.model_path / "diffusion_pytorch_model.safetensors"

    @property
    def weights_sha256(self) -> str:
        """Digest of the finished weights, recorded when the run was finished."""
        if not self.complete:
            raise RunError(f"{self.path}: this run is not finished; the command that started it resumes it")
        return str(self.record.weights_sha256)

    def check_lease(self) -> None:
        """Confirm that this training still holds the run's lease; call it before a write that must not be late.

        A process that was paused (SIGSTOP, a laptop's sleep) may have lost it to another one, which trains on.

        Raises:
            LeaseHeldError: it was taken over or removed.
        """
        if self.lease_id is None:
            return
        owner = Lease(LocalByteStore(self.path)).owner()
        if owner is None or owner.get("id") != self.lease_id:
            raise LeaseHeldError(
                f"{self.path}: expected the lease of this training; another process took it over; its checkpoints are "
                "kept: run the same command again when that one has ended"
            )

    def save(self) -> None:
        """Write the record to run.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        replace_file(self.path / RUN_FILE, self.record.to_bytes())

    def finish(self, metrics: dict[str, Any]) -> None:
        """Mark the run complete; model/ must hold the finished weights.

        Raises:
            LeaseHeldError: another process has taken over this training.
        """
        self.check_lease()
        files = sorted(file for file in self.model_path.iterdir() if file.is_file())
        for file in files:
            share_file(file)
        digests = {file.name: sha256_of(file) for file in files}
        self.record = replace(
            self.record,
            status=COMPLETE,
            weights_sha256=digests[self.weights_path.name],
            files_sha256=digests,
            metrics_sha256=sha256_of(log) if (log := self.path / METRICS_FILE).exists() else None,
            metrics=metrics,
        )
        self.save()

    def check_model(self) -> None:
        """Compare the finished model's files with their recorded digests.

        Raises:
            RunError: one is missing or damaged.
        """
        for name, wanted in self.record.files_sha256.items():
            file = self.model_path / name
            received = sha256_of(file) if file.exists() else "no file"
            if received != wanted:
                raise RunError(
                    f"{file}: expected sha256 {wanted[:12]}…; received {received[:12]}. The model is damaged: restore "
                    f"the file, or delete {self.path} and run its stage again"
                )


@dataclass(frozen=True)
class Models:
    """The finished runs that sampling needs, and the class names; no pixel decoder where the autoencoder has pixels."""

    generator: RunFolder
    autoencoder: RunFolder
    decoder: RunFolder | None
    class_names: list[str] | None
    guide_model: RunFolder | None = None
    """A weaker generator of the same latents to guide by, if any."""

    def token_pixels(self) -> int:
        """Pixels on a side of the part of an image that a token of the latents stands for."""
        if self.decoder is not None:
            return int(self.decoder.model_config()["patch_size"])
        config = self.autoencoder.model_config()
        size = config["image_size"]
        return int(size if isinstance(size, int) else size[0]) // int(config["grid"][0])


def siblings(root: Path, kind: str, name: str) -> list[RunFolder]:
    """Every run of this kind and name, whatever its ingredients."""
    paths = sorted((root / kind).glob(f"{name}-{'[0-9a-f]' * 12}/{RUN_FILE}"))
    return [RunFolder.open(path.parent) for path in paths]
