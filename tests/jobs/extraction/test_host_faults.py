"""A host's fault is never an image's: what the scan read and a worker cannot is a failed shard, not a rejected row."""

import errno
import platform

import pytest

from jobs.executors.worker import TRIES, HostError, ShardFailed
from jobs.extraction import encoding_tools
from jobs.extraction import image_worker as working
from stores import TooManyRejectedError, find_manifests
from stores.sources.files_source import FilesSource


@pytest.fixture
def folder(tmp_path, write_folder):
    return write_folder(tmp_path / "images")


@pytest.fixture
def commits(tmp_path):
    """() -> the commit records of the only store."""
    return lambda: sorted(find_manifests(tmp_path / "runs" / "features")[0][0].glob("commits/*.json"))


@pytest.fixture
def failing_read(monkeypatch):
    """(name, error, times) -> from now on reading the image of that name raises the error so often; gives the tries."""

    def fail(name, error, times=10**9):
        whole, tries = FilesSource.read, []

        def read(self, source, offset, num_bytes):
            if source.endswith(name):
                tries.append(source)
                if len(tries) <= times:
                    raise error
            return whole(self, source, offset, num_bytes)

        monkeypatch.setattr(FilesSource, "read", read)
        return tries

    return fail


def test_an_image_that_vanishes_after_the_scan_fails_its_shard_and_is_there_in_the_next_run(
    folder, extract_from, commits, failing_read
):
    gone = folder / "2" / "0002.png"
    data = gone.read_bytes()
    with pytest.raises((ShardFailed, HostError), match=rf"host {platform.node()}: .*0002\.png.*received nothing"):
        extract_from(folder, max_rejected=0.5, between=gone.unlink)
    assert len(commits()) < 3
    gone.write_bytes(data)
    store = extract_from(folder, max_rejected=0.5)
    assert len(store.rows()) == 12
    assert store.content_id == extract_from(folder, root="undisturbed").content_id


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ETIMEDOUT, errno.ESTALE, errno.EMFILE])
def test_what_the_system_does_not_give_is_tried_again_and_then_ends_the_command(
    folder, extract_from, commits, failing_read, number
):
    def begin():
        failing_read("0002.png", OSError(number, "the mount is gone"))

    with pytest.raises((ShardFailed, HostError), match=rf"host {platform.node()}: .*the mount is gone"):
        extract_from(folder, max_rejected=0.5, between=begin)
    assert len(commits()) < 3


def test_a_mount_that_comes_back_is_no_loss(folder, extract_from, failing_read):
    tries = []

    def begin():
        tries.append(failing_read("0002.png", OSError(errno.EIO, "input/output error"), TRIES - 1))

    # The image is not the one that a worker looks at when it begins.
    store = extract_from(folder, between=begin, seed=3)
    assert len(store.rows()) == 12
    assert len(tries[0]) >= TRIES


def test_other_bytes_than_those_of_the_scan_reject_no_row(folder, extract_from, commits):
    file = folder / "1" / "0001.png"
    with pytest.raises((ShardFailed, HostError), match=r"expected the (bytes of the scan|data as it was scanned)"):
        extract_from(folder, max_rejected=0.5, between=lambda: file.write_bytes(bytes(file.stat().st_size)))
    assert len(commits()) < 3


def test_a_worker_that_does_not_see_the_data_does_not_begin(folder, extract_from, commits, monkeypatch):
    def refuse(*arguments, **settings):
        raise AssertionError("the encoder was built")

    monkeypatch.setattr(encoding_tools, "build_encoders", refuse)
    with pytest.raises(HostError, match=rf"host {platform.node()}: .*images"):
        extract_from(folder, between=lambda: folder.rename(folder.with_name("moved")))
    assert not commits()


def test_a_worker_with_other_weights_does_not_begin(folder, extract_from, monkeypatch):
    whole = encoding_tools.resolve_weights

    def other(spec):
        weights = whole(spec)
        return type(weights)(weights.path, "0" * 64)

    monkeypatch.setattr(encoding_tools, "resolve_weights", other)
    with pytest.raises(HostError, match=r"expected weights of sha256 [0-9a-f]{64}; received 0{64}"):
        extract_from(folder)


def test_a_root_that_the_worker_does_not_see_is_named(folder, extract_from, tmp_path, monkeypatch):
    whole = working.check_data
    monkeypatch.setattr(working, "open_on_host", lambda location: whole_open(f"{location}-elsewhere"))
    from jobs.extraction.indexed_images import open_on_host as whole_open

    assert whole
    with pytest.raises(HostError, match=r"-elsewhere: expected the store that the driver planned.*share the root"):
        extract_from(folder)


def test_too_many_rejected_images_end_the_run_while_it_runs(tmp_path, digit_pngs, extract_from, commits):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(80):
        data = digit_pngs[number % 12][2][:50] + bytes([number])
        (folder / f"{number:02d}.png").write_bytes(data)
    with pytest.raises(TooManyRejectedError, match=r"of 80 images were rejected.*allow a larger share"):
        extract_from(folder, max_rejected=0.05)
    assert 1 <= len(commits()) <= 5  # of 20
