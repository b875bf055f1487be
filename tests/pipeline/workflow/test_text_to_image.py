"""Captions to images, end to end: digits with captions, MiniLM, and a generator conditioned on them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import load_file

from fae.export.pipeline_fae import FAEPipeline
from fae.grids import LABELED_WIDTH
from jobs.config.stages import SampleConfig
from jobs.sampling.conditioning import text_of
from jobs.sampling.sample_plan import plan_samples
from jobs.sampling.sample_store import make_sample_store, sample_writer
from jobs.train.previews import CONDITIONS
from pipeline.artifacts.lineage import find_models
from pipeline.artifacts.sampling import newest_samples
from pipeline.cli import main
from pipeline.config.recipe import override
from pipeline.console.output import Output
from pipeline.report.gallery import Gallery, ReportOptions
from pipeline.report.subjects import open_subject
from pipeline.report.write import write_report
from pipeline.stages import SAMPLE
from pipeline.view.rows import Rows
from pipeline.workflow.exporting import export
from pipeline.workflow.recipe_workflow import run_workflow
from pipeline.workflow.stage_runner import StageRunner
from stores import StoreError, open_store

WORDS = ("zero", "one", "two")


pytestmark = pytest.mark.usefixtures("minilm")


@pytest.fixture(scope="module")
def images(tmp_path_factory, digit_pngs):
    """Twelve digits, each with two captions and no class."""
    folder = tmp_path_factory.mktemp("captioned")
    lines = []
    for number, (name, digit, data) in enumerate(digit_pngs):
        (folder / f"{name}.png").write_bytes(data)
        captions = [f"a handwritten {WORDS[digit]}", f"the digit {WORDS[digit]} on black"]
        split = "val" if number % 3 == 0 else "train"
        lines.append(json.dumps({"file": f"{name}.png", "captions": captions, "split": split}))
    (folder / "labels.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def recipe(tiny_recipe, images):
    settings = {
        "name": "captioned",
        "data.path": str(images),
        "data.labels": str(images / "labels.jsonl"),
        "data.holdout": "0",
        "data.limit": "null",
        "text.captions": "2",
        "autoencoder.batch_size": "4",
        "decoder.batch_size": "4",
        "decoder.finetune_steps": "0",
        "generator.batch_size": "4",
        "generator.condition": "text",
        # Captions must tell after so few steps.
        "generator.learning_rate": "0.01",
        "generator.warmup_steps": "0",
        "generator.ema_decay": "0.5",
        "sample.prompts": "held-out",
        "sample.num": "6",
        "sample.columns": "4",
        "sample.guidance_scale": "1.5",
        "sample.guidance_interval": "0.9,0",
    }
    return override(tiny_recipe, settings)


@pytest.fixture(scope="module")
def captioned(tmp_path_factory, recipe, minilm):
    """(stages, what they made) of one run."""
    stages = StageRunner(tmp_path_factory.mktemp("captioned") / "runs", recipe, Output(json=True))
    made = run_workflow(stages)
    assert made is not None
    return stages, made


def held_out_captions(store):
    return [store.index["caption"][int(row)].as_py()[0] for row in store.rows("val")]


def test_text_is_encoded_between_the_latents_and_the_generator(captioned):
    stages, made = captioned
    assert [outcome.stage for outcome in stages.outcomes][3:6] == ["encode", "extract-text", "train-gen"]
    text = open_store(made.models.generator.input("text"))
    assert text.index["key"].to_pylist() == made.latents.index["key"].to_pylist()
    assert text.views == 2


def test_a_second_run_does_nothing(captioned, recipe):
    stages = StageRunner(captioned[0].root, recipe, Output(json=True))
    run_workflow(stages)
    assert all(outcome.up_to_date for outcome in stages.outcomes)


def test_a_dry_run_names_what_is_to_come(captioned, recipe, capsys):
    stages = StageRunner(captioned[0].root, override(recipe, {"text.captions": "1"}), Output(), dry_run=True)
    assert run_workflow(stages) is None
    said = capsys.readouterr().out
    assert "extract-text: changed: captions: 2 → 1\n" in said
    assert "extract-text: would be made" in said
    assert "then: train-gen, sample\n" in said


def test_samples_of_a_recipe_show_the_held_out_captions(captioned):
    _, made = captioned
    entries = made.samples.record()["images"]
    expected = held_out_captions(made.latents)
    assert [entry["caption"] for entry in entries] == (expected * 2)[:6]
    assert [(entry["label"], entry["seed"]) for entry in entries] == [(-1, seed) for seed in range(6)]
    assert entries[0]["file"] == "000000-seed0.png"
    latents = load_file(made.samples.path / "latents.safetensors")["latents"]
    assert (latents.shape, latents.dtype) == ((6, 4, 4, 8), np.float32)


def test_grids_have_room_for_the_captions(captioned):
    _, made = captioned
    with Image.open(made.samples.grid) as grid, Image.open(next(made.samples.path.glob("images/*"))) as one:
        times = grid.width // 4 // one.width
        captions = np.asarray(grid.convert("L"))[:12, : one.width * times]  # each column's, above it
    assert times == 4
    assert captions.max() == 255
    assert captions.min() < 180
    previews = made.models.generator.path / "previews"
    with (
        Image.open(previews / "step-00000002.png") as preview,
        Image.open(previews / "step-00000002-latents.png") as colors,
    ):
        assert preview.width // 4 >= LABELED_WIDTH
        assert colors.width // CONDITIONS >= LABELED_WIDTH


@pytest.fixture
def world_of_links(captioned, tmp_path):
    """A root folder of this test with the run's stores and models."""
    root = tmp_path / "runs"
    root.mkdir()
    for kind in ("features", "autoencoders", "decoders", "latents", "text", "generators"):
        (root / kind).symlink_to(captioned[0].root / kind)
    return root


