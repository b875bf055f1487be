"""What a name, a prefix or a path means: one rule for every command that takes an artifact."""

import json
import time

import numpy as np
import pytest

from pipeline.artifacts.lineage import find_run, find_store
from pipeline.artifacts.resolver import STORE_KINDS, ArtifactError, entries_named, find_location, resolve
from pipeline.evaluation.image_locations import ImageSelection, open_set
from stores import ArraySpec, StoreWriter, new_index
from stores.care import repair, verify


def make_store(root, kind="features", name="mine", number=0, finished=True):
    """A store of four images whose ingredients and values are `number`."""
    writer = StoreWriter.create(
        root / kind,
        kind=kind,
        name=name,
        arrays=[ArraySpec("pixels", (4, 4, 3), "uint8")],
        index=new_index([f"{row}" for row in range(4)]),
        ingredients={"number": number},
    )
    for shard in range(writer.num_shards if finished else 0):
        rows = len(writer.shard_rows(shard))
        writer.write_shard(shard, {"pixels": np.full((rows, 1, 4, 4, 3), number, np.uint8)})
    if finished:
        writer.finalize()
    time.sleep(0.002)  # stores are as old as their clock's milliseconds say
    return writer.path


def evaluated(root, text):
    """The store that `eval` compares with by this name."""
    return open_set(root, text, "features", ImageSelection(None, None, None, 1)).images.store.path


def test_a_repaired_store_is_no_newer_for_any_command(tmp_path):
    old, new = make_store(tmp_path, number=1), make_store(tmp_path, number=2)
    (old / "manifest.json").unlink()
    repair(old, verify(old))
    assert (old / "manifest.json").stat().st_mtime > (new / "manifest.json").stat().st_mtime
    assert find_store(tmp_path, "features", "mine").path == new
    assert evaluated(tmp_path, "mine") == new


def test_an_unfinished_newer_store_hides_no_complete_one(tmp_path):
    complete = make_store(tmp_path, number=1)
    make_store(tmp_path, number=2, finished=False)
    assert find_store(tmp_path, "features", "mine").path == complete
    assert evaluated(tmp_path, "mine") == complete


def test_unfinished_stores_alone_name_the_command_that_goes_on(tmp_path):
    path = make_store(tmp_path, finished=False)
    for find in (lambda: find_store(tmp_path, "features", "mine"), lambda: evaluated(tmp_path, "mine")):
        with pytest.raises(ArtifactError, match=rf"unfinished ones only \({path.name}\); give their `fae-pipe ex"):
            find()


def test_a_prefix_goes_beyond_the_name_and_means_one_folder(tmp_path):
    first, second = make_store(tmp_path, number=1), make_store(tmp_path, number=2)
    make_store(tmp_path, name="mine-too", number=3)
    common = next(at for at in range(len(first.name)) if first.name[at] != second.name[at])
    assert resolve(tmp_path, "features", first.name[: common + 1]) == first
    assert resolve(tmp_path, "features", first.name) == first
    assert resolve(tmp_path, "features", "mine") == second
    with pytest.raises(ArtifactError, match=rf"received that of {first.name}, {second.name}"):
        resolve(tmp_path, "features", "mine-")
    assert entries_named(tmp_path, "features", "min") == []


def test_a_path_is_taken_as_it_is(tmp_path):
    path = make_store(tmp_path, number=1)
    make_store(tmp_path, number=2)
    assert resolve(tmp_path, "features", str(path)) == path


def test_few_samples_are_as_old_as_they_say(tmp_path):
    for digit, created in (("1", 2.0), ("2", 1.0)):
        folder = tmp_path / "samples" / f"mine-{digit * 12}"
        folder.mkdir(parents=True)
        (folder / "samples.json").write_text(json.dumps({"created_unix_seconds": created}))
    assert resolve(tmp_path, "samples", "mine").name == "mine-" + "1" * 12


def test_nothing_of_the_name_names_the_command(tmp_path):
    with pytest.raises(ArtifactError, match="complete run named 'mine'; received none; run `fae-pipe train-gen` first"):
        find_run(tmp_path, "generators", "mine")


def test_status_takes_what_is_unfinished_and_the_beginning_of_a_folders_name(tmp_path):
    features = make_store(tmp_path, finished=False)
    assert find_location(tmp_path, features.name) == features
    assert find_location(tmp_path, "mine") == features
    make_store(tmp_path, kind="latents")
    with pytest.raises(
        ArtifactError,
        match=r"received that of .*by KIND/NAME: .*features/mine or latents/mine|latents/mine or features/mine",
    ):
        find_location(tmp_path, "mine")
    assert find_location(tmp_path, "features/mine") == features
    assert find_location(tmp_path, "mine", ("latents", "features"), first=True).parent.name == "latents"


def test_several_of_one_name_and_kind_mean_the_newest_or_the_newest_complete_one(tmp_path):
    complete, begun = make_store(tmp_path, number=1), make_store(tmp_path, number=2, finished=False)
    assert find_location(tmp_path, "mine") == begun
    assert find_location(tmp_path, "mine", STORE_KINDS, complete=True) == complete


def test_a_damaged_store_is_found_by_its_folder(tmp_path):
    store = make_store(tmp_path)
    (store / "manifest.json").unlink()
    assert find_location(tmp_path, "mine", STORE_KINDS) == store
    assert find_location(tmp_path, str(store), STORE_KINDS) == store


def test_a_mistyped_name_is_answered_by_its_neighbor(tmp_path):
    make_store(tmp_path)
    for find in (lambda: find_location(tmp_path, "mien"), lambda: find_store(tmp_path, "features", "mien")):
        with pytest.raises(ArtifactError, match="did you mean 'mine'"):
            find()
