"""Where a recipe's images are looked for, and what a dry run may touch."""

import pytest

from jobs.config.stages import DataConfig
from pipeline.artifacts.data_paths import check_data_files, image_path, scratch_folder


@pytest.fixture
def working_folder(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("FAE_PIPE_DATA", raising=False)
    return folder


def found(path, root):
    return image_path(DataConfig(path=path), root).path


def test_a_relative_path_counts_from_the_working_folder(working_folder, tmp_path):
    folder = working_folder / "set"
    folder.mkdir()
    assert (working_folder / found("set", tmp_path)).resolve() == folder


def test_the_environments_folder_comes_first(working_folder, tmp_path, monkeypatch):
    for folder in (working_folder / "set", tmp_path / "mine" / "set"):
        folder.mkdir(parents=True)
    monkeypatch.setenv("FAE_PIPE_DATA", str(tmp_path / "mine"))
    assert found("set", tmp_path) == str(tmp_path / "mine" / "set")


def test_an_absolute_path_is_taken_as_it_is(working_folder, tmp_path):
    assert found(str(tmp_path), tmp_path) == str(tmp_path)


def test_globs_and_none_are_left_to_the_source(working_folder, tmp_path):
    assert found("shards-*.tar", tmp_path) == "shards-*.tar"
    assert found("{00..09}.tar", tmp_path) == "{00..09}.tar"
    assert found(None, tmp_path) is None


def test_a_path_that_is_nowhere_names_the_folders_and_what_to_do(working_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FAE_PIPE_DATA", "/elsewhere")
    with pytest.raises(FileNotFoundError, match=r"'sett' in one of /elsewhere, \.; .*--data PATH"):
        found("sett", tmp_path)


@pytest.mark.parametrize("url", ["s3://bucket/images", "https://host/a-{00..09}.tar"])
def test_images_at_a_url_are_refused_with_the_way_round(working_folder, tmp_path, url):
    with pytest.raises(ValueError, match=r"expected images on this machine; received the URL .*copy them here first"):
        found(url, tmp_path)


@pytest.mark.parametrize("key", ["labels", "class_names"])
def test_a_table_at_a_url_is_refused_with_the_way_round(key):
    with pytest.raises(ValueError, match=rf"data\.{key}: expected a file of this machine; received the URL .*copy it"):
        check_data_files(DataConfig(**{key: "s3://bucket/labels.csv"}))


def test_a_wrong_path_says_what_is_there_and_what_may_be_meant(working_folder, tmp_path):
    (working_folder / "imagenet" / "train").mkdir(parents=True)
    (working_folder / "imagenet" / "val").mkdir()
    with pytest.raises(FileNotFoundError, match=r"imagenet holds no 'trian' but train, val; did you mean \S+/train\?"):
        found("imagenet/trian/n01440764", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no 'nothing-like-it' but imagenet; pass --data"):
        found("nothing-like-it", tmp_path)


def test_a_folder_whose_name_looks_like_a_pattern_is_found(working_folder, tmp_path):
    (working_folder / "set [v2]").mkdir()
    assert (working_folder / found("set [v2]", tmp_path)).is_dir()


def test_archives_between_colons_are_left_as_they_are(working_folder, tmp_path):
    assert found("a.tar::b.tar", tmp_path) == "a.tar::b.tar"


def test_the_packaged_digits_become_a_file_below_the_root(working_folder, tmp_path):
    file = tmp_path / "runs" / "data" / "digits.parquet"
    assert found("sklearn:digits", tmp_path / "runs") == str(file)
    assert file.stat().st_size > 100_000


def test_a_dry_run_reads_the_cache_and_throws_its_own_away(tmp_path):
    root = tmp_path / "runs"
    (root / "cache" / "unpacked").mkdir(parents=True)
    (root / "cache" / "digests-0.parquet").write_bytes(b"digests")
    (root / "cache" / "unpacked" / "set.tar").write_bytes(b"tar")
    with scratch_folder(root, dry_run=True) as location:
        assert location != root
        assert (location / "cache" / "digests-0.parquet").read_bytes() == b"digests"
        assert (location / "cache" / "unpacked" / "set.tar").read_bytes() == b"tar"
        (location / "cache" / "digests-0.parquet").write_bytes(b"changed")
        (location / "cache" / "unpacked" / "set.tar").unlink()
    assert not location.exists()
    assert (root / "cache" / "digests-0.parquet").read_bytes() == b"digests"
    assert (root / "cache" / "unpacked" / "set.tar").exists()
    with scratch_folder(root, dry_run=False) as location:
        assert location == root
