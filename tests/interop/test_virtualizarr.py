"""VirtualiZarr makes references to every shard, and what they hold is read through them."""

from typing import Any

import pytest
import zarr

from tests.interop.conftest import Case, check

pytest.importorskip("virtualizarr", reason="needs the extra interop")


def test_reads(case: Case) -> None:
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore
    from virtualizarr.parsers import ZarrParser

    store = ZarrParser()(f"file://{case.folder}", ObjectStoreRegistry({"file://": LocalStore()}))
    group: Any = zarr.open_group(store, mode="r")
    for part in case.arrays:
        check(case, part, group[part][:])
