"""TensorStore reads every array, from a folder and over HTTP byte ranges."""

from typing import Any

import pytest

from tests.interop.conftest import Case, check

tensorstore = pytest.importorskip("tensorstore", reason="needs the extra interop")


def read(kvstore: dict[str, Any]) -> Any:
    return tensorstore.open({"driver": "zarr3", "kvstore": kvstore}, read=True).result().read().result()


def test_reads(case: Case) -> None:
    for part in case.arrays:
        check(case, part, read({"driver": "file", "path": f"{case.folder / part}/"}))


def test_reads_by_http(case: Case, case_url: str) -> None:
    for part in case.arrays:
        check(case, part, read({"driver": "http", "base_url": f"{case_url}/{part}/"}))
