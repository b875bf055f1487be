"""The Rust implementation zarrs, as zarr-python's codec pipeline, reads every array."""

from typing import Any

import pytest
import zarr

from tests.interop.conftest import Case, check

pytest.importorskip("zarrs", reason="needs the extra interop")


def test_reads(case: Case) -> None:
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        for part in case.arrays:
            array: Any = zarr.open_array(case.folder / part, mode="r")
            check(case, part, array[:])
