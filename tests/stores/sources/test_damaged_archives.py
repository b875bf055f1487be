"""Archives that are damaged, malicious or odd: what is whole in them is used, the rest is named."""

import bz2
import gzip
import lzma
import os
import tarfile

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.backends.fileio import is_temporary
from stores.sources import SourceError, open_source
from tar_files import listed, write_tar
from tests.stores.sources.layouts.conftest import put, read, zipped

LONG_AGO = 1_600_000_000_000_000_000


@pytest.mark.parametrize("name", ["../evil.jpg", "/tmp/evil.jpg", "a/../../evil.jpg", "..\\evil.jpg", "C:/evil.jpg"])
def test_names_that_lead_outside_are_left_out(tmp_path, name):
    path = write_tar(tmp_path / "x.tar", {"good.jpg": b"x", name: b"x"})
    listing = open_source(str(path)).list_items()
    assert [item.key for item in listing.items] == ["good.jpg"]
    assert [(kind.count, kind.reason) for kind in listing.summary.unused] == [(1, "a name that leads outside")]
    with pytest.raises(SourceError, match=r"expected images; received .*1 a name that leads outside"):
        listed(write_tar(tmp_path / "y.tar", {name: b"x"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_images_that_are_links_outside_or_devices_are_left_out(tmp_path, kind):
    info = tarfile.TarInfo("cat/link.jpg")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(write_tar(tmp_path / "x.tar", {"cat/1.jpg": b"x"}), "a") as tar:
        tar.addfile(info)
    listing = open_source(str(tmp_path / "x.tar")).list_items()
    assert [item.key for item in listing.items] == ["cat/1.jpg"]
    (kind,) = listing.summary.unused
    assert (kind.count, kind.example) == (1, "cat/link.jpg")
    assert kind.reason in ("a link to no member of its archive", "a sparse or a special file")


def test_links_to_members_of_the_archive_are_followed(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"all/1.jpg": b"first", "all/2.jpg": b"second"})
    links = [
        ("cat/a.jpg", tarfile.SYMTYPE, "../all/1.jpg"),
        ("dog/b.jpg", tarfile.LNKTYPE, "all/2.jpg"),
        ("dog/c.jpg", tarfile.SYMTYPE, "b.jpg"),  # a link to a link
        ("dog/round.jpg", tarfile.SYMTYPE, "trip.jpg"),
        ("dog/trip.jpg", tarfile.SYMTYPE, "round.jpg"),
        ("dog/out.jpg", tarfile.SYMTYPE, "../../all/1.jpg"),
    ]
    with tarfile.open(path, "a") as tar:
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    source = open_source(str(path))
    listing = source.list_items()
    found = {item.key: source.read(item.source, item.offset, item.num_bytes) for item in listing.items}
    assert found == {
        "all/1.jpg": b"first",
        "all/2.jpg": b"second",
        "cat/a.jpg": b"first",
        "dog/b.jpg": b"second",
        "dog/c.jpg": b"second",
    }
    assert [(kind.count, kind.reason) for kind in listing.summary.unused] == [(3, "a link to no member of its archive")]


def test_a_member_of_negative_size_does_not_hang(tmp_path):
    info = tarfile.TarInfo("a.jpg")
    header = bytearray(info.tobuf(format=tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + (65536 - 512).to_bytes(2, "big")  # base-256: -512
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "x.tar").write_bytes(bytes(header) + b"\0" * 1024)
    with pytest.raises(SourceError, match="damage"):
        listed(tmp_path / "x.tar")


@pytest.mark.parametrize("end", [512 + 3072 + 512 + 1000, 512 + 3072 + 100, 512 + 3072 + 512])
def test_of_a_tar_that_ends_early_the_whole_members_are_used(tmp_path, end):
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"x" * 3000, "b.jpg": b"y" * 3000})
    path.write_bytes(path.read_bytes()[:end])
    listing = open_source(str(path)).list_items()
    assert [item.key for item in listing.items] == ["a.jpg"]
    (problem,) = listing.summary.problems
    assert problem.reason.startswith("damaged archive")
    assert str(path) in problem.example


def test_after_a_damaged_header_the_next_good_one_is_found(tmp_path):
    members = {"a.jpg": b"x", "b.jpg": b"y" * 2000, "c.jpg": b"z", "d.jpg": b"z"}
    path = write_tar(tmp_path / "x.tar", members)
    changed = bytearray(path.read_bytes())
    changed[1024 + 10] ^= 0xFF
    path.write_bytes(changed)
    source = open_source(str(path))
    listing = source.list_items()
    found = {item.key: source.read(item.source, item.offset, item.num_bytes) for item in listing.items}
    assert found == {"a.jpg": b"x", "c.jpg": b"z", "d.jpg": b"z"}
    (problem,) = listing.summary.problems
    assert "at byte 1024" in problem.example


def test_a_damaged_archive_among_many_loses_itself_alone(tmp_path):
    for number in range(3):
        write_tar(tmp_path / "set" / f"{number}.tar", {f"{number}.jpg": b"x", f"{number}.cls": b"1"})
    (tmp_path / "set" / "1.tar").write_bytes(b"<html>not found</html>" * 100)
    (tmp_path / "set" / "3.tar").write_bytes(b"")
    write_tar(tmp_path / "set" / "4.tar", {})
    listing = open_source(str(tmp_path / "set")).list_items()
    assert [item.key for item in listing.items] == ["0/0.jpg", "2/2.jpg"]
    (problem,) = listing.summary.problems
    assert (problem.count, "1.tar" in problem.example) == (1, True)


def test_names_that_an_index_cannot_hold_are_left_out(tmp_path):
    members = {"good.jpg": b"x", "new\nline.jpg": b"x", "latin\udce9.jpg": b"x", "tab\t.txt": b"x"}
    listing = open_source(str(write_tar(tmp_path / "x.tar", members))).list_items()
    assert [item.key for item in listing.items] == ["good.jpg"]
    assert listing.summary.unused_files == 3
    assert {kind.reason for kind in listing.summary.unused} == {"a name that is not UTF-8 or has control characters"}


def test_a_large_record_before_a_header_takes_no_memory(tmp_path):
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.XHDTYPE, 1024**3 // 4
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(info.tobuf(format=tarfile.USTAR_FORMAT))
        file.truncate(info.size + 2048)
    with pytest.raises(SourceError, match="a record of 268435456 bytes"):
        listed(tmp_path / "x.tar")


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "tar.xz"])
def test_compression_of_which_nothing_is_whole_is_refused(tmp_path, suffix):
    path = write_tar(tmp_path / f"x.{suffix}", {"a.jpg": os.urandom(5000)}, f"w:{suffix[4:]}")
    path.write_bytes(path.read_bytes()[:-2000])
    for _ in range(2):  # by the copy that is kept, too
        with pytest.raises(SourceError, match=rf"x\.{suffix}: expected a (compressed )?tar"):
            listed(path, cache=str(tmp_path / "cache"))


