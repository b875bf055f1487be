"""Copies on local disk: whole, of a bounded size, fetched once by many, and none lost or doubled by a kill."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stores.backends.disk_cache import FOLDER, DiskCache

BODY = bytes(range(100))


def read(cache: DiskCache, name: str, fetched: list[str] | None = None) -> bytes:
    def fetch() -> bytes:
        if fetched is not None:
            fetched.append(name)
        return BODY

    with cache.opened(name, len(BODY), fetch) as descriptor:
        return os.pread(descriptor, 1000, 0)


def names(cache: DiskCache) -> set[str]:
    return {path.name for path in (cache.folder / FOLDER).iterdir() if path.name != ".lock"}


def test_the_least_recently_used_gives_way(tmp_path: Path) -> None:
    cache, fetched = DiskCache(tmp_path, 350), list[str]()
    for name in ("a", "b", "c", "a", "d", "a", "b"):
        assert read(cache, name, fetched) == BODY
        for age, path in enumerate(sorted((tmp_path / FOLDER).glob("[a-z]"), key=lambda path: path.stat().st_mtime_ns)):
            os.utime(path, ns=(age, age))  # a clock may be coarser than this test
    assert fetched == ["a", "b", "c", "d", "b"]
    assert names(cache) == {"a", "d", "b"}
    assert cache.holds("a", 100)
    assert not cache.holds("a", 99)


def test_a_reader_keeps_what_gave_way(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 100)
    with cache.opened("a", 100, lambda: BODY) as descriptor:
        read(cache, "b")
        assert names(cache) == {"b"}
        assert os.pread(descriptor, 100, 0) == BODY


def test_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "Notes.TXT").write_text("more of it")
    cache = DiskCache(tmp_path, 100)
    for name in "abc":
        read(cache, name)
    assert (tmp_path / "thesis.tex").exists()
    assert names(cache) == {"c", "Notes.TXT"}


def test_many_threads_fetch_once(tmp_path: Path) -> None:
    cache, fetched, found, started = DiskCache(tmp_path, 1000), list[str](), list[bytes](), threading.Barrier(8)

    def work() -> None:
        started.wait()
        found.append(read(cache, "a", fetched))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [BODY] * 8
    assert fetched == ["a"]
    assert names(cache) == {"a"}


def test_what_a_killed_process_left_is_fetched_anew_and_counts_no_more(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from stores.backends.disk_cache import DiskCache
with DiskCache(Path({str(tmp_path)!r}), 1000).opened("a", 100, lambda: os.kill(os.getpid(), signal.SIGKILL)):
    pass
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    cache = DiskCache(tmp_path, 250)
    assert names(cache) == {"a.part"}
    read(cache, "b")
    assert names(cache) == {"b"}
    fetched = list[str]()
    assert read(cache, "a", fetched) == BODY
    assert fetched == ["a"]


def test_a_fetch_that_fails_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1000)

    def fail() -> bytes:
        raise OSError("the network is down")

    for _ in range(2):
        with pytest.raises(OSError, match="network"), cache.opened("a", 100, fail):
            pass
    assert names(cache) == set()
    assert read(cache, "a") == BODY


def test_a_copy_of_another_size_is_fetched_anew(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1000)
    read(cache, "a")
    (tmp_path / FOLDER / "a").write_bytes(b"cut")
    assert read(cache, "a") == BODY


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected room for 100 bytes; received"):
        read(DiskCache(tmp_path, 99), "a")
    for name in ("../a", "a/b", ".lock", "a.part", ""):
        with pytest.raises(ValueError, match="expected a plain file name"):
            read(DiskCache(tmp_path, 1000), name)
