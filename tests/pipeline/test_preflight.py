"""What is refused before the first stage begins."""

import socket

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.config.recipe import load_recipe, override
from pipeline.stages.preflight import check_recipe
from stores.backends.object_store import ObjectByteStore


def test_a_cluster_that_is_not_there_is_refused_where_ray_is_used(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    recipe = override(load_recipe("digits"), {"runtime.address": address, "runtime.executor": "ray"})
    with pytest.raises(ValueError, match=f"expected a Ray cluster at {address}"):
        check_recipe(tmp_path, recipe, [])
    check_recipe(tmp_path, recipe, [], dry_run=True)
    check_recipe(tmp_path, override(recipe, {"runtime.executor": "local"}), [])


def test_what_is_no_address_is_refused_as_the_recipe_is_read():
    with pytest.raises(
        ValueError, match=r"runtime.address: expected HOST:PORT of a Ray cluster, .*received 'nonsense'"
    ):
        override(load_recipe("digits"), {"runtime.address": "nonsense"})
    for address in ("auto", "local", "ray://head:10001", "head:6379", "[::1]:6379"):
        assert override(load_recipe("digits"), {"runtime.address": address}).runtime.address == address


def test_the_cluster_that_the_environment_names_is_checked_too(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(ValueError, match=r"runtime.address: expected HOST:PORT"):
        check_recipe(tmp_path, override(load_recipe("digits"), {"runtime.executor": "ray"}), [])


def test_a_place_for_samples_that_cannot_be_written_is_refused_before_they_are_made(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "below"):
        with pytest.raises(ValueError, match=rf"sample.out {out}: expected a folder that can be written; .*--out DIR"):
            check_recipe(tmp_path, override(load_recipe("digits"), {"sample.out": str(out)}), ["sample"])


@pytest.mark.parametrize("right", ["write", "delete"])
def test_a_key_without_a_right_is_told_from_a_wrong_key(s3_url, tmp_path, monkeypatch, right):
    def refuse(self, key, *data):
        raise PermissionError(f"{self.url}/{key}: access denied; set the provider's usual variables")

    monkeypatch.setattr(ObjectByteStore, right, refuse)
    with pytest.raises(PermissionError, match=rf"may read them, but not {right} .*; give it that right, or choose"):
        check_recipe(tmp_path, load_recipe("digits"), ["extract"], stores=s3_url)
    monkeypatch.setattr(ObjectByteStore, "size", refuse)
    with pytest.raises(PermissionError, match=r"access denied; set the provider's usual variables"):
        check_recipe(tmp_path, load_recipe("digits"), ["extract"], stores=s3_url)


@pytest.mark.parametrize("option", ["-o", "--lineage-image"])
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_looked_up(tmp_path, option):
    file = tmp_path / "file"
    file.touch()
    args = ["report", "nowhere", "--root", str(tmp_path), option, str(file / "page.html")]
    shown = CliRunner().invoke(main, args)
    assert shown.exit_code
    assert f"{option} {file}: expected a folder that can be written" in " ".join(shown.output.split())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"generator.size_conditioning": "true", "generator.model": "starflow"}, "received starflow"),
        ({"generator.optimizer": "muon", "runtime.parallel": "fsdp"}, "optimizer: expected adamw"),
        ({"decoder.discriminator": "patchgan", "decoder.accumulate": "2"}, "decoder.accumulate: expected 1"),
        ({"generator.model": "mmdit"}, "generator.condition: expected text with generator.model mmdit; received auto"),
        (
            {"generator.model": "dit", "generator.condition": "text"},
            "expected class with generator.model dit; received",
        ),
        ({"generator.alignment": "repa", "generator.condition": "text"}, "generator.alignment repa: expected a"),
        ({"generator.size_conditioning": "true"}, "generator.size_conditioning: expected extract.buckets beside it"),
        (
            {"generator.batch_tokens": "512", "generator.batch_size": "4"},
            "train-gen: batch_tokens: expected no batch_s",
        ),
        ({"sample.crop": "0x8"}, "sample.crop: expected generator.size_conditioning beside it; received none"),
        ({"sample.original_size": "64"}, "sample.original_size: expected generator.size_conditioning beside it"),
    ],
)
def test_settings_that_exclude_each_other_are_refused_before_the_first_stage(tmp_path, values, message):
    recipe = override(load_recipe("digits"), values)
    with pytest.raises(ValueError, match=message):
        check_recipe(tmp_path, recipe, recipe.stages, dry_run=True)
    check_recipe(tmp_path, recipe, ["extract"], dry_run=True)


def test_an_options_averages_are_checked_as_a_recipes_are(tmp_path):
    shown = CliRunner().invoke(main, ["train-gen", "--root", str(tmp_path), "--ema-bank", "0.05,0.1", "--dry-run"])
    assert shown.exit_code
    assert "generator.ema_bank: expected decays such as 0.999" in " ".join(shown.output.split())
