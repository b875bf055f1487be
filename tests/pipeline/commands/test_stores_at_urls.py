"""Every stores command on a real S3 server."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from jobs.runs.references import resolve_reference
from jobs.runs.run_record import RunRecord
from pipeline.cli import main
from pipeline.config.recipe import dump
from stores import ArraySpec, Loader, Store, StoreWriter, fingerprint, new_index, open_store
from stores.backends.locations import open_bytestore
from stores.exchange.copying import copy_store


def run(*words: object) -> Result:
    group = [] if words[0] == "verify" else ["stores"]
    return CliRunner().invoke(main, [*group, *map(str, words)], prog_name="fae-pipe")


def answer(*words: object, code: int = 0) -> Any:
    outcome = run(*words, "--json")
    assert outcome.exit_code == code, outcome.output
    return json.loads(outcome.stdout)


def plan(root: str | Path, layer: int = 8) -> StoreWriter:
    index = new_index([f"p{row}" for row in range(4)], label=[0, 1, 1, 2], split=["train", "train", "val", "val"])
    location = root / "latents" if isinstance(root, Path) else f"{root}/latents"
    arrays = [ArraySpec("latents", (2, 2, 4))]
    ingredients = {"encoder": {"layer": layer}}
    return StoreWriter.create(location, "latents", "small", arrays, index, ingredients, views=2, rows_per_shard=2)


def fill(writer: StoreWriter) -> Store:
    for shard in writer.missing_shards():
        values = np.random.default_rng(shard).normal(size=(2, 2, 2, 2, 4)).astype(np.float16)
        writer.write_shard(shard, {"latents": values})
    return writer.finalize()


@pytest.fixture
def remote(s3_url: str) -> Store:
    return fill(plan(s3_url))


def test_ls_and_show(remote: Store, s3_url: str) -> None:
    unfinished = plan(s3_url, layer=9)
    listed = {row["path"]: row for row in answer("ls", "--root", s3_url)["artifacts"]}
    assert listed[remote.blobs.url]["status"] == "complete"
    assert listed[unfinished.blobs.url]["status"] == "0/2 shards"
    total = sum(remote.blobs.size(key) for key in list(remote.blobs.keys()))
    assert listed[remote.blobs.url]["num_bytes"] == total
    assert remote.manifest.fingerprint[:12] in run("ls", "--root", s3_url).stdout
    assert answer("show", remote.blobs.url)["facts"]["rows"] == 4


def test_verify_finds_and_mends(remote: Store) -> None:
    location = remote.blobs.url
    assert run("verify", location).exit_code == 0
    index = bytearray(remote.blobs.read("index.parquet"))
    index[9] ^= 1
    remote.blobs.write("index.parquet", bytes(index))
    assert "index.parquet" in run("verify", location).stdout
    assert run("verify", location, "--repair").exit_code == 0
    assert run("verify", location).exit_code == 0


def test_diff_stats_export_and_pack(remote: Store, s3_url: str, tmp_path: Path) -> None:
    location, local = remote.blobs.url, fill(plan(tmp_path))
    assert answer("diff", location, local.path)["equal"] is True
    assert answer("stats", location)["stats"][0]["plot"] == f"{location}/stats/latents.png"
    assert (
        len(
            answer("export", location, "--format", "lightningdit", "--split", "all", "--out", tmp_path / "out")["files"]
        )
        > 0
    )
    assert run("pack", location, "--out", tmp_path / "archive").exit_code == 0
    back = answer("unpack", tmp_path / "archive", "--root", f"{s3_url}/other")
    assert back["path"].startswith(f"{s3_url}/other/latents/small-")
    assert open_store(back["path"]).content_id == remote.content_id
    imported = answer("import", tmp_path / "out", "--name", "again", "--root", f"{s3_url}/other")
    assert imported["path"].startswith(f"{s3_url}/other/latents/again-")
    rows = slice(None)
    assert np.array_equal(
        np.sort(open_store(imported["path"]).read("latents", np.arange(4), view=0)[rows], axis=None),
        np.sort(remote.read("latents", np.arange(4), view=0), axis=None),
    )


def test_gc_removes_the_older_store_of_a_name_and_keeps_what_models_name(
    remote: Store, s3_url: str, tmp_path: Path
) -> None:
    newer = fill(plan(s3_url, layer=9))
    refused = run("gc", "--root", s3_url)
    assert refused.exit_code == 2
    assert "--models" in refused.stderr
    named = tmp_path / "named"
    run_json = named / "generators" / "g-0123456789ab" / "run.json"
    run_json.parent.mkdir(parents=True)
    ingredients = {"latents_content_id": remote.content_id}
    record = RunRecord("generators", "g", fingerprint(ingredients), "complete", 0.0, ingredients, {}, {})
    run_json.write_bytes(record.to_bytes())
    assert answer("gc", "--root", s3_url, "--models", named)["garbage"] == []
    (tmp_path / "none").mkdir()
    found = answer("gc", "--root", s3_url, "--models", tmp_path / "none", "--delete")["garbage"]
    assert [item["path"] for item in found] == [remote.blobs.url]
    assert list(open_bytestore(remote.blobs.url).keys()) == []
    assert [row["path"] for row in answer("ls", "--root", s3_url)["artifacts"]] == [newer.blobs.url]


def test_the_loader_reads_by_url(remote: Store) -> None:
    loader = Loader(open_store(remote.blobs.url), split="all", batch_size=2, residency="stream", view=0)
    rows = np.concatenate([batch["row"].numpy() for batch in loader.epoch(0)])
    assert sorted(rows.tolist()) == [0, 1, 2, 3]


def test_a_bucket_that_is_missing_is_named_before_anything_is_done(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    missing = s3_url.replace("bucket-", "no-bucket-")
    for words in (["train-ae"], ["stores", "ls"], ["status"], ["eval", "mine"], ["export", "--out", tmp_path / "out"]):
        outcome = CliRunner().invoke(main, [*map(str, words), "--root", missing], prog_name="fae-pipe")
        assert outcome.exit_code == 2, outcome.output
        assert "expected a bucket of this name; received none" in outcome.stderr


@pytest.mark.heavy
def test_stages_keep_their_stores_and_models_at_a_url(
    world: Any, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(dump(world.recipe))
    local = copy_store(world.made.features, f"{s3_url}/features")
    cache = ["--cache-dir", "cache"]

    def stage(*words: object) -> dict[str, Any]:
        words = (*words, "--config", "r.yaml", "--root", s3_url, "--json")
        outcome = CliRunner().invoke(main, list(map(str, words)), prog_name="fae-pipe")
        assert outcome.exit_code == 0, outcome.output
        return dict(json.loads(outcome.stdout))

    encoded = stage("encode", "--executor", "local", "--autoencoder", world.made.autoencoder.path)
    assert encoded["path"].startswith(f"{s3_url}/latents/tiny-")
    latents = open_store(encoded["path"])
    assert latents.content_id == world.made.latents.content_id
    assert resolve_reference(latents.url, latents.attributes["features"]) == local.url
    assert stage("encode", "--executor", "local", "--autoencoder", world.made.autoencoder.path)["up_to_date"]
    trained = stage("train-gen", "--steps", "2", *cache)
    assert open_bytestore(f"{s3_url}/generators/{Path(trained['path']).name}").exists("run.json")
    assert len(list(Path("cache/fae-shards").glob("*-latents-*"))) == latents.manifest.num_shards
    decoder = world.made.decoder.path
    sampled = stage("sample", "--executor", "local", "--decoder", decoder, "--num", "2", "--steps", "1")
    assert len(list(Path(sampled["path"]).glob("images/*.png"))) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["stores", "export", "mine", "--format", "npz", "--out", "s3://bucket/out"],
        ["stores", "pack", "mine", "--out", "s3://bucket/out"],
        ["export", "--out", "s3://bucket/out"],
        ["train-gen", "--cache-dir", "s3://bucket/out"],
    ],
)
def test_a_url_does_not_become_a_folder_of_its_name(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = CliRunner().invoke(main, words, prog_name="fae-pipe")
    assert outcome.exit_code == 2
    assert "expected a path of this machine; received the URL s3://bucket/out" in " ".join(outcome.stderr.split())
    assert not (tmp_path / "s3:").exists()
