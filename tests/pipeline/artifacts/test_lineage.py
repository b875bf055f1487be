"""Artifacts found by name or path, and the chain from a generator back to what made its latents."""

import json
import shutil

import pytest

from jobs.runs.run_folder import RunError
from pipeline.artifacts.lineage import autoencoder_of, decoder_for, find_models, find_run, find_store, latents_of
from pipeline.artifacts.resolver import ArtifactError
from stores import StoreError


def test_stores_by_name_and_by_path(world):
    by_name = find_store(world.root, "features", "tiny")
    assert by_name.path == world.made.features.path
    assert find_store(world.root, "latents", str(world.made.latents.path)).content_id == world.made.latents.content_id


def test_a_store_of_another_kind_is_refused(world):
    with pytest.raises(StoreError, match="expected a store of features; received one of latents"):
        find_store(world.root, "features", str(world.made.latents.path))


@pytest.mark.parametrize(("kind", "command"), [("features", "extract"), ("latents", "encode")])
def test_a_store_that_is_not_there_names_its_command(tmp_path, kind, command):
    with pytest.raises(ArtifactError, match=rf"store named 'x'; received none; run `fae-pipe {command}` first"):
        find_store(tmp_path, kind, "x")


def test_a_run_of_another_kind_is_refused(world):
    with pytest.raises(RunError, match="expected a run of generators; received one of autoencoders"):
        find_run(world.root, "generators", str(world.made.autoencoder.path))


def test_a_generator_knows_its_models(world):
    models = find_models(world.root, "tiny")
    assert models.generator.path == world.made.models.generator.path
    assert models.autoencoder.path == world.made.autoencoder.path
    assert models.decoder.path == world.made.decoder.path


def test_the_tuned_decoder_comes_before_the_noised_one(world, world_copy):
    root = world_copy("decoders")
    made = world.made
    assert decoder_for(root, made.autoencoder, made.features.content_id).path.name == made.decoder.path.name
    shutil.rmtree(root / "decoders" / made.decoder.path.name)
    assert decoder_for(root, made.autoencoder, made.features.content_id).path.name.startswith("tiny-noised-")
    shutil.rmtree(root / "decoders")
    with pytest.raises(RunError, match="run `fae-pipe train-decoder` first"):
        decoder_for(root, made.autoencoder, made.features.content_id)


def edit(file, **changes):
    record = json.loads(file.read_text())
    record.pop("record_sha256", None)
    for key, value in changes.items():
        record[key] = value | record[key] if False else {**record[key], **value} if isinstance(value, dict) else value
    file.write_text(json.dumps(record))


def test_an_autoencoder_or_latents_that_changed_are_refused(world_copy):
    root = world_copy("generators", "autoencoders", "latents")
    generator = find_run(root, "generators", "tiny")
    latents = latents_of(generator)
    assert latents.path.parent == root / "latents"
    autoencoder = autoencoder_of(latents)
    assert autoencoder.path.parent == root / "autoencoders"
    edit(generator.path / "run.json", ingredients={"latents_content_id": "0" * 64})
    with pytest.raises(StoreError, match="they have changed since"):
        latents_of(find_run(root, "generators", "tiny"))
    edit(autoencoder.path / "run.json", weights_sha256="0" * 64)
    with pytest.raises(RunError, match="its weights have changed since"):
        autoencoder_of(latents)