@pytest.fixture
def sampled(captioned, tmp_path):
    """(**settings) -> the folder of samples made below a folder of this test."""

    def make(**settings):
        stages = StageRunner(tmp_path / "runs", captioned[0].recipe, Output(json=True))
        config = replace(SampleConfig(num=2, steps=3, guidance_scale=1.5, guidance_interval="0.9,0"), **settings)
        return stages.do(SAMPLE, captioned[1].models, config=config)

    return make


def test_prompts_are_taken_in_turn_and_decide_the_images(sampled):
    both = sampled(prompt=("a handwritten two", "a handwritten zero"), num=3, prompts="held-out")
    assert [entry["caption"][14:] for entry in both.record()["images"]] == ["two", "zero", "two"]
    other = sampled(prompt=("a handwritten one",), num=3)
    assert both.path != other.path
    same_seeds = load_file(both.path / "latents.safetensors"), load_file(other.path / "latents.safetensors")
    assert not np.array_equal(same_seeds[0]["latents"], same_seeds[1]["latents"])


def test_prompts_longer_than_the_captions_are_cut_with_a_warning(sampled, caplog):
    folder = sampled(prompt=("a handwritten two " * 8,), num=1)
    assert "1 of 1 prompts are cut after" in caplog.text
    assert folder.grid.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "\na handwritten two\n  the digit zero \n"),
        ("p.jsonl", '{"caption": "a handwritten two"}\n{"caption": ["the digit zero", "other"], "seed": 3}\n'),
    ],
)
def test_a_file_of_prompts_makes_what_the_same_prompts_make(sampled, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    folder = sampled(prompts=str(tmp_path / name))
    assert [entry["caption"] for entry in folder.record()["images"]] == ["a handwritten two", "the digit zero"]
    assert sampled(prompt=("a handwritten two", "the digit zero")).path == folder.path


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "takes captions; expected some of them; give --prompt TEXT, --prompts FILE"),
        ({"prompt": ("a",), "classes": "1"}, "classes: .* takes captions and knows no classes"),
        ({"prompts": "no/such/file"}, "prompts: no/such/file: expected a text file, or the word held-out"),
    ],
)
def test_what_the_generator_knows_is_said(sampled, settings, message):
    with pytest.raises(ValueError, match=message):
        sampled(**settings)


@pytest.mark.parametrize(("text", "message"), [("\n\n", "one prompt a line"), ('{"text": "a"}', "expected lines such")])
def test_files_without_prompts_are_refused(sampled, tmp_path, text, message):
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message):
        sampled(prompts=str(tmp_path / "p.jsonl"))


def fae_pipe(root, *words):
    return CliRunner().invoke(main, [*map(str, words), "--root", str(root), "--json"], prog_name="fae-pipe")


def test_commands_take_prompts_and_a_text_store_by_name(captioned, world_of_links):
    words = [
        "--name",
        "captioned",
        "--prompt",
        "a handwritten two",
        "--prompt",
        "a handwritten one",
        "--num",
        3,
        "--steps",
        2,
    ]
    outcome = fae_pipe(world_of_links, "sample", *words)
    assert outcome.exit_code == 0, outcome.stderr
    folder = Path(json.loads(outcome.stdout)["path"])
    entries = json.loads((folder / "samples.json").read_text())["images"]
    assert [entry["caption"][14:] for entry in entries] == ["two", "one", "two"]
    text = captioned[1].models.generator.input("text")
    settings = ["--condition", "text", "--size", "tiny", "--steps", 2, "--dry-run"]
    for named in ([], ["--text", "captioned"], ["--text", text]):
        outcome = fae_pipe(world_of_links, "train-gen", "--name", "captioned", *settings, *named)
        assert outcome.exit_code == 0, outcome.stderr
        assert "train-gen: would be made" in outcome.stderr


