"""The metrics that a reader looks at first: which way is better, what they say, and how their names are written."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.runs import METRICS_FILE, RunError, RunFolder, read_metrics
from pipeline.artifacts import ArtifactError, open_run
from pipeline.report import records
from pipeline.report.subjects import Subject

WRITTEN = {"psnr": "PSNR", "ssim": "SSIM", "mse": "MSE", "kl": "KL", "db": "dB", "std": "deviation"}


@dataclass(frozen=True)
class Headline:
    """A metric that belongs on the first screen: how its name begins, which way is better, and what it says."""

    name: str
    better: int
    meaning: str


HEADLINES = (
    Headline("relative_squared_error", -1, "error of rebuilt features; 1 = no better than their mean, good below 0.3"),
    Headline("psnr_db", 1, "likeness of rebuilt held-out images in dB; good above 20"),
    Headline("seam_ratio", -1, "steps across the borders of patches against within; 1 = no seams"),
    Headline("val_velocity_mse", -1, "the generator's error on held-out rows; rising while the loss falls = too long"),
    Headline("bits_per_dim", -1, "likelihood of latents; a normal distribution has 2.047"),
    Headline("FD", -1, "distance of samples from real images; compare with the same number of samples alone"),
    Headline("FID", -1, "distance of samples from real images by InceptionV3"),
    Headline("precision", 1, "share of samples that look like real images"),
    Headline("recall", 1, "share of real images that samples come near to: variety"),
)


def headline_values(root: Path, subject: Subject) -> Iterator[tuple[Headline, str, float]]:
    """Headline, the metric's name and its value: the first metric of each headline that is known."""
    known = records.recorded_metrics(root, [subject])
    for headline in HEADLINES:
        plain = headline.name.replace("_", " ")
        found = next((row for row in known if row["metric"] == plain or row["metric"].startswith(f"{plain} on ")), None)
        found = found or next((row for row in known if _begins(row["metric"], plain)), None)
        if found is not None:
            yield headline, found["metric"], found["value"]


def metric_title(name: str) -> str:
    """A metric's name as a reader knows it: `PSNR dB` of `psnr db`."""
    return " ".join(WRITTEN.get(word, word) for word in name.split(" "))


def training_seconds(run: RunFolder) -> float:
    """What the steps of a training took, by its logged speed; 0 where none was logged.

    Of a fine-tuned decoder also those of the one it began with, where that is still there.
    """
    batch, before, seconds = run.record.config.get("batch_size") or 0, 0, 0.0
    if run.record.kind == "decoders" and "decoder" in run.record.inputs:
        with suppress(RunError, ArtifactError, OSError):
            seconds = training_seconds(open_run(run.input("decoder")))
    for line in read_metrics(run.path / METRICS_FILE):
        if line.get("rows_per_second", 0) > 0 and line["step"] > before:
            seconds += (line["step"] - before) * batch / line["rows_per_second"]
            before = int(line["step"])
    return seconds


def _begins(metric: str, name: str) -> bool:
    return metric.startswith(f"{name}-") or metric.startswith(f"{name} ")
