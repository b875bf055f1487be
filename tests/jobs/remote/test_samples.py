"""A folder of samples counts at a URL once its record is there, which comes last."""

import shutil
from pathlib import Path

import pytest

from jobs.remote.samples import copy_samples, fetch_all_samples, fetch_samples
from stores.backends import open_bytestore, path_of, working_folder


def test_samples_go_to_the_url_and_come_back(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = path_of(f"{s3_url}/samples/mine-0123456789ab")
    (path / "images").mkdir(parents=True)
    (path / "images" / "a.png").write_bytes(b"png")
    (path / "samples.json").write_text("{}")
    assert fetch_samples(path, "samples.json")
    copy_samples(path, "samples.json")
    shutil.rmtree("fae-runs")
    fetch_all_samples(working_folder(s3_url), "samples.json")
    assert (path / "images" / "a.png").read_bytes() == b"png"
    open_bytestore(f"{s3_url}/samples/mine-0123456789ab").delete("samples.json")
    shutil.rmtree(path)
    assert not fetch_samples(path, "samples.json")
    assert not path.exists()
