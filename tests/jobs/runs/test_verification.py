"""Every byte of a run has a digest: a flipped bit anywhere is found, and a sound run is said to be sound."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.runs.checkpoint import Rotation, load_newest, save_checkpoint, save_shard
from jobs.runs.run_folder import RunFolder
from jobs.runs.run_record import RunError, _digest
from jobs.runs.verification import verify_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run with two checkpoints, one of them of two ranks."""
    ingredients = {"learning_rate": 1e-5, "data": "ü"}
    made = RunFolder.create(tmp_path, "generators", "tiny", ingredients, {"steps": 2}, {"latents": tmp_path / "x"})
    parts = {"model": {"weight": torch.arange(6.0)}, "ema": {"weight": torch.ones(6)}}
    state = {"loader": {"seed": 1}, "loss": 0.25, "rate": 1e-05}
    save_checkpoint(made.path / "checkpoints", 1, parts, state, Rotation())
    for rank in (1, 0):
        save_shard(made.path / "checkpoints", 2, parts, state, Rotation(), rank, 2)
    (made.path / "metrics.jsonl").write_text('{"step": 2, "loss": 0.5}\n')
    made.model_path.mkdir()
    made.weights_path.write_bytes(b"weights")
    (made.model_path / "config.json").write_text("{}")
    made.finish({"loss": 0.5})
    return made


def files(run: RunFolder) -> list[Path]:
    return sorted(file for file in run.path.rglob("*") if file.is_file() and file.stat().st_size)


def flip(file: Path, random: np.random.Generator) -> str:
    data = bytearray(file.read_bytes())
    place, bit = int(random.integers(len(data))), int(random.integers(8))
    data[place] ^= 1 << bit
    file.write_bytes(data)
    return f"{file}: bit {bit} of byte {place}"


def test_a_sound_run_is_said_to_be(run: RunFolder) -> None:
    report = verify_run(run.path)
    assert (report.problems, report.without_digest, report.complete) == ({}, [], True)
    expected = {file for file in files(run) if file.suffix != ".sha256"}
    assert report.files == len(expected)
    assert report.num_bytes == sum(file.stat().st_size for file in expected)


def test_a_record_without_the_fields_of_later_releases_is_sound(run: RunFolder) -> None:
    file = run.path / "run.json"
    record = json.loads(file.read_bytes())
    del record["arithmetic"], record["record_sha256"]
    file.write_text(json.dumps({**record, "record_sha256": _digest(record)}, indent=1))
    assert verify_run(run.path).sound
    file.write_text(json.dumps({**record, "record_sha256": _digest(record)}))
    assert "the same values" in verify_run(run.path).problems["run.json"]


@pytest.mark.parametrize("flips", [100, pytest.param(4000, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_found(run: RunFolder, flips: int) -> None:
    random = np.random.default_rng(0)
    missed = []
    for number in range(flips):
        file = files(run)[number % len(files(run))]
        whole = file.read_bytes()
        what = flip(file, random)
        if verify_run(run.path).sound:
            missed.append(what)
        file.write_bytes(whole)
    assert not missed
    assert verify_run(run.path).sound


def test_a_file_that_is_gone_is_damage(run: RunFolder) -> None:
    run.weights_path.unlink()
    (run.path / "metrics.jsonl").unlink()
    assert set(verify_run(run.path).problems) == {"model/diffusion_pytorch_model.safetensors", "metrics.jsonl"}
    with pytest.raises(RunError):
        verify_run(run.path / "model")


def test_older_records_have_no_digests_which_is_said_and_no_damage(run: RunFolder) -> None:
    record = json.loads((run.path / "run.json").read_text())
    for name in ("record_sha256", "files_sha256", "metrics_sha256"):
        del record[name]
    (run.path / "run.json").write_text(json.dumps({**record, "schema_version": 2}))
    report = verify_run(run.path)
    assert report.sound
    assert set(report.without_digest) == {"run.json", "model/config.json", "metrics.jsonl"}


@pytest.mark.parametrize("damage", [b"{", b'{"step": 2}', b"[1]"])
def test_a_checkpoint_with_a_damaged_state_gives_way_to_an_older_one(run: RunFolder, damage: bytes) -> None:
    state = run.path / "checkpoints/step-00000002/state.json"
    state.write_bytes(damage if damage != b'{"step": 2}' else state.read_bytes().replace(b"0.25", b"0.75"))
    with pytest.warns(UserWarning, match=r"state\.json.*going on from an older checkpoint"):
        found = load_newest(run.path / "checkpoints", torch.device("cpu"))
    assert found is not None
    assert found[1]["step"] == 1
