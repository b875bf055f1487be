"""Paths as a person gave them."""

from pathlib import Path

import pytest

from pipeline.console.formats import shown_path


@pytest.mark.parametrize(
    ("path", "root", "shown"),
    [
        (Path.cwd() / "fae-runs" / "latents" / "mine", Path("fae-runs"), "fae-runs/latents/mine"),
        (Path("fae-runs/latents/mine"), Path("fae-runs"), "fae-runs/latents/mine"),
        (Path("/data/runs/latents/mine"), Path("/data/runs"), "/data/runs/latents/mine"),
        (Path("/elsewhere/mine"), Path("fae-runs"), "/elsewhere/mine"),
        ("s3://bucket/runs/latents/mine", Path("fae-runs"), "s3://bucket/runs/latents/mine"),
    ],
)
def test_what_lies_below_the_root_is_shown_as_the_root_was_given(path, root, shown):
    assert shown_path(path, root) == shown
