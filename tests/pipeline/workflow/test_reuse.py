"""Another family, condition or block of the encoder: a run does the new work alone, which is counted."""

import json
from collections import Counter

import pytest

from jobs.extraction.captions import TextWorker
from jobs.extraction.image_worker import _StoreBuilder
from jobs.extraction.latents import EncodeWorker
from jobs.loop.trainer import Trainer
from pipeline.config.recipe import override
from pipeline.console.output import Output
from pipeline.workflow.recipe_workflow import run_workflow
from pipeline.workflow.stage_runner import StageRunner

ROWS, STEPS = 12, 2
TEXT = {"generator.condition": "text", "sample.prompts": "held-out"}


pytestmark = pytest.mark.usefixtures("minilm")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, digit_pngs, tiny_recipe):
    """Twelve digits with a class and a caption each."""
    folder, lines = tmp_path_factory.mktemp("images"), []
    for number, (name, digit, data) in enumerate(digit_pngs):
        (folder / f"{name}.png").write_bytes(data)
        split = "val" if number % 3 == 0 else "train"
        lines.append({"file": f"{name}.png", "label": digit, "captions": [f"the digit {digit}"], "split": split})
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    settings = {
        "data.path": folder,
        "data.labels": folder / "labels.jsonl",
        "data.holdout": 0,
        "data.limit": "null",
        "sample.num": 2,
        "sample.classes": "null",
    }
    for section in ("autoencoder", "decoder", "generator"):
        settings |= {f"{section}.batch_size": 4, f"{section}.steps": STEPS}
    return override(tiny_recipe, {key: str(value) for key, value in (settings | {"decoder.finetune_steps": 0}).items()})


@pytest.fixture
def work(monkeypatch):
    """What was done, counted where it is done: images and captions encoded, shards of latents, training steps."""
    done: Counter[str] = Counter()

    def counted(owner, method, what, amount):
        plain = getattr(owner, method)

        def count(self, *args):
            done[what] += amount(*args)
            return plain(self, *args)

        monkeypatch.setattr(owner, method, count)

    counted(_StoreBuilder, "_encode", "images", lambda pixels, features: len(pixels))
    counted(TextWorker, "_encode", "captions", lambda texts, start: len(texts))
    counted(EncodeWorker, "run", "latent shards", lambda shard: 1)
    counted(Trainer, "optimizer_step", "steps", lambda *args: 1)
    return done


def test_a_change_costs_the_new_work_alone(recipe, tmp_path, work):
    def run(settings):
        work.clear()
        stages = StageRunner(tmp_path, override(recipe, settings), Output(json=True))
        made = run_workflow(stages)
        assert made is not None
        return {outcome.stage for outcome in stages.outcomes if not outcome.up_to_date}, made

    everything, first = run({})
    assert everything == set(recipe.stages)
    views = first.features.views
    shards = work["latent shards"]
    assert work == {"images": ROWS * views, "latent shards": shards, "steps": 3 * STEPS}

    assert run({})[0] == set()
    assert not work

    # Another family: its training and its samples.
    assert run({"generator.model": "starflow"})[0] == {"train-gen", "sample"}
    assert work == {"steps": STEPS}

    # Another condition: captions are encoded once, and no image or latent is.
    assert run(TEXT)[0] == {"extract-text", "train-gen", "sample"}
    assert work == {"captions": 3, "steps": STEPS}, "equal captions of a shard are encoded once"
    assert run(TEXT | {"generator.model": "mmdit"})[0] == {"train-gen", "sample"}
    assert work == {"steps": STEPS}

    # Another block of the encoder: all but the captions.
    redone, other = run(TEXT | {"extract.layer": "3"})
    assert redone == set(recipe.stages)
    assert work == {"images": ROWS * views, "latent shards": shards, "steps": 3 * STEPS}
    assert other.features.content_id != first.features.content_id

    # And back: nothing at all.
    assert run(TEXT)[0] == set()
    assert not work
