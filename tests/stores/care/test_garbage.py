"""Only what nothing refers to goes, only when asked, and never what is in use or outside the root."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from stores import ArraySpec, Store, StoreWriter, find_manifests, new_index
from stores.care.garbage import gc
from stores.core.lease import Lease


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.utime(file, (then, then))


def make(root: Path, kind: str, layer: int, *, finished: bool = True, age: float = 0, **ingredients: Any) -> Any:
    """A store of two rows; a later `layer` is another store of the same name."""
    index = new_index(["a", "b"])
    arrays = [ArraySpec("values", (4,), "uint8")]
    writer = StoreWriter.create(root / kind, kind, "small", arrays, index, {"layer": layer, **ingredients})
    if not finished:
        aged(writer.path, age)
        return writer
    writer.write_shard(0, {"values": _zeros(layer)})
    store = writer.finalize()
    aged(store.path, age)
    return store


def _zeros(layer: int) -> Any:
    import numpy as np

    return np.full((2, 1, 4), layer, np.uint8)


def paths(root: Path, **options: Any) -> list[Path]:
    return [item.path for item in gc(root, **options)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_an_old_store_of_the_name_goes_when_asked(root: Path) -> None:
    old, new = make(root, "features", 1, age=900), make(root, "features", 2)
    found = gc(root)
    assert [item.path for item in found] == [old.path]
    assert found[0].num_bytes == sum(file.stat().st_size for file in old.path.rglob("*") if file.is_file())
    assert old.path.exists()  # a dry run is the default
    assert paths(root, dry_run=False) == [old.path]
    assert [path for path, _ in find_manifests(root / "features")] == [new.path]
    assert sorted(path.name for path in (root / "features").iterdir()) == [new.path.name]
    assert gc(root) == []


@pytest.mark.parametrize("how", ["content_id", "fingerprint", "path"])
def test_what_is_named_stays(root: Path, how: str) -> None:
    old = make(root, "features", 1, age=900)
    make(root, "features", 2)
    assert paths(root, references=[str(getattr(old, how))]) == []


def test_inputs_of_a_store_that_stays_stay(root: Path) -> None:
    old, _ = make(root, "features", 1, age=900), make(root, "features", 2)
    latents: Store = make(root, "latents", 1, features_content_id=old.content_id, age=900)
    assert paths(root) == []
    make(root, "latents", 2)  # newer latents of other features: the old chain is not needed any more
    assert paths(root) == [old.path, latents.path]
    assert paths(root, references=[latents.content_id]) == []


def test_the_newest_unfinished_store_can_be_gone_on_with(root: Path) -> None:
    make(root, "features", 1, age=900)
    older = make(root, "features", 2, finished=False, age=800)
    make(root, "features", 3, finished=False, age=700)
    assert paths(root) == [older.path]


def test_a_store_that_is_being_written_stays(root: Path) -> None:
    old: Store = make(root, "features", 1, age=900)
    make(root, "features", 2)
    (old.path / "commits/.9.json.abc.tmp").write_bytes(b"half")
    aged(old.path / "commits", 900)
    with Lease(old.blobs):
        assert paths(root, dry_run=False) == []
    assert old.path.exists()


def test_old_temporaries_go_young_ones_stay(root: Path) -> None:
    store = make(root, "features", 1)
    old = store.path / "commits/.0.json.abc.tmp"
    young = store.path / "commits/.0.json.def.tmp"
    elsewhere = root / "generators/digits-0123456789ab/.run.json.abc.tmp"
    trash = root / "features/.small-0123456789ab.abc.tmp"
    elsewhere.parent.mkdir(parents=True)
    trash.mkdir()
    for path in (old, young, elsewhere, trash / "index.parquet"):
        path.write_bytes(b"half")
    for path in (old, elsewhere, trash):
        aged(path, 900)
    assert set(paths(root, dry_run=False)) == {old, elsewhere, trash}
    assert young.exists()
    assert not trash.exists()


def test_what_an_interrupted_gc_was_deleting_goes_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, "features", 1, age=900)
    newest = make(root, "features", 2)

    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gc(root, dry_run=False)
    (trash,) = set((root / "features").iterdir()) - {newest.path}
    (item,) = gc(root, dry_run=False)
    assert (item.path, item.why) == (trash, "left behind by an interrupted gc")
    assert list((root / "features").iterdir()) == [newest.path]


def test_a_folder_whose_planning_was_cut_short_goes(root: Path) -> None:
    cut = make(root, "features", 1, finished=False).path
    (cut / "manifest.json").unlink()
    assert paths(root) == []  # it may be at it right now
    aged(cut, 900)
    assert paths(root) == [cut]
    (cut / "commits").mkdir()
    (cut / "commits/0.json").write_text("{}")  # shards that a repaired store still has
    aged(cut, 900)
    assert paths(root) == []


def test_unreadable_manifests_and_links_are_left_alone(root: Path, tmp_path: Path) -> None:
    damaged = make(root, "features", 1, age=900)
    make(root, "features", 2)
    (damaged.path / "manifest.json").write_text("{")
    outside = make(tmp_path / "elsewhere", "features", 3, age=900)
    (root / "features/small-0123456789ab").symlink_to(outside.path, target_is_directory=True)
    (tmp_path / "elsewhere/features/.x.abc.tmp").write_bytes(b"")
    aged(tmp_path / "elsewhere/features/.x.abc.tmp", 900)
    (root / "linked").symlink_to(tmp_path / "elsewhere/features", target_is_directory=True)
    assert paths(root, dry_run=False) == []
    assert outside.path.exists()
