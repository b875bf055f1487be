"""What a demo says at its end: its metrics with their meaning, where everything lies, and what to do next."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.console import format_seconds

Metrics = Mapping[str, Any]
Row = dict[str, str]


def digit_rows(metrics: Metrics) -> list[Row]:
    """The digits' metrics as rows of a table."""
    guided, unguided, rebuilt, real, copies = (
        f"{100 * metrics[name]:.1f} %"
        for name in (
            "guided_recognized",
            "unguided_recognized",
            "reconstructions_recognized",
            "classifier_on_other_half",
            "copies_unguided",
        )
    )
    return [
        _row("samples recognized", f"{guided} / {unguided}", f"guided / not, by a classifier; real digits: {real}"),
        _row("diversity", f"{metrics['recall_ratio']:.2f}", "recall of unguided samples; 1 = as diverse as real ones"),
        _row("copies", copies, "unguided samples that nearly are a training digit; real digits: 1 %"),
        _row("rebuilt recognized", rebuilt, f"held-out digits; {_rebuilt(metrics)}"),
    ]


def photo_rows(metrics: Metrics) -> list[Row]:
    """The metrics of a person's own images as rows of a table."""
    return [
        _row("rebuilt", f"{metrics['psnr_db']:.1f} dB", f"held-out images; {_rebuilt(metrics)}"),
        _row("distance", f"{metrics['KID on Lite0']:.3f}", "KID of samples to training images; 0 = alike"),
        _row("precision", f"{metrics['precision on Lite0']:.2f}", "share of samples that look like real images"),
        _row("recall", f"{metrics['recall on Lite0']:.2f}", "share of real images that samples come near"),
    ]


def end_lines(
    files: Mapping[str, Path | str], seconds: float, machine: str, next_commands: Mapping[str, str]
) -> list[str]:
    """Lines on where everything lies, on time and machine, and on what to do next.

    Args:
        files: What is to be seen, by its name.
        seconds: That all stages took; 0 when all were up to date.
        machine: Its facts.
        next_commands: Commands by what they do.
    """
    took = f"{format_seconds(seconds)} on {machine}" if seconds else "all stages were up to date"
    found = {**files, "time": took, **next_commands}
    width = max(map(len, found)) + 2
    return [f"{name + ':':<{width}}{value}" for name, value in found.items()]


def _row(metric: str, value: str, meaning: str) -> Row:
    return {"metric": metric, "value": value, "meaning": meaning}


def _rebuilt(metrics: Metrics) -> str:
    """PSNR and seams of rebuilt images, where they were measured."""
    psnr = f"PSNR {metrics['psnr_db']:.1f} dB"
    seams = metrics.get("seam_ratio")
    return psnr if seams is None else f"{psnr}; steps between patches are {seams:.2f} times those within (1 = no seams)"
