"""`fae-pipe verify` on the stores and the runs of a whole recipe: sound as made, and every flipped bit is found."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from jobs.runs.verification import verify_run
from pipeline.cli import main
from stores.care.verification import verify

RUNS, STORES = ("autoencoders", "decoders", "generators"), ("features", "latents")


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, words)], prog_name="fae-pipe")


@pytest.mark.parametrize("kind", [*RUNS, *STORES])
def test_what_was_made_is_sound_by_path_and_by_name(world: Any, kind: str) -> None:
    folder = next((world.root / kind).iterdir())
    outcome = run(folder.name, "--root", world.root)
    assert outcome.exit_code == 0, outcome.output
    assert f"{folder}: sound (complete" in outcome.stdout
    record = json.loads(run(folder, "--json").stdout)
    assert record["sound"]
    assert not record["problems"]


def test_a_damaged_model_is_named_and_ends_with_code_1(world_copy: Any) -> None:
    (folder,) = (world_copy("autoencoders") / "autoencoders").iterdir()
    (folder / "model/config.json").write_text("{}")
    outcome = run(folder)
    assert outcome.exit_code == 1
    assert "model/config.json: expected sha256" in outcome.stdout
    assert "1 damaged files (complete" in outcome.stdout
    assert run(folder, "--repair").exit_code == 2


def test_nothing_there_is_a_mistake(tmp_path: Path) -> None:
    outcome = run("nothing", "--root", tmp_path)
    assert outcome.exit_code == 2
    assert "expected the name, the path or the beginning of the folder's name" in outcome.stderr


@pytest.mark.heavy
@pytest.mark.parametrize("flips", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_stores_and_runs_is_found(world: Any, tmp_path: Path, flips: int) -> None:
    random, missed = np.random.default_rng(0), []
    for kind in (*RUNS, *STORES):
        source = next((world.root / kind).iterdir())
        shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("tensorboard", "previews"))
    folders = sorted(tmp_path.iterdir())
    for number in range(flips):
        folder = folders[number % len(folders)]
        files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.stat().st_size]
        file = files[int(random.integers(len(files)))]
        whole = bytearray(file.read_bytes())
        place, bit = int(random.integers(len(whole))), int(random.integers(8))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        sound = verify_run(folder).sound if (folder / "run.json").exists() else verify(folder).sound
        missed += [f"{file}: bit {bit} of byte {place}"] if sound else []
        file.write_bytes(whole)
    print(f"{flips} flipped bits, {flips - len(missed)} found")
    assert not missed
