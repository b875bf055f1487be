"""run.json: what a model is trained from, and what came of it."""

import hashlib
import json
import types
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

RUN_FILE, METRICS_FILE, EPOCHS_FILE = "run.json", "metrics.jsonl", "epochs.json"
KINDS = ("autoencoders", "decoders", "generators")
TRAINING, COMPLETE = "training", "complete"

# 1: no version in the file, metrics are called figures. 2: inputs are paths, and the record has no digest. 3: this one.
SCHEMA_VERSION = 3
OWN_DIGEST = "record_sha256"


class RunError(ValueError):
    """A run folder that is missing, unfinished or of another kind."""


@dataclass(frozen=True)
class RunRecord:
    """The fields of run.json.

    Attributes:
        kind: Which of KINDS the model is.
        name: Name of the run, as in its folder's.
        fingerprint: Hash of `ingredients`.
        status: `training` or `complete`.
        created_unix_seconds: When the run was started.
        ingredients: All that decides the weights, on one kind of device.
        config: Every setting of the training.
        inputs: The stores and models that it was trained on, by role (see `reference_to`).
        metrics: What was measured of the finished model.
        weights_sha256: Digest of the finished weights; None until then.
        files_sha256: Digests of all files of the finished model by name; empty in records of older versions.
        metrics_sha256: Digest of metrics.jsonl when the training ended; None until then.
        text_encoder: Name of the text encoder of a generator of captions; None for others.
        text_encoder_sha256: Its digest.
        max_tokens: Tokens kept of a caption.
        init_weights: The run whose weights the training started from, what it took of them; empty where fresh.
        arithmetic: On what and how the weights are computed: `device`, `dtype`, `tf32` (whether matrix products of
            float32 are rounded to it) and `compile`; empty in records of older versions.
        followed: Of a training that followed a store while it was written: the rows of its epochs, the training rows
            that were planned, whose statistics it took, and the digest of epochs.json; empty for others.
        class_ids: Ids of the classes that a generator had training rows of, such as 0-3,7; None where not recorded.
        hosts: The host of each worker that finished the training, where they were several; else empty.
        buckets: Sizes in pixels, `HEIGHTxWIDTH`, of the bucket set that it was trained on; None of one store.
    """

    kind: str
    name: str
    fingerprint: str
    status: str
    created_unix_seconds: float
    ingredients: dict[str, Any]
    config: dict[str, Any]
    inputs: dict[str, str]
    metrics: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str | None = None
    files_sha256: dict[str, str] = field(default_factory=dict)
    metrics_sha256: str | None = None
    text_encoder: str | None = None
    text_encoder_sha256: str | None = None
    max_tokens: int | None = None
    init_weights: dict[str, Any] = field(default_factory=dict)
    class_ids: str | None = None
    buckets: list[str] | None = None
    arithmetic: dict[str, Any] = field(default_factory=dict)
    followed: dict[str, Any] = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)

    def to_bytes(self) -> bytes:
        """The file's content, with its own digest; fields that are None are left out."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        record = json.loads(json.dumps({"schema_version": SCHEMA_VERSION, **known}))
        return json.dumps({**record, OWN_DIGEST: _digest(record)}, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes, file: Path | str) -> "RunRecord":
        """Parse a file of this schema version or an older one.

        Raises:
            RunError: not JSON, a newer schema version, fields that are missing or of another type, or damage.
        """
        try:
            record = json.loads(data)
        except ValueError as error:
            raise RunError(f"{file}: expected JSON; {error}. Delete the folder and run the stage again") from error
        version = record.get("schema_version", 1) if isinstance(record, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise RunError(
                f"{file}: expected schema version {SCHEMA_VERSION} or older; received {version}; update fae-pipe"
            )
        if version == 1 and "figures" in record:
            record["metrics"] = record.pop("figures")
        wrong = _wrong_fields(record) if isinstance(version, int) else ["no object"]
        if wrong:
            raise RunError(
                f"{file}: expected the record of a run; received {', '.join(wrong)}; delete the folder and run the "
                "stage again"
            )
        digest = record.pop(OWN_DIGEST, None)
        if digest is not None and digest != (received := _digest(record)):
            raise RunError(
                f"{file}: expected the record whose sha256 begins with {digest!s:.12}; received {received:.12}: it is "
                "damaged; restore the file, or delete the folder and run the stage again"
            )
        return cls(**{name: record[name] for name in _TYPES if name in record})


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _wrong_fields(record: dict[str, Any]) -> list[str]:
    missing = [f"no {name}" for name in _REQUIRED - record.keys()]
    wrong = [name for name, kind in _TYPES.items() if name in record and not isinstance(record[name], kind)]
    return sorted(missing) + [f"{name} = {record[name]!r:.60}" for name in wrong]


def _checked_type(hint: Any) -> Any:
    """What `isinstance` takes for a field's type: dict of dict[str, Any], and numbers without a point for float."""
    if hint is float:
        return int | float
    if isinstance(hint, types.UnionType):
        return reduce(or_, (get_origin(one) or one for one in get_args(hint)))
    return get_origin(hint) or hint


_TYPES = {name: _checked_type(hint) for name, hint in get_type_hints(RunRecord).items()}
_REQUIRED = {one.name for one in fields(RunRecord) if one.default is MISSING and one.default_factory is MISSING}
