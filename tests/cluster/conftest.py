"""A Ray cluster of four hosts, each a machine of its own to whoever runs there; only with `-m cluster`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cluster_hosts import PROJECT, Cluster, Host, Process, obstacle, wait_for
from pipeline.console import read_status_file
from stores import Store, open_store

HOSTS = 4
ROWS = 40
# Deterministic tokens of 8 channels; how long a batch takes stands in the file `pace` beside this module.
ENCODER = '''
import time
from pathlib import Path

import torch


class Cells(torch.nn.Module):
    """Each token is the mean of 2x2 pixels and its square; the pace is no part of the result."""

    def forward(self, images):
        time.sleep(float(Path(__file__).with_name("pace").read_text()))
        means = images.float().div(255).unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).mean(dim=(2, 4))
        return torch.cat([means, means**2, means[..., :2].sqrt()], dim=-1)


def cells():
    return Cells()
'''


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the suite out unless it is asked for by its marker."""
    if "cluster" in config.option.markexpr:
        return
    left_out = {item for item in items if Path(__file__).parent in item.path.parents}
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    reason = obstacle()
    if reason is not None:
        pytest.skip(reason)
    with Cluster(HOSTS, {"PYTHONPATH": str(PROJECT)}) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster) -> Iterator[Cluster]:
    """Four hosts, h1 to h4, all sound; h1 is the head."""
    _cluster.mend()
    yield _cluster
    for host in _cluster.hosts:
        if host.is_on:
            host.end_commands()
            host.mend_cable()


@dataclass(frozen=True)
class Extraction:
    """One set of images and its extraction, wherever the command is given."""

    folder: Path
    cluster: Cluster

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def pace(self, seconds: float) -> None:
        """How long an image takes in the encoder."""
        (self.folder / "pace").write_text(str(seconds))

    def slow_down(self) -> None:
        """To a pace at which the command does not end before the test lets it, on a busy machine neither."""
        self.pace(8)

    def start(self, host: Host, root: Path, *words: Any) -> Process:
        """Give the command on a host, for all hosts of the cluster unless the first word is "alone"."""
        where = ["--address", self.cluster.address, "--workers", HOSTS, "--placement", "spread"]
        words = words[1:] if words[:1] == ("alone",) else (*where, *words)
        data = ["--data", self.images, "--encoder", f"{self.folder}/cells.py:cells", "--image-size", 8]
        size = ["--rows-per-shard", 1, "--batch-size", 1, "--precision", "fp32", "--threads", 1]
        return host.fae_pipe("extract", "--root", root, "--name", "cells", *data, *size, *words)

    def committed(self, root: Path) -> int:
        """Shards that are done."""
        return len(list(root.glob("features/*/commits/*.json")))

    def wait_for(self, process: Process, root: Path, shards: int) -> None:
        """Until so many shards are done."""
        wait_for(lambda: process.ended() or self.committed(root) >= shards)
        assert not process.ended(), process.text

    def wait_for_words(self, process: Process, words: str) -> None:
        """Until the command has said so."""
        wait_for(lambda: process.ended() or words in process.text)
        assert not process.ended(), process.text

    def wait_for_hosts(self, process: Process, root: Path, *hosts: str) -> None:
        """Until each of these hosts has done a shard."""

        def all_have() -> bool:
            record = read_status_file(next((root / "features").iterdir()))
            return set(hosts) <= set((record or {}).get("facts", {}).get("rows_by_host", {}))

        wait_for(lambda: process.ended() or all_have())
        assert not process.ended(), process.text

    def store(self, root: Path) -> Store:
        """The finished store."""
        (folder,) = (root / "features").iterdir()
        return open_store(folder)


@pytest.fixture(scope="session")
def _extraction(_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Extraction:
    folder = tmp_path_factory.mktemp("extraction")
    random = np.random.default_rng(0)
    for number in range(ROWS):
        file = folder / "images" / f"class{number % 2}" / f"{number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(file)
    (folder / "cells.py").write_text(ENCODER)
    return Extraction(folder, _cluster)


@pytest.fixture
def extraction(_extraction: Extraction, cluster: Cluster) -> Extraction:
    """The extraction, at full speed."""
    _extraction.pace(0)
    return _extraction


@pytest.fixture(scope="session")
def expected(_extraction: Extraction, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store that one process makes."""
    _extraction.pace(0)
    root = tmp_path_factory.mktemp("one-process")
    process = _extraction.start(_extraction.cluster.hosts[0], root, "alone", "--executor", "local")
    assert process.wait() == 0, process.text
    return _extraction.store(root)


@pytest.fixture
def is_equal(extraction: Extraction, expected: Store) -> Callable[[Path], None]:
    """(root) -> asserts that the store there is the one of one process, with every row and nothing besides."""

    def check(root: Path) -> None:
        store = extraction.store(root)
        assert store.content_id == expected.content_id
        assert len(store.rows()) == ROWS
        files = sorted(file.relative_to(store.path).as_posix() for file in store.path.rglob("*") if file.is_file())
        assert files == sorted(
            file.relative_to(expected.path).as_posix() for file in expected.path.rglob("*") if file.is_file()
        )

    return check


@pytest.fixture
def dist_info(tmp_path: Path) -> Callable[[str, str], Path]:
    """(distribution, version) -> a folder for PYTHONPATH that says that this version is installed."""

    def make(name: str, version: str) -> Path:
        folder = tmp_path / "other-versions"
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        return folder

    return make
