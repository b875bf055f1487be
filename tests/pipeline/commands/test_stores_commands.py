"""The stores commands as a person and as a program meet them."""

import json
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from jobs.runs.run_folder import RunFolder
from pipeline.cli import main
from pipeline.commands import stores_exchange
from stores import ArraySpec, BucketSet, Store, StoreWriter, new_index, open_bucket_set, open_store
from stores.care import codecs
from stores.core.bucket_set import bucket_set_ingredients, write_bucket_set
from stores.exchange.exports import EXPORT_FORMATS
from stores.exchange.imports import IMPORT_FORMATS


def run(*words: object) -> Result:
    group = [] if words[0] == "verify" else ["stores"]
    return CliRunner().invoke(main, [*group, *map(str, words)], prog_name="fae-pipe")


def answer(*words: object, code: int = 0) -> Any:
    outcome = run(*words, "--json")
    assert outcome.exit_code == code, outcome.output
    return json.loads(outcome.stdout)


def plan(root: Path, layer: int = 8, kind: str = "features", labels: tuple[int, ...] = (0, 1, 1, 2)) -> StoreWriter:
    index = new_index([f"p{row}" for row in range(4)], label=list(labels), split=["train", "train", "val", "val"])
    arrays = [ArraySpec(kind, (2, 2, 4))]
    ingredients = {"encoder": {"layer": layer}}
    return StoreWriter.create(root / kind, kind, "small", arrays, index, ingredients, views=2, rows_per_shard=2)


def fill(writer: StoreWriter) -> Store:
    for shard in writer.missing_shards():
        values = np.random.default_rng(shard).normal(size=(2, 2, 2, 2, 4)).astype(np.float16)
        writer.write_shard(shard, {spec.name: values for spec in writer.manifest.arrays})
    return writer.finalize()


