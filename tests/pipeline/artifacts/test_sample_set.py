"""Many images: files of each format from one store, written in one step, resumed and not made twice."""

import io
import json
import signal
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.artifacts.listing import inventory
from pipeline.config.recipe import dump, override
from pipeline.console.output import Output
from pipeline.stages import SAMPLE
from pipeline.stages.preflight import check_recipe
from pipeline.workflow.stage_runner import StageRunner
from stores import open_store
from stores.backends.locations import open_bytestore
from stores.backends.object_store import BucketError


@pytest.fixture
def sampled(world, tmp_path):
    """(**settings) -> (SampleSet, outcome) of samples made below a folder of this test."""

    def make(**settings):
        recipe = override(world.recipe, {"runtime.executor": "local"})
        small = {"num": 10, "steps": 2, "batch_size": 2, "rows_per_shard": 4}
        recipe = replace(recipe, sample=replace(recipe.sample, **{**small, **settings}))
        stages = StageRunner(tmp_path / "runs", recipe, Output(json=True))
        return stages.do(SAMPLE, world.made.models), stages.outcomes[-1]

    return make


def test_webdataset_tars_hold_images_classes_and_facts(sampled, tmp_path):
    made, _ = sampled(out=str(tmp_path / "out"))
    images, labels = made.read()
    (path,) = (tmp_path / "out").glob("*.tar")
    with tarfile.open(path) as tar:
        files = {entry.name: tar.extractfile(entry).read() for entry in tar}
    assert len(files) == 30
    assert [int(files[f"{row:09d}.cls"]) for row in range(10)] == labels.tolist()
    assert json.loads(files["000000003.json"])["key"] == f"000003-class{labels[3]}-seed3"
    for row in range(10):
        with Image.open(io.BytesIO(files[f"{row:09d}.png"])) as image:
            np.testing.assert_array_equal(np.asarray(image), images[row])


def test_a_url_gets_the_same_files_once_and_is_never_mixed_with_others(sampled, s3_url):
    url = f"{s3_url}/samples"
    made, before = sampled(out=url, format="png")
    blobs = open_bytestore(url)
    written = [file for file in made.path.rglob("*") if file.is_file()]
    files = {file.relative_to(made.path).as_posix(): file.read_bytes() for file in written}
    assert {key: blobs.read(key) for key in list(blobs.keys())} == files
    assert before.metrics["url"] == url
    assert sampled(out=url, format="png")[1].up_to_date
    # What a stopped copy left is gone on with: the record comes last.
    blobs.delete("samples.json")
    blobs.delete("pixels/000000003.png")
    assert not sampled(out=url, format="png")[1].up_to_date
    assert {key: blobs.read(key) for key in list(blobs.keys())} == files
    with pytest.raises(ValueError, match=rf"sample.out: {url}: expected no files there; received others"):
        sampled(out=url, format="npz")


def test_a_bucket_that_is_missing_is_named_before_any_image_is_made(s3_url, tmp_path, world):
    recipe = replace(world.recipe, sample=replace(world.recipe.sample, out="s3://no-such-bucket/x"))
    with pytest.raises(BucketError, match="no-such-bucket"):
        check_recipe(tmp_path, recipe, ["sample"])


def test_npz_is_what_adms_suite_reads(sampled):
    made, _ = sampled(format="npz")
    images, labels = made.read()
    assert made.path.name == f"{made.writer.path.name}-npz"
    (path,) = made.path.glob("*.npz")
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["arr_0"], images)
        np.testing.assert_array_equal(archive["arr_1"], labels)
        assert archive["arr_0"].dtype == np.uint8
        assert archive["arr_0"].shape == (10, 32, 32, 3)


def test_png_files_and_the_index_that_names_them(sampled):
    made, _ = sampled(format="png")
    images, labels = made.read()
    files = sorted((made.path / "pixels").iterdir())
    assert [file.name for file in files] == [f"{row:09d}.png" for row in range(10)]
    with Image.open(files[7]) as image:
        np.testing.assert_array_equal(np.asarray(image), images[7])
    assert pq.read_table(made.path / "index.parquet")["label"].to_pylist() == labels.tolist()
    with Image.open(made.grid) as grid:
        assert grid.width == 5 * 64 + 4 * 6, "enlarged once, so that class names fit"


def test_the_second_time_nothing_is_made_and_another_format_reads_the_same_store(sampled, monkeypatch):
    first, before = sampled(format="npz")
    times = {file: file.stat().st_mtime_ns for file in first.path.parent.rglob("*")}
    _, again = sampled(format="npz")
    assert (before.up_to_date, again.up_to_date) == (False, True)
    assert {file: file.stat().st_mtime_ns for file in first.path.parent.rglob("*")} == times

    def refuse(*_):
        raise AssertionError("images were made again")

    monkeypatch.setattr("jobs.sampling.sample_store.SampleWorker.run", refuse)
    other, outcome = sampled(format="webdataset")
    assert not outcome.up_to_date
    assert other.writer.path == first.writer.path


def test_other_files_in_the_folder_are_refused_before_any_image_is_made(sampled, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="expected a new or empty folder; it holds other files"):
        sampled(out=str(out))
    assert [file.name for file in out.iterdir()] == ["mine.txt"]
    assert not (tmp_path / "runs").exists()


def test_a_failure_while_writing_files_leaves_none_and_the_store_is_kept(sampled, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.artifacts.sample_set.save_png", full)
        with pytest.raises(OSError, match="No space left"):
            sampled(out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))
    made, _ = sampled(out=str(tmp_path / "out"))
    assert made.state == "complete"


def test_the_inventory_names_the_store_below_its_generator(sampled, world, tmp_path):
    made, _ = sampled(format="npz")
    (row,) = inventory(tmp_path / "runs")
    assert (row.kind, row.status, row.path) == ("samples", "complete", made.writer.path)
    assert Path(row.made_from[-1]).name == world.made.models.generator.path.name


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(sampled, world, tmp_path, processes):
    expected, _ = sampled(num=24, format="npz")
    file = tmp_path / "tiny.yaml"
    small = {"sample.num": "24", "sample.steps": "2", "sample.batch_size": "2", "sample.rows_per_shard": "4"}
    file.write_text(dump(override(world.recipe, {**small, "runtime.executor": "local"})))
    root = tmp_path / "other"
    root.mkdir()
    for kind in ("autoencoders", "decoders", "latents", "generators"):
        (root / kind).symlink_to(world.root / kind)
    words = ["sample", "--config", file, "--root", root, "--format", "npz", "--out", tmp_path / "out"]
    process = processes.fae_pipe(*words)
    process.wait_until(lambda: any(root.glob("samples/*/commits/*.json")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    first = {path: path.stat().st_mtime_ns for path in root.glob("samples/*/commits/*.json")}
    again = processes.run(*words)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in first} == first
    (store,) = (open_store(path.parent) for path in root.glob("samples/*/manifest.json"))
    assert store.content_id == open_store(expected.writer.path).content_id
    (ours,) = expected.path.glob("*.npz")
    (theirs,) = (tmp_path / "out").glob("*.npz")
    assert ours.read_bytes() == theirs.read_bytes()
