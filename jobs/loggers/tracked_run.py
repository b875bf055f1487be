"""A training as a tracker of experiments knows it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrackedRun:
    """A training as a tracker knows it.

    Attributes:
        root: The folder of all runs; trackers keep their files in one folder below it.
        kind: autoencoders, decoders or generators.
        name: The run's name.
        fingerprint: Of its settings and inputs, hex: the same run goes on in the same record.
    """

    root: Path
    kind: str
    name: str
    fingerprint: str

    @property
    def id(self) -> str:
        """One id for each run, short enough for every tracker."""
        return f"{self.kind}-{self.fingerprint[:12]}"