def compress(data: bytes, suffix: str) -> bytes:
    if suffix == "tar.zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as out:
            out.write(data)
        return sink.getvalue().to_pybytes()
    return {"tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}[suffix](data)


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_of_damaged_compression_the_whole_members_are_used(tmp_path, suffix):
    images = {f"{number}.jpg": os.urandom(300_000) for number in range(8)}
    plain = write_tar(tmp_path / "plain.tar", images).read_bytes()
    path = tmp_path / f"x.{suffix}"
    packed = compress(plain, suffix)
    path.write_bytes(packed[: len(packed) * 6 // 10])
    for _ in range(2):  # the copy that is kept says the same
        source = open_source(str(path), cache=str(tmp_path / "cache"))
        listing = source.list_items()
        assert len(listing.items) >= 1
        for item in listing.items:
            assert source.read(item.source, item.offset, item.num_bytes) == images[item.key]
        assert any("expected a compressed tar" in problem.example for problem in listing.summary.problems) or any(
            problem.reason.startswith("damaged") for problem in listing.summary.problems
        )
    path.write_bytes(packed)
    whole = open_source(str(path), cache=str(tmp_path / "cache")).list_items()
    assert (len(whole.items), whole.summary.problems) == (8, [])
    assert not list((tmp_path / "cache").glob("*.damage"))


def test_compression_cut_between_two_members_is_named(tmp_path):
    images = {f"{number}.jpg": os.urandom(1024) for number in range(4)}
    plain = write_tar(tmp_path / "plain.tar", images).read_bytes()
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(plain[: 2 * 1536])[:-8])  # the end of the stream is lost, no byte of a member
    for _ in range(2):
        listing = open_source(str(path), cache=str(tmp_path / "cache")).list_items()
        assert len(listing.items) == 2
        assert "x.tar.gz: expected a compressed tar" in listing.summary.problems[0].example


def test_a_bomb_of_a_compressed_tar_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("stores.sources.readers.unpack.FREE_BYTES", 1024**2)
    path = write_tar(tmp_path / "x.tgz", {"a.jpg": bytes(64 * 1024**2)}, "w:gz")
    with pytest.raises(SourceError, match="expected a tar of images; received one that unpacks to more than"):
        listed(path, cache=str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_unpacking_stops_before_the_disk_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr("stores.sources.readers.unpack.MIN_FREE_BYTES", 2**62)
    path = write_tar(tmp_path / "x.tgz", {"a.jpg": b"x"}, "w:gz")
    with pytest.raises(SourceError, match="expected room for its unpacked copy"):
        listed(path, cache=str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_killed_unpacking_left_is_swept_and_a_living_one_stays(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    left, earlier, living = (cache / name for name in (".x.tar.1.tmp", "y.partial", ".z.tar.2.tmp"))
    for file in (left, earlier, living):
        file.write_bytes(b"half")
    for file in (left, earlier):
        os.utime(file, ns=(LONG_AGO, LONG_AGO))
    listed(write_tar(tmp_path / "x.tgz", {"a.jpg": b"x"}, "w:gz"), cache=str(cache))
    assert {file.exists() for file in (left, earlier)} == {False}
    assert living.exists()
    assert all(is_temporary(file.name) for file in (left, living))


@settings(deadline=None)
@given(data=st.data())
def test_flipped_header_bytes_lose_no_member_silently(data, tmp_path_factory):
    path = write_tar(tmp_path_factory.mktemp("tar") / "x.tar", {"a/1.jpg": b"first", "b/2.jpg": b"second"})
    changed = bytearray(path.read_bytes())
    start = data.draw(st.sampled_from([0, 1024]))
    changed[start + data.draw(st.integers(0, 511))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        source = open_source(str(path))
        listing = source.list_items()
    except SourceError as error:
        assert "x.tar" in str(error)  # noqa: PT017
        return
    items = listing.items
    if not listing.summary.problems and not listing.summary.unused:
        # A flip the checksum does not cover (padding, or a checksum field that still parses).
        assert [source.read(item.source, item.offset, item.num_bytes) for item in items] == [b"first", b"second"]


def test_a_damaged_zip_beside_whole_ones_is_named(tmp_path):
    whole = zipped({"train/cat/1.jpg": "", "train/dog/2.jpg": ""})
    found = read(put(tmp_path / "set", {"train.zip": whole, "val.zip": whole[:-40]}))
    assert len(found.rows) == 2
    assert "val.zip" in found.summary.problems[0].example


@pytest.mark.parametrize("name", ["train.zip", "train.tar", "train.parquet"])
@pytest.mark.parametrize(
    ("head", "said"), [("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"), ("<html>", "HTML")]
)
def test_pointers_and_pages_instead_of_archives_are_called_so(tmp_path, name, head, said):
    for path in (tmp_path / "set", tmp_path / "set" / name):
        with pytest.raises(SourceError, match=said):
            read(put(tmp_path / "set", {name: head * 30}) and path)
