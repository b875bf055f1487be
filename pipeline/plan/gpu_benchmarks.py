"""What a GPU gets done at each stage, out of the files that tests/bench/gpu.py writes."""

import datetime
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Recipe

FOLDER = Path("docs") / "benchmarks"
EXTRACT, ONLINE = "extract ", "online"
# Beginnings of the names of works that stand for a stage; the first that was measured counts.
STAGE_WORKS: dict[str, tuple[str, ...]] = {
    "extract": ("extract {encoder} from JPEG", "extract {encoder} from memory"),
    "train-ae": ("train-ae",),
    "encode": ("train-ae",),
    "train-decoder": ("train-decoder",),
    "train-gen": ("train {model}", "train LightningDiT"),
    "sample": ("sample ",),
}
MODEL_WORKS = {"lightning-dit": "LightningDiT", "dit": "DiT", "starflow": "STARFlow", "mmdit": "MMDiT"}


@dataclass(frozen=True)
class StageSpeed:
    """What a GPU gets done at a stage: TFLOP/s of the model's own operations, and the work that was measured."""

    stage: str
    tflops: float
    measured_by: str

    def as_cells(self) -> dict[str, Any]:
        """The row as cells of a table."""
        return {"stage": self.stage, "TFLOP/s": f"{self.tflops:,.1f}", "measured by": self.measured_by}


@dataclass(frozen=True)
class GpuBenchmark:
    """One run of tests/bench/gpu.py on a GPU.

    Attributes:
        file: Where it was read.
        device: The GPU's name.
        unix_seconds: When it was measured.
        results: Metrics of each work by its name.
    """

    file: Path
    device: str
    unix_seconds: int
    results: Mapping[str, Mapping[str, Any]]

    @classmethod
    def open(cls, file: Path) -> "GpuBenchmark | None":
        """Read a file; None of tiny sizes, which say nothing of the device.

        Raises:
            ValueError: the file is of another kind, or damaged.
        """
        try:
            record = json.loads(file.read_text())
            if record["tiny"]:
                return None
            results = {str(name): dict(found) for name, found in record["results"].items()}
            return cls(file, str(record["device"]), int(record["unix_seconds"]), results)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{file}: expected what tests/bench/gpu.py writes; {type(error).__name__}: {error}; move the file away"
            ) from error

    def is_named(self, words: str) -> bool:
        """Whether the GPU's name has these words in a row, such as H200 or RTX 4090."""
        name, wanted = (text.lower().replace("-", " ").split() for text in (self.device, words))
        return any(name[at : at + len(wanted)] == wanted for at in range(len(name)))

    def speeds(self, stages: list[str], recipe: Recipe) -> list[StageSpeed]:
        """Each stage's, by its own works where they were measured, else by those of extraction.

        Raises:
            ValueError: none of them was.
        """
        return [self._speed(stage, recipe) for stage in stages]

    def describe(self) -> str:
        """The GPU, the day, and the file."""
        day = datetime.datetime.fromtimestamp(self.unix_seconds, datetime.UTC).date().isoformat()
        return f"rates of one {self.device}, measured {day} ({self.file.name})"

    def _speed(self, stage: str, recipe: Recipe) -> StageSpeed:
        names = {"encoder": recipe.extract.encoder, "model": MODEL_WORKS.get(recipe.generator.model, "")}
        for beginning in (*STAGE_WORKS.get(stage, ()), EXTRACT):
            found = self._tflops(beginning.format(**names))
            if found:
                work = max(found, key=found.__getitem__)
                return StageSpeed(stage, found[work], work)
        raise ValueError(f"{self.file}: expected TFLOP/s of {stage} or of extraction; received none; give --rate")

    def _tflops(self, beginning: str) -> dict[str, float]:
        """TFLOP/s by work, of those whose name begins so and that ran."""
        numbers = {name: found.get("tflops") for name, found in self.results.items() if name.startswith(beginning)}
        return {
            name: float(number)
            for name, number in numbers.items()
            if isinstance(number, int | float) and 0 < number < math.inf and ONLINE not in name
        }


def find_benchmark(folder: Path, gpu: str) -> GpuBenchmark:
    """The newest run on a GPU of this name.

    Raises:
        ValueError: there is none, or a file of the folder is none of these.
    """
    measured = gpu_benchmarks(folder)
    named = [one for one in measured if one.is_named(gpu)]
    if not named:
        known = ", ".join(sorted({one.device for one in measured})) or "none yet"
        raise ValueError(
            f"gpu: expected one that was measured ({known} in {folder}); received {gpu!r}; run tests/bench/gpu.py on "
            "one, or give the rate"
        )
    return max(named, key=lambda one: one.unix_seconds)


def gpu_benchmarks(folder: Path) -> list[GpuBenchmark]:
    """All runs in a folder, by file name; none where there is no such folder."""
    found = [GpuBenchmark.open(file) for file in sorted(folder.glob("*.json"))]
    return [one for one in found if one is not None]