def test_a_text_store_is_refused_where_classes_are_told(world_of_links):
    outcome = fae_pipe(world_of_links, "train-gen", "--name", "captioned", "--size", "tiny", "--text", "captioned")
    assert outcome.exit_code == 2
    assert "--text: expected --condition text with it" in outcome.stderr


def test_a_generator_of_classes_takes_no_prompts(world):
    with pytest.raises(ValueError, match="takes classes and knows no captions; give --classes \\(10 of them: 0 to 9"):
        plan_samples(SampleConfig(prompt=("a dog",)), world.made.models)


def test_another_text_encoder_is_not_taken_for_the_trained_one(captioned, recipe, tmp_path):
    models = captioned[1].models
    record = replace(models.generator.record, text_encoder_sha256="0" * 64)
    others = replace(models, generator=replace(models.generator, record=record))
    with pytest.raises(ValueError, match=r"expected the one that .* was trained with"):
        StageRunner(tmp_path, recipe, Output(json=True)).do(SAMPLE, others, config=SampleConfig(prompt=("a",), num=1))


def test_a_store_of_samples_has_captions_and_the_same_latents(captioned, recipe, tmp_path):
    _, made = captioned
    config = replace(recipe.sample, batch_size=2, rows_per_shard=4)
    writer = sample_writer(tmp_path, "captioned", made.models, config, recipe.runtime)
    store = make_sample_store(writer, made.models, config, recipe.runtime, lambda *_: None)
    assert [row[0] for row in store.index["caption"].to_pylist()] == (held_out_captions(made.latents) * 2)[:6]
    assert store.labels.tolist() == [-1] * 6
    few = load_file(made.samples.path / "latents.safetensors")["latents"]
    np.testing.assert_allclose(store.read("latents", np.arange(6)), few, atol=1e-2)
    shown = Rows(store).describe(0)
    assert shown["caption"] == [held_out_captions(made.latents)[0]]


def test_an_exported_pipeline_makes_the_latents_of_the_samples(captioned, tmp_path):
    _, made = captioned
    samples = newest_samples(made.models.generator.path.parents[1], made.models)
    assert samples is not None
    folder = export(made.models, tmp_path / "model", "digits", "mit", samples)
    assert (folder / "samples.png").read_bytes() == samples.grid.read_bytes()
    card = (folder / "README.md").read_text()
    assert "text-to-image" in card
    assert "license: mit" in card
    assert f"num_inference_steps={captioned[0].recipe.sample.steps})" in card
    assert "![Samples](samples.png)" in card
    assert 'prompt=["a handwritten' in card
    assert "minilm" in card
    pipe = FAEPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    entries, config = made.samples.record()["images"], captioned[0].recipe.sample
    found = pipe(
        prompt=[entry["caption"] for entry in entries],
        seeds=[entry["seed"] for entry in entries],
        guidance_scale=1.5,
        guidance_interval=[(0.9, 0)],
        num_inference_steps=config.steps,
        output_type="latent",
    ).images
    expected = torch.from_numpy(load_file(made.samples.path / "latents.safetensors")["latents"])
    # The samples were made in bfloat16 where the processor has it.
    assert float((found - expected).abs().max() / expected.abs().max()) < 0.05
    with pytest.raises(ValueError, match="prompt: expected captions, and no class_labels"):
        pipe([0])


def test_metrics_and_a_report_are_made_of_it(captioned, tmp_path):
    stages, made = captioned
    models = find_models(stages.root, "captioned")
    assert models.generator.path == made.models.generator.path
    options = ReportOptions(images=2, cell=2, scales=(1.0, 1.5), steps=(2,))
    record = write_report(
        stages.root, ["captioned"], tmp_path / "r.html", options, stages.recipe.runtime, lambda line: None
    )
    page = (tmp_path / "r.html").read_text()
    assert record["num_bytes"] == len(page.encode())
    text = Path(made.models.generator.input("text"))
    assert f"{text.name} (text) from {made.features.path.name};" in page
    assert held_out_captions(made.latents)[0] in page


def test_a_report_without_the_captions_says_so(captioned, tmp_path):
    subject = open_subject(captioned[0].root, "captioned")
    assert subject.text is not None
    lost = replace(subject, text=None)
    gallery = Gallery(
        captioned[0].root,
        lost,
        ReportOptions(images=2, cell=2),
        torch.device("cpu"),
        captioned[0].recipe.runtime,
        print,
    )
    titles = [section.title for section in gallery.sections()]
    assert "Samples" in titles
    assert "Guidance and steps" not in titles
    # Copies are looked for among the samples that are there.
    assert "Nearest training images" in titles
    generator = subject.generator
    record = replace(generator.record, inputs=generator.record.inputs | {"text": str(tmp_path / "gone")})
    with pytest.raises(StoreError):
        text_of(replace(generator, record=record))
