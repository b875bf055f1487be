"""Sources of this package keep the contract that is exported for those of others."""

import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources import Source, open_source
from stores.testing.source import SourceContract

IMAGES = {"cat/a.jpg": b"cat a", "cat/b.png": b"cat bb", "dog/a.jpg": b"dog aaa", "dog/c.webp": b"dog cccc"}


@pytest.fixture
def contents() -> list[bytes]:
    return list(IMAGES.values())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in IMAGES.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "set"


class TestFolder(SourceContract):
    @pytest.fixture
    def source(self, folder: Path) -> Source:
        return open_source(str(folder))


class TestTar(SourceContract):
    @pytest.fixture
    def source(self, folder: Path, tmp_path: Path) -> Source:
        with tarfile.open(tmp_path / "set.tar", "w") as tar:
            tar.add(folder, arcname=".")
        return open_source(str(tmp_path / "set.tar"), cache=str(tmp_path / "cache"))


class TestParquet(SourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        images = [{"bytes": data, "path": name} for name, data in IMAGES.items()]
        table = pa.table({"image": images, "label": [name.partition("/")[0] for name in IMAGES]})
        (tmp_path / "set").mkdir()
        pq.write_table(table, tmp_path / "set/train-00000-of-00001.parquet", row_group_size=2)
        return open_source(str(tmp_path / "set"))
