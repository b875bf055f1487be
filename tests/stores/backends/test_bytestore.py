"""Every backend keeps the contract, on good days and on bad ones."""

import os
import pickle
import uuid
from pathlib import Path
from typing import Any

import pytest

from stores.backends.bytestore import ByteStore
from stores.backends.local import LocalByteStore
from stores.backends.locations import open_bytestore
from stores.backends.object_store import BucketError, ObjectByteStore
from stores.testing.bytestore import ByteStoreContract


class TestLocal(ByteStoreContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> ByteStore:
        return LocalByteStore(tmp_path / "store")

    def test_unfinished_writes_are_invisible_and_swept(self, blobs: LocalByteStore) -> None:
        blobs.write("a/b", b"1")
        leftover = blobs.root / "a" / ".c.123.tmp"
        leftover.write_bytes(b"half")
        assert list(blobs.keys()) == ["a/b"]
        assert blobs.sweep() == ["a/.c.123.tmp"]
        assert not leftover.exists()

    def test_a_full_disk_leaves_the_old_blob(self, blobs: LocalByteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        blobs.write("a", b"old")

        def full(descriptor: int, buffers: list) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "writev", full)
        with pytest.raises(OSError, match="No space"):
            blobs.write("a", b"new")
        assert blobs.read("a") == b"old"
        assert [path.name for path in blobs.root.iterdir()] == ["a"]

    def test_short_writes_are_continued(self, blobs: LocalByteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = os.writev
        monkeypatch.setattr(os, "writev", lambda fd, buffers: os.write(fd, bytes(buffers[0][:7])) if buffers[0] else 0)
        blobs.write("a", [b"0123456789" * 3, b"ab", b"c" * 20])
        monkeypatch.setattr(os, "writev", whole)
        assert blobs.read("a") == b"0123456789" * 3 + b"ab" + b"c" * 20


class TestMemory(ByteStoreContract):
    @pytest.fixture
    def blobs(self) -> ByteStore:
        pytest.importorskip("obstore", reason="obstore is not installed (pip install 'fae-pipe[s3]')")
        return ObjectByteStore(f"memory://{uuid.uuid4().hex}/some/prefix")

    @pytest.mark.parametrize("happened", [True, False])
    @pytest.mark.parametrize("new", [b"2", None])
    def test_a_swap_whose_answer_got_lost_finds_out_what_became_of_it(
        self, blobs: ObjectByteStore, monkeypatch: pytest.MonkeyPatch, happened: bool, new: bytes | None
    ) -> None:
        write, attempts = blobs._write_version, []

        def lose_the_first_answer(*arguments: Any) -> None:
            attempts.append(arguments)
            if happened or len(attempts) > 1:
                write(*arguments)
            if len(attempts) == 1:
                raise OSError("connection reset")

        blobs.write("a", b"1")
        monkeypatch.setattr(blobs, "_write_version", lose_the_first_answer)
        assert blobs.swap("a", b"1", new)
        assert len(attempts) == (1 if happened else 2)
        assert blobs.exists("a") == (new is not None)

    def test_a_swap_gives_up_when_the_server_stays_away(
        self, blobs: ObjectByteStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise OSError("connection reset")

        monkeypatch.setattr(blobs, "_write_version", fail)
        with pytest.raises(OSError, match="connection reset"):
            blobs.swap("a", None, b"1")


class TestS3(ByteStoreContract):
    @pytest.fixture
    def blobs(self, s3_url: str) -> ByteStore:
        return ObjectByteStore(s3_url)

    def test_workers_get_it_by_its_url(self, blobs: ByteStore) -> None:
        blobs.write("a", b"1")
        text = pickle.dumps(blobs)
        assert pickle.loads(text).read("a") == b"1"  # noqa: S301
        assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in text

    def test_a_missing_bucket_and_wrong_rights_are_told(self, blobs: ByteStore) -> None:
        other = open_bytestore("s3://no-such-bucket/x")
        with pytest.raises(BucketError, match=r"s3://no-such-bucket/x: expected a bucket of this name; received none"):
            other.read("a")


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/x", "s3://bucket/x?token=secret", "https://key:secret@host/x", "ftp://host/x"]
)
def test_urls_with_secrets_or_of_unknown_kinds_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected") as caught:
        open_bytestore(url)
    assert "secret" not in str(caught.value)
