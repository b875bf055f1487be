"""The contract of a byte store as tests: subclass `ByteStoreContract` for a backend and run it with pytest."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stores.backends import ByteStore


class ByteStoreContract:
    """Promises that every `ByteStore` keeps; a subclass (or its module) provides the fixture `blobs`: an empty one."""

    def test_what_was_written_is_read(self, blobs: ByteStore) -> None:
        for key, data in {"a": b"", "b/c.json": b"{}", "b/d-e_f.0": bytes(range(256)) * 300}.items():
            blobs.write(key, data)
            assert blobs.read(key) == data
            assert blobs.size(key) == len(data)
            assert blobs.exists(key)

    def test_a_file_is_written_whole(self, blobs: ByteStore, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_bytes(bytes(range(256)) * 300)
        blobs.write_file("a", file)
        assert blobs.read("a") == file.read_bytes()

    def test_a_write_replaces_the_whole_blob(self, blobs: ByteStore) -> None:
        blobs.write("a", b"long content")
        blobs.write("a", b"short")
        assert blobs.read("a") == b"short"

    def test_lists_of_buffers_are_joined(self, blobs: ByteStore) -> None:
        numbers = np.arange(5000, dtype="<u2")
        blobs.write("a", [b"head", numbers, memoryview(b"tail"), *(bytes([i % 256]) for i in range(3000))])
        expected = b"head" + numbers.tobytes() + b"tail" + bytes(i % 256 for i in range(3000))
        assert blobs.read("a") == expected

    @pytest.mark.parametrize(("start", "length"), [(0, 0), (0, 1), (3, 7), (9, 1), (0, 10)])
    def test_ranges_are_exact(self, blobs: ByteStore, start: int, length: int) -> None:
        blobs.write("a", b"0123456789")
        buffer = bytearray(length)
        blobs.read_into("a", start, memoryview(buffer))
        assert bytes(buffer) == b"0123456789"[start : start + length]

    @pytest.mark.parametrize(("start", "length"), [(0, 11), (9, 2), (10, 1), (50, 4)])
    def test_a_short_read_is_an_error(self, blobs: ByteStore, start: int, length: int) -> None:
        blobs.write("a", b"0123456789")
        with pytest.raises(OSError, match="a"):
            blobs.read_into("a", start, memoryview(bytearray(length)))

    @pytest.mark.parametrize(("most", "length"), [(0, 1), (9, 10), (10, 10), (11, 10), (2**40, 10)])
    def test_of_a_blob_that_is_too_large_the_beginning_is_read(self, blobs: ByteStore, most: int, length: int) -> None:
        """And one byte more, so that whoever asked knows."""
        blobs.write("a", b"0123456789")
        assert blobs.read_at_most("a", most) == b"0123456789"[:length]
        blobs.write("empty", b"")
        assert blobs.read_at_most("empty", most) == b""

    def test_a_missing_blob_is_named(self, blobs: ByteStore) -> None:
        for operation in (blobs.read, blobs.size, lambda key: blobs.read_into(key, 0, memoryview(bytearray(1)))):
            with pytest.raises(FileNotFoundError, match=r"x/nowhere\.bin"):
                operation("x/nowhere.bin")
        assert not blobs.exists("x/nowhere.bin")

    def test_deleting_is_final_and_may_be_repeated(self, blobs: ByteStore) -> None:
        blobs.write("a/b", b"1")
        blobs.delete("a/b")
        blobs.delete("a/b")
        assert not blobs.exists("a/b")
        assert list(blobs.keys()) == []

    def test_keys_are_sorted_and_chosen_by_prefix(self, blobs: ByteStore) -> None:
        for key in ("b/2", "b/10", "a", "bc/1", "b2"):
            blobs.write(key, b"")
        assert list(blobs.keys()) == ["a", "b/10", "b/2", "b2", "bc/1"]
        assert list(blobs.keys("b/")) == ["b/10", "b/2"]
        assert list(blobs.keys("b")) == ["b/10", "b/2", "b2", "bc/1"]
        assert list(blobs.keys("zzz/")) == []

    def test_folders_are_named(self, blobs: ByteStore) -> None:
        assert blobs.folders() == []
        for key in ("one/x", "two/deep/y", "file"):
            blobs.write(key, b"")
        assert blobs.folders() == ["one", "two"]

    @pytest.mark.parametrize("key", ["", "/a", "../a", "a/../b", "a//b", "a/", ".", "a/.", "a\\b", "a\0b", "a b", "é"])
    def test_keys_cannot_leave_the_root(self, blobs: ByteStore, key: str) -> None:
        operations: list[Callable[[], object]] = [
            lambda: blobs.read(key),
            lambda: blobs.write(key, b"x"),
            lambda: blobs.delete(key),
            lambda: blobs.size(key),
            lambda: blobs.swap(key, None, b"x"),
        ]
        for operation in operations:
            with pytest.raises(ValueError, match="key"):
                operation()
        assert list(blobs.keys()) == []

    def test_swap_compares_before_it_replaces(self, blobs: ByteStore) -> None:
        assert blobs.swap("a", None, b"1")
        assert not blobs.swap("a", None, b"2")
        assert not blobs.swap("a", b"0", b"2")
        assert blobs.swap("a", b"1", b"2")
        assert blobs.read("a") == b"2"
        assert not blobs.swap("a", b"1", None)
        assert blobs.swap("a", b"2", None)
        assert not blobs.exists("a")

    def test_a_repeated_swap_succeeds(self, blobs: ByteStore) -> None:
        for expected, new in ((None, b"1"), (b"1", b"2"), (b"2", None)):
            assert blobs.swap("a", expected, new)
            assert blobs.swap("a", expected, new)

    def test_one_of_many_swaps_wins(self, blobs: ByteStore) -> None:
        barrier = threading.Barrier(6)

        def attempt(number: int) -> bool:
            barrier.wait()
            return blobs.swap("a", None, f"writer {number}".encode())

        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(attempt, range(6)))
        assert sum(won) == 1
        assert blobs.read("a") == f"writer {won.index(True)}".encode()

    def test_nothing_appears_when_the_last_check_fails(self, blobs: ByteStore) -> None:
        def refuse() -> None:
            raise ValueError("not finite")

        blobs.write("a", b"old")
        for key in ("a", "b"):
            with pytest.raises(ValueError, match="not finite"):
                blobs.write(key, b"new", before_visible=refuse)
        assert blobs.read("a") == b"old"
        assert list(blobs.keys()) == ["a"]

    def test_readers_see_whole_blobs_while_they_are_replaced(self, blobs: ByteStore) -> None:
        contents = [bytes([number]) * 20_000 for number in range(4)]
        blobs.write("a", contents[0])
        done = threading.Event()

        def write() -> None:
            for turn in range(24):
                blobs.write("a", contents[turn % 4])
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        while not done.is_set():
            assert blobs.read("a") in contents
        writer.join()

    def test_sweeping_leaves_blobs_alone(self, blobs: ByteStore) -> None:
        blobs.write("a/b", b"1")
        blobs.sweep()
        assert list(blobs.keys()) == ["a/b"]