def age(path: Path) -> None:
    for file in [path, *path.rglob("*")]:
        os.utime(file, (time.time() - 900,) * 2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return fill(plan(tmp_path))


def damage(store: Store, key: str, byte: int = 5) -> None:
    path = store.path / key
    data = bytearray(path.read_bytes())
    data[byte] ^= 4
    path.write_bytes(data)


def test_verify_says_that_all_is_well(store: Store) -> None:
    outcome = run("verify", store.path)
    assert outcome.exit_code == 0
    assert "sound (complete; 2 of 2 shards" in outcome.stdout
    assert answer("verify", store.path)["problems"] == []


def test_verify_finds_damage_and_repair_mends_it(store: Store, tmp_path: Path) -> None:
    damage(store, "data.zarr/features/c/1/0/0/0/0")
    damage(store, "index.parquet")
    outcome = run("verify", store.path)
    assert outcome.exit_code == 1
    assert "c/1/0/0/0/0: 1 records do not fit their crc32c" in outcome.stdout
    assert "2 damaged files" in outcome.stdout
    record = answer("verify", store.path, "--repair", code=1)  # a shard is still to be written
    assert record["repair"]["restored"] == ["index.parquet"]
    assert record["repair"]["recompute"] == [1]
    assert "unfinished" in run("show", store.path).stderr
    again = plan(tmp_path)
    assert again.missing_shards() == [1]
    assert fill(again).content_id == store.content_id
    damage(store, "commits/0.json")
    outcome = run("verify", store.path, "--repair")
    assert outcome.exit_code == 0
    assert "restored 1 files" in outcome.stdout
    assert run("verify", store.path).exit_code == 0


def test_lost_manifests_are_planned_anew(store: Store) -> None:
    damage(store, "manifest.json")
    damage(store, "backup/manifest.json")
    outcome = run("verify", store.path, "--repair")
    assert outcome.exit_code == 1
    assert "run the command that writes this store" in outcome.stdout


def test_a_damaged_store_is_listed_as_such(store: Store, tmp_path: Path) -> None:
    damage(store, "manifest.json")
    assert [row["status"] for row in answer("ls", "--root", tmp_path)["artifacts"]] == ["damaged"]


def test_places_may_be_urls(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    url = f"memory://{uuid.uuid4().hex}/features"
    there = StoreWriter.create(
        url,
        kind="features",
        name="small",
        arrays=store.manifest.arrays,
        index=store.index,
        ingredients={"encoder": {"layer": 8}},
        views=2,
        rows_per_shard=2,
    )
    location = fill(there).blobs.url
    assert run("verify", location).exit_code == 0
    assert answer("show", location)["facts"]["rows"] == 4
    assert answer("diff", location, store.path)["equal"] is True
    assert answer("stats", location)["stats"][0]["plot"] == f"{location}/stats/features.png"
    assert (
        len(answer("export", location, "--format", "webdataset", "--split", "all", "--out", tmp_path / "out")["files"])
        == 1
    )
    assert run("pack", location, "--out", tmp_path / "archive").exit_code == 0


def test_many_problems_are_cut_short_for_people_alone(store: Store) -> None:
    for number in range(2, 30):
        (store.path / f"commits/{number}.json").write_text("{}")
    assert "… and 8 more" in run("verify", store.path).stdout
    assert len(answer("verify", store.path, code=1)["problems"]) == 28


def test_diff_names_ingredients_and_rows(store: Store, tmp_path: Path) -> None:
    other = fill(plan(tmp_path, layer=11, labels=(0, 1, 1, 3)))
    text = run("diff", store.path, other.path).stdout
    assert "ingredient encoder.layer: 8 → 11" in text
    assert "changed label: 1 rows: p3" in text
    record = answer("diff", store.path, other.path)
    assert (record["changed"]["label"], record["equal"], record["same_values"]) == (["p3"], False, True)
    assert "the same rows of the same ingredients" in run("diff", store.path, store.path).stdout


def test_stats_writes_numbers_and_an_image(store: Store) -> None:
    record = answer("stats", store.path)["stats"][0]
    assert (record["array"], record["rows"], record["tokens"]) == ("features", 4, 32)
    assert json.loads(Path(record["numbers"]).read_text())["effective_rank"] == record["effective_rank"]
    with Image.open(record["plot"]) as image:
        assert image.size == (1600, 1180)
    assert "effective rank" in run("stats", store.path, "--array", "features", "--rows", 2).stdout
    outcome = run("stats", store.path, "--array", "latents")
    assert outcome.exit_code == 2
    assert "expected one of features; received 'latents'" in outcome.stderr
    assert run("verify", store.path).exit_code == 0


def test_gc_spares_what_models_name(store: Store, tmp_path: Path) -> None:
    age(store.path)
    fill(plan(tmp_path, layer=11))
    record = answer("gc", "--root", tmp_path)
    assert [item["path"] for item in record["garbage"]] == [str(store.path)]
    assert "would be freed; --delete removes them" in run("gc", "--root", tmp_path).stdout
    inputs = {"features": str(store.path)}
    made = RunFolder.create(tmp_path, "autoencoders", "small", {"features_content_id": store.content_id}, {}, inputs)
    assert "nothing to remove" in run("gc", "--root", tmp_path, "--delete").stdout
    (made.path / "run.json").unlink()
    assert "removed" in run("gc", "--root", tmp_path, "--delete").stdout
    assert not store.path.exists()
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_gc_stops_at_a_model_whose_inputs_are_unknown(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "generators/small-0123456789ab"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{")
    outcome = run("gc", "--root", tmp_path, "--delete")
    assert outcome.exit_code == 2
    assert "run.json: expected JSON" in outcome.stderr
    assert open_store(store.path).num_rows == 4


def test_latents_go_and_come_back(tmp_path: Path) -> None:
    latents = fill(plan(tmp_path, kind="latents"))
    record = answer("export", latents.path, "--format", "lightningdit", "--split", "all", "--out", tmp_path / "out")
    assert [Path(file).name for file in record["files"]] == [
        "latents_rank00_shard000.safetensors",
        "index.parquet",
        "store.json",
    ]
    record = answer("import", tmp_path / "out", "--name", "back", "--root", tmp_path / "other")
    back = open_store(record["path"])
    assert back.path.parent == tmp_path / "other/latents"
    np.testing.assert_array_equal(back.read("latents", range(4), 1), latents.read("latents", range(4), 1))
    outcome = run("export", latents.path, "--format", "parquet", "--out", tmp_path / "out")
    assert outcome.exit_code == 2
    assert "expected a new or empty folder" in outcome.stderr
    assert "2 files" in run("export", latents.path, "--format", "parquet", "--out", tmp_path / "parquet").stdout
    assert "name" in run("import", tmp_path / "out", "--name", "../x", "--root", tmp_path / "other").stderr


def test_a_store_is_packed_and_unpacked(store: Store, tmp_path: Path) -> None:
    outcome = run("pack", store.path, "--out", tmp_path / "archive", "--codec", "zstd")
    assert outcome.exit_code == 0, outcome.output
    assert "the store is still there" in outcome.stdout
    refused = run("show", tmp_path / "archive").stderr.replace("\n", " ")
    assert f"received a packed archive; run `fae-pipe stores unpack {tmp_path / 'archive'}`" in refused
    zipped = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "archive")
    for command in ("show", "verify"):
        assert (
            "received a packed archive; unzip it and run `fae-pipe stores unpack FOLDER`" in run(command, zipped).stderr
        )
    record = answer("unpack", tmp_path / "archive", "--root", tmp_path / "other")
    assert record["content_id"] == store.content_id
    assert Path(record["path"]) == tmp_path / "other/features" / store.path.name
    assert "received no archive.json" in run("unpack", store.path, "--root", tmp_path / "other").stderr
    record = answer("pack", store.path, "--out", tmp_path / "rounded", "--max-error", 0.01)
    assert record["rounding"]["features"]["bound"] == {"max_error": 0.01}
    assert 0 < record["rounding"]["features"]["max_error"] <= 0.01
    both = run("pack", store.path, "--out", tmp_path / "third", "--max-error", 0.01, "--max-relative-error", 0.1)
    assert both.exit_code == 2
    assert "expected one of max_error and max_relative_error" in both.stderr


def test_the_codecs_offered_are_those_there_are() -> None:
    assert stores_exchange.CODECS == codecs.CODECS
    assert codecs.CODECS[0] == codecs.DEFAULT_CODEC


def test_show_counts_the_classes_of_integer_labels(tmp_path: Path) -> None:
    gaps = fill(plan(tmp_path, labels=(1, 3, 3, 12)))
    record = answer("show", gaps.path)
    assert record["facts"]["classes"] == 3
    assert record["facts"]["labels"] == "1 … 12, 3 different, 10 ids without images; 4 rows labeled"
    assert record["facts"]["splits"] == "train 2, val 2"
    assert record["facts"]["captions"] == "none"
    assert record["classes"] == [{"id": id_, "name": None, "images": 1 + (id_ == 3)} for id_ in (1, 3, 12)]
    assert record["data"] is None


@pytest.fixture
def bucket_set(tmp_path: Path) -> BucketSet:
    stores = {f"{size}x2": fill(plan(tmp_path, layer=size)) for size in (1, 2, 3)}
    ingredients = bucket_set_ingredients("a test", {size: store.fingerprint for size, store in stores.items()})
    return write_bucket_set(tmp_path / "buckets/mixed-0123456789ab", "mixed", ingredients, stores, new_index(["a"]))


def test_verifying_a_bucket_set_names_the_damaged_stores(bucket_set: BucketSet) -> None:
    folder, store = bucket_set.blobs.local_path(), bucket_set.stores["2x2"]
    assert "1 images in 3 stores, all sound" in run("verify", folder).stdout
    damage(store, "data.zarr/features/c/0/0/0/0/0")
    outcome = run("verify", folder)
    assert outcome.exit_code == 1
    end = outcome.stdout.replace("\n", "").partition(f"{folder}: ")[2]
    assert end.startswith(f"1 of 3 stores damaged: features/{store.path.name}")
    assert f"repair them: fae-pipe verify {folder} --repair" in end
    assert "all sound" not in end
    assert answer("verify", folder, code=1)["damaged"] == [str(store.path)]


def test_a_sets_stores_are_repaired_together(bucket_set: BucketSet) -> None:
    folder, (first, second, _) = bucket_set.blobs.local_path(), bucket_set.members
    damage(first, "manifest.json")
    damage(second, "commits/0.json")
    assert len(answer("verify", folder, code=1)["damaged"]) == 2
    repaired = run("verify", folder, "--repair")
    assert repaired.exit_code == 0, repaired.stdout
    assert "1 images in 3 stores, all sound" in repaired.stdout
    assert open_bucket_set(folder).content_id == bucket_set.content_id
    damage(second, "data.zarr/features/c/0/0/0/0/0")
    for _ in range(2):
        lost = run("verify", folder, "--repair")
        assert lost.exit_code == 1, "its values are lost"
        assert "then give the command that made the set" in lost.stdout.replace("\n", "")
    assert fill(plan(second.path.parents[1], layer=2)).content_id == second.content_id
    assert answer("verify", folder)["sound"]


def test_a_bucket_set_is_shown_with_its_classes_and_measured_by_size(
    bucket_set: BucketSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seven plots, of which nothing is asked here, take ten seconds.
    monkeypatch.setattr("pipeline.drawing.stats_plot.figure_bytes", lambda figure, kind, title: title.encode())
    shown = answer("show", bucket_set.url)
    facts = shown["facts"]
    assert [facts[key] for key in ("classes", "labels", "captions")] == [
        3,
        "0 … 2, 3 different; 12 rows labeled",
        "none",
    ]
    assert [one["images"] for one in shown["classes"]] == [3, 6, 3]
    assert [one["size"] for one in answer("stats", bucket_set.url)["stats"]] == list(bucket_set.stores)
    lines = run("stats", bucket_set.url).stdout
    assert all(f"{size} features: " in lines for size in bucket_set.stores)
    assert "size" not in answer("stats", bucket_set.members[0].url)["stats"][0]


def test_copy_takes_the_whole_or_a_part(tmp_path: Path) -> None:
    store = fill(plan(tmp_path))
    whole = answer("copy", store.path, tmp_path / "copy")
    assert whole["content_id"] == store.content_id
    assert Path(whole["path"]) == tmp_path / "copy" / store.path.name
    assert f"it has stores in it: give {whole['path']}" in run("show", tmp_path / "copy").stderr
    for command in ("show", "verify", "stats"):
        inner = run(command, Path(whole["path"]) / "manifest.json")
        assert f"it is in a store: give that store's folder, {whole['path']}" in inner.stderr
        assert inner.exit_code == 2
    part = answer("copy", store.path, tmp_path / "part", "--split", "val")
    assert part["rows"] == 2
    assert open_store(part["path"]).index["split"].to_pylist() == ["val", "val"]
    for spelling in ("--arrays", "--array"):
        outcome = run("copy", store.path, tmp_path / "other", spelling, "latents")
        assert outcome.exit_code == 2
        assert "arrays: expected some of features; received latents" in outcome.output


def test_verify_of_before_is_answered_by_the_one_of_now(store: Store) -> None:
    outcome = CliRunner().invoke(main, ["stores", "verify", str(store.path)], prog_name="fae-pipe")
    assert outcome.exit_code == 2
    assert "No such command 'verify': expected `fae-pipe verify`" in outcome.stderr


def test_an_added_array_is_shown_verified_and_exported(store: Store, tmp_path: Path) -> None:
    np.save(tmp_path / "score.npy", np.arange(4) / 4)
    made = answer("add", store.path, tmp_path / "score.npy", "--name", "score")
    assert made["folder"].startswith("score-")
    assert "float32 (4, 2, 1), added, content id" in answer("show", store.path)["arrays"]["score"]
    assert [one["array"] for one in answer("stats", store.path)["stats"]] == ["features", "score"]
    assert answer("verify", store.path)["added"]["score"]["complete"]
    assert f"added/{made['folder']}: sound" in run("verify", store.path).stdout.replace("\n", "")
    answer("export", store.path, "--array", "score", "--format", "npz", "--split", "all", "--out", tmp_path / "out")
    refused = run("add", store.path, tmp_path / "score.npy", "--name", "features")
    assert refused.exit_code == 2
    assert "expected another name" in refused.stderr


def test_the_formats_of_the_command_are_those_of_the_library() -> None:
    assert tuple(EXPORT_FORMATS) == stores_exchange.EXPORTS
    assert tuple(IMPORT_FORMATS) == stores_exchange.IMPORTS
