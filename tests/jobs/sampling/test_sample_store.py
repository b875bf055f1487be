"""Samples in a store: the same bytes from one process and from actors, seeds and labels in the index."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from jobs.config.stages import RuntimeConfig
from jobs.loop.parallel import innermost_blocks
from jobs.sampling.sample_plan import plan_samples
from jobs.sampling.sample_store import make_sample_store, sample_writer
from jobs.sampling.sampler import Sampler, sample

LOCAL = RuntimeConfig(executor="local", threads=2)


@pytest.fixture
def config(world):
    return replace(world.recipe.sample, num=10, steps=2, batch_size=2, rows_per_shard=4, seed=7)


@pytest.fixture
def sampled(world, config, tmp_path):
    """(root, runtime, **settings) -> the store of samples of the world's models."""

    def make(root, runtime=LOCAL, on_progress=lambda *_: None, **settings):
        changed = replace(config, **settings)
        writer = sample_writer(tmp_path / root, "tiny", world.made.models, changed, runtime)
        return make_sample_store(writer, world.made.models, changed, runtime, on_progress)

    return make


def test_actors_and_one_process_make_the_same_bytes(sampled, ray_cluster):
    seen = []
    local = sampled("local")
    on_ray = sampled("ray", RuntimeConfig(executor="ray", workers=2, threads=1), lambda *report: seen.append(report[2]))
    assert set(seen[-1]["rows_by_worker"]) <= {"0", "1"}
    assert sum(seen[-1]["rows_by_worker"].values()) == 10
    assert set(seen[-1]["seconds_by_part"]) == {"sample", "write"}
    assert on_ray.content_id == local.content_id
    assert on_ray.fingerprint == local.fingerprint


def test_the_number_of_threads_changes_no_byte(sampled):
    assert (
        sampled("one", replace(LOCAL, threads=1)).content_id == sampled("three", replace(LOCAL, threads=3)).content_id
    )


def test_the_index_tells_label_and_seed_and_the_manifest_how_they_were_chosen(sampled, world):
    store = sampled("a", labels="random")
    keys = store.index["key"].to_pylist()
    assert keys == [f"{row:06d}-class{label}-seed{7 + row}" for row, label in enumerate(store.labels)]
    assert store.manifest.attributes["labels"] == "random"
    assert store.manifest.ingredients["sample"]["labels"] == "random"
    assert store.manifest.ingredients["generator_sha256"] == world.made.models.generator.weights_sha256
    assert store.arrays["pixels"].row_shape == (32, 32, 3)


def test_a_store_of_another_size(sampled):
    store = sampled("wide", size="24x40", num=4, steps=2)
    assert store.arrays["pixels"].row_shape == (24, 40, 3)
    assert store.manifest.ingredients["sample"]["size"] == "24x40"


def test_missing_shards_alone_are_made(sampled, world, config, tmp_path):
    whole = sampled("whole")
    writer = sample_writer(tmp_path / "part", "tiny", world.made.models, config, LOCAL)
    writer.begin()
    rows = np.arange(4, 8)
    writer.write_shard(1, {"pixels": whole.read("pixels", rows)[:, None]})
    record = writer.path / "commits" / "1.json"
    written = record.stat().st_mtime_ns
    seen = []
    store = sampled("part", on_progress=lambda done, total, facts: seen.append((done, total)))
    assert store.content_id == whole.content_id
    assert record.stat().st_mtime_ns == written
    assert seen[0] == (4, 10)


def test_a_seed_decides_the_image_wherever_it_stands(sampled):
    early, late = sampled("a", classes="3"), sampled("b", classes="3", seed=11)
    difference = np.abs(early.read("pixels", range(4, 10)).astype(int) - late.read("pixels", range(6)).astype(int))
    assert difference.max() <= 8


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 8},
        {"steps": 3},
        {"num": 9},
        {"labels": "random"},
        {"guidance_scale": 2.0},
        {"batch_size": 3},
        {"compile": True},
    ],
)
def test_whatever_decides_the_bytes_makes_another_store(world, config, tmp_path, changed):
    def place(**settings):
        return sample_writer(tmp_path, "x", world.made.models, replace(config, **settings), LOCAL).path

    assert place(columns=3, format="npz", out="elsewhere", compile=False) == place()
    assert place(**changed) != place()


@pytest.mark.parametrize("compiled", [None, True])
def test_blocks_of_the_models_that_sample_are_compiled_where_asked(world, config, monkeypatch, compiled):
    found = []
    monkeypatch.setattr(nn.Module, "compile", lambda block: found.append(block))
    sampler = Sampler.load(world.made.models, torch.device("cpu"), replace(config, compile=compiled))
    decoder = sampler.latent_decoder
    models = (sampler.generator, decoder.autoencoder, decoder.decoder)
    expected = [block for model in models for block in innermost_blocks(model)] if compiled else []
    assert found == expected
    assert bool(expected) is bool(compiled)


@pytest.mark.slow  # a minute of code generation
def test_compiled_models_make_the_same_samples_but_for_rounding(world, config):
    torch.compiler.reset()
    config = replace(config, num=5, steps=3, guidance_scale=2.0, guidance_interval="0.8,0.2")  # batches of 2, 4 and 1
    plan, found = plan_samples(config, world.made.models), []
    for compiled in (False, True):
        sampler = Sampler.load(world.made.models, torch.device("cpu"), replace(config, compile=compiled))
        found.append(list(sample(sampler, plan, config, lambda *_: None)))
    for eager, fast in zip(*found, strict=True):
        assert np.linalg.norm(fast.latents - eager.latents) <= 2e-2 * np.linalg.norm(eager.latents)
        assert np.abs(fast.images.astype(int) - eager.images).mean() < 2


def test_an_unknown_class_is_refused_before_any_folder_is_made(sampled, tmp_path):
    with pytest.raises(ValueError, match="classes: expected ids below 10"):
        sampled("a", classes="10")
    assert not list(tmp_path.iterdir())


def test_the_default_shard_has_four_batches(world, config, tmp_path):
    config = replace(config, rows_per_shard=None, num=100, batch_size=8)
    writer = sample_writer(tmp_path, "x", world.made.models, config, LOCAL)
    assert writer.manifest.rows_per_shard == 32
    assert not writer.begun
