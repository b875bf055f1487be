"""A folder stands for a URL: one for each URL, and from a path in it to the URL and back."""

from pathlib import Path

import pytest

from stores.backends.origins import origin_of, path_of, url_of, working_folder

URL = "s3://bucket/some/prefix"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_url_has_a_folder_of_its_own_that_says_which_it_is() -> None:
    folder = working_folder(URL)
    assert folder.parent == Path("fae-runs/urls")
    assert folder.name.startswith("bucket-some-prefix-")
    assert working_folder(f"{URL}/") == folder
    assert working_folder("s3://bucket/some-prefix") != folder
    assert url_of(folder) == origin_of(folder) == URL


def test_an_artifact_has_a_place_in_both() -> None:
    path = path_of(f"{URL}/generators/mine-0123456789ab")
    assert path == working_folder(URL) / "generators" / "mine-0123456789ab"
    assert url_of(path) == f"{URL}/generators/mine-0123456789ab"


def test_other_folders_stand_for_nothing(tmp_path: Path) -> None:
    plain = tmp_path / "runs" / "generators" / "mine-0123456789ab"
    assert url_of(plain) is None
    assert path_of(plain) == origin_of(plain) == plain
    assert origin_of(URL) == URL
