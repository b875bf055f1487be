"""icechunk holds one virtual reference for each record: rows can be versioned without a copy of their bytes."""

import json
from pathlib import Path
from typing import Any

import pytest
import zarr

from tests.interop.conftest import PLAIN, Case, check

icechunk = pytest.importorskip("icechunk", reason="needs the extra interop")


def repository(root: Path, folder: Path) -> Any:
    prefix = f"file://{folder}/"
    config = icechunk.RepositoryConfig.default()
    config.set_virtual_chunk_container(
        icechunk.VirtualChunkContainer(prefix, icechunk.local_filesystem_store(str(folder)))
    )
    access = icechunk.containers_credentials({prefix: None})
    storage = icechunk.local_filesystem_storage(str(root))
    return icechunk.Repository.create(storage, config=config, authorize_virtual_chunk_access=access)


def references(case: Case, part: Any) -> list[Any]:
    """Where each record of a part lies: file, offset, and its bytes with the checksum behind them."""
    form = case.store.format(part)
    found = []
    for shard in range(case.store.manifest.num_shards):
        file = case.folder.parent / case.store.manifest.shard_key(part, shard)
        count = form.num_records(len(case.store.manifest.shard_rows(shard)), file.stat().st_size)
        for number in range(count):
            record = shard * form.capacity + number
            if part.tokens_per_chunk is None:
                place = [*divmod(record, case.store.views), *[0] * len(part.row_shape)]
            else:
                place = [record, *[0] * (len(part.row_shape) - 1)]
            found.append(icechunk.VirtualChunkSpec(place, f"file://{file}", number * form.stride, form.stride))
    return found


# Records of an archive have no fixed size: its shards' indexes say where they are.
@pytest.mark.parametrize("case", PLAIN, indirect=True)
def test_reads(case: Case, tmp_path: Path) -> None:
    session = repository(tmp_path / "repository", case.folder).writable_session("main")
    group = zarr.create_group(session.store)
    for part in case.store.manifest.parts:
        like = json.loads((case.folder / part.name / "zarr.json").read_text())
        group.create_array(
            part.name,
            shape=like["shape"],
            chunks=tuple(like["codecs"][0]["configuration"]["chunk_shape"]),
            dtype=part.numpy_dtype,
            compressors=[{"name": "crc32c"}],
            fill_value=part.fill,
            dimension_names=like["dimension_names"],
            attributes=like["attributes"],
        )
        refused = session.store.set_virtual_refs(part.name, references(case, part))
        assert not refused
    for part_name in case.arrays:
        array: Any = group[part_name]
        check(case, part_name, array[:])
    session.commit("rows by reference")
