"""The specification suffices: a reader in plain Python, written from it, finds every record and every damage."""

import ast
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.interop import minimal_reader
from tests.interop.conftest import PLAIN, ROWS, VIEWS, Case, check
from tests.interop.minimal_reader import Reader

READER = Path(minimal_reader.__file__)


@pytest.mark.parametrize("case", PLAIN, indirect=True)
def test_reads(case: Case) -> None:
    reader = Reader(case.folder.parent)
    for part in (part.name for part in case.store.manifest.parts if part.tokens_per_chunk is None):
        found = [[reader.read(part, row, view) for view in range(VIEWS)] for row in range(ROWS)]
        check(case, part, np.array(found))


@pytest.mark.parametrize("name", ["text ragged", "text ragged int8"])
def test_reads_sequences(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    reader, spec = Reader(case.folder.parent), case.store.arrays["states"]
    for part in spec.token_parts:
        for row, view in np.ndindex(ROWS, VIEWS):
            found = reader.read("states", row, view) if part.name == "states" else None
            first, past = reader.read("states_span", row, view).tolist()
            if first < 0:
                assert found is None
                assert row not in case.store.rows()
            else:
                found = reader.tokens(part.name, first, past)
                np.testing.assert_array_equal(found, case.arrays[part.name][first:past])


def test_it_is_short_and_imports_nothing_of_this_project() -> None:
    assert len(READER.read_text().splitlines()) <= 90
    nodes = list(ast.walk(ast.parse(READER.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert names - {"numpy"} <= sys.stdlib_module_names


@pytest.mark.parametrize("place", [3, -3])
def test_it_sees_damage(cases: dict[str, Case], tmp_path: Path, place: int) -> None:
    folder = shutil.copytree(cases["latents"].folder.parent, tmp_path / "copy")
    shard = folder / "data.zarr/latents/c/0/0/0/0/0"
    data = bytearray(shard.read_bytes())
    data[place] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ValueError, match=r"record|index"):
        Reader(folder).read("latents", 0)


def test_it_refuses_a_changed_manifest(cases: dict[str, Case], tmp_path: Path) -> None:
    folder = shutil.copytree(cases["latents"].folder.parent, tmp_path / "copy")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"name": "latents"', '"name": "letters"', 1))
    with pytest.raises(ValueError, match="digest: expected"):
        Reader(folder)
