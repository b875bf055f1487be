"""Stores with what no store writes (pipes, links, devices, claims of 10^15 rows): nothing hangs or is followed."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from stores import CorruptStoreError, Store, StoreError, open_store
from stores.backends.local import LocalByteStore, NotAFileError
from stores.care.repairs import repair
from stores.care.verification import verify
from stores.core.listing import list_manifests
from stores.format.fingerprints import canonical_json
from stores.format.manifest import Manifest

SHARD = "data.zarr/features/c/0/0/0/0/0"


def shard_of(store: Store) -> Path:
    return min(
        path for path in (store.path / "data.zarr/features").rglob("*") if path.is_file() and path.name != "zarr.json"
    )


def put(kind: str, path: Path, target: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(target)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
        (path / "inside").write_bytes(b"x")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            os.chdir(path.parent)
            server.bind(path.name)


@pytest.mark.parametrize("kind", ["pipe", "link", "device", "folder", "socket"])
@pytest.mark.parametrize("place", ["shard", "manifest.json", "index.parquet", "commits/0.json"])
def test_what_is_no_file_counts_as_missing_and_is_repaired(
    store: Store, tmp_path: Path, kind: str, place: str, make_writer: Any, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = shard_of(store) if place == "shard" else store.path / place
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    put(kind, path, elsewhere)
    before = elsewhere.read_bytes()
    began = time.process_time()
    report = verify(store.path)
    assert not report.sound
    done = repair(store.path, report)
    if done.unfinished:
        writer = make_writer()
        fill(writer, rejected={3: "truncated file", 17: "no image"})
        writer.finalize(max_rejected=0.1)
    assert time.process_time() - began < 60
    assert verify(store.path).sound
    assert elsewhere.read_bytes() == before  # nothing was written through the link
    assert path.is_file()
    assert not path.is_symlink()


def test_folders_that_are_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    commits = store.path / "commits"
    commits.rename(tmp_path / "commits")
    commits.symlink_to(tmp_path / "commits")
    with pytest.raises(NotAFileError):
        LocalByteStore(store.path).read("commits/0.json")
    with pytest.raises(NotAFileError):
        LocalByteStore(store.path).write("commits/0.json", b"{}")
    assert not verify(store.path).sound


def test_a_store_behind_a_link_is_a_store(store: Store, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(store.path)
    assert open_store(tmp_path / "alias").content_id == store.content_id
    assert verify(tmp_path / "alias").sound


def test_a_repair_goes_on_past_stray_files_of_any_name(store: Store) -> None:
    folder = shard_of(store).parent
    for name in ("c.0 (copy)", "ü.bak", "a b"):
        (folder / name).write_bytes(b"stray")
    os.mkfifo(store.path / "data.zarr" / "pipe")
    report = verify(store.path)
    assert len(report.problems) == 4
    repair(store.path, report)
    assert verify(store.path).sound
    assert not any((folder / name).exists() for name in ("c.0 (copy)", "ü.bak", "a b"))


def claim(store: Store, **claims: Any) -> None:
    """A manifest of other numbers, its digests right."""
    path = store.path / "manifest.json"
    record = json.loads(path.read_bytes())
    record |= claims
    for name in ("arrays", "views", "rows_per_shard"):
        record["ingredients"]["store"][name] = record[name]
    from stores.format.fingerprints import fingerprint

    record["fingerprint"] = fingerprint(record["ingredients"])
    del record["manifest_sha256"]
    import hashlib

    record["manifest_sha256"] = hashlib.sha256(canonical_json(record)).hexdigest()
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "claims", [{"num_rows": 10**15}, {"num_rows": 10**12, "rows_per_shard": 1}, {"arrays": 40_000}]
)
def test_claims_of_a_manifest_are_bounded(store: Store, claims: dict[str, Any]) -> None:
    if "arrays" in claims:
        (spec,) = json.loads((store.path / "manifest.json").read_bytes())["arrays"]
        claims = {"arrays": [{**spec, "name": f"a{number}"} for number in range(claims["arrays"])]}
    claim(store, **claims)
    began = time.process_time()
    with pytest.raises(CorruptStoreError, match="expected at most"):
        Manifest.from_bytes((store.path / "manifest.json").read_bytes(), "x")
    assert not verify(store.path).sound
    assert [manifest for _, manifest in list_manifests(store.path.parent)] == [None]
    assert time.process_time() - began < 30


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": "\ud800"}', '{"a":' * 50_000 + "1" + "}" * 50_000])
def test_json_that_is_deep_or_no_text_is_an_error_of_ours(store: Store, text: str) -> None:
    (store.path / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(StoreError):
        open_store(store.path)


@pytest.mark.parametrize("place", ["shard", "manifest.json", "index.parquet", "commits/0.json"])
def test_of_a_file_that_is_far_too_large_the_beginning_is_read(store: Store, place: str) -> None:
    path = shard_of(store) if place == "shard" else store.path / place
    os.truncate(path, 2**42)  # a sparse file: no disk holds it
    report = verify(store.path)
    assert [problem.key for problem in report.problems] == [path.relative_to(store.path).as_posix()]
