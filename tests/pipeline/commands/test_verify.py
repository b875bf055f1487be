"""`fae-pipe verify` on stores, runs and archives of every kind: sound as made, and every flipped bit is found."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from jobs.runs.verification import verify_run
from pipeline.cli import main
from store_kinds import STORES, write_added, write_archives, write_set, write_store, write_stores
from stores.care.archive_files import archive_bytes
from stores.care.archive_verification import verify_archive
from stores.care.packing import pack
from stores.care.verification import verify

RUNS, WORLD_STORES = ("autoencoders", "decoders", "generators"), ("features", "latents")


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, words)], prog_name="fae-pipe")


@pytest.mark.parametrize("kind", [*RUNS, *WORLD_STORES])
def test_what_was_made_is_sound_by_path_and_by_name(world: Any, kind: str) -> None:
    folder = next((world.root / kind).iterdir())
    outcome = run(folder.name, "--root", world.root)
    assert outcome.exit_code == 0, outcome.output
    assert f"{folder}: sound (complete" in outcome.stdout
    record = json.loads(run(folder, "--json").stdout)
    assert record["sound"]
    assert not record["problems"]


def test_of_a_name_that_several_kinds_have_all_are_read(world_copy: Any) -> None:
    root = world_copy("features", "autoencoders")
    outcome = run("tiny", "--root", root)
    assert outcome.exit_code == 0, outcome.output
    assert [line.split(": ")[1].split()[0] for line in outcome.stdout.splitlines()] == ["sound", "sound"]
    (folder,) = (root / "autoencoders").iterdir()
    (folder / "model/config.json").write_text("{}")
    outcome = run("tiny", "--root", root, "--json")
    assert outcome.exit_code == 1
    record = json.loads(outcome.stdout)
    assert (record["sound"], [one["sound"] for one in record["artifacts"]]) == (False, [True, False])
    assert "say which by KIND/NAME" in run("tiny", "--root", root, "--repair").stderr


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


def test_an_archive_is_sound_as_packed_and_its_damage_is_named(tmp_path: Path) -> None:
    store = write_store(tmp_path, "latents", *STORES["latents"])
    archive = pack(store, tmp_path / "archive").path
    (archive / "note.txt").write_text("mine")
    outcome = run(archive)
    assert outcome.exit_code == 0, outcome.output
    assert "note.txt: expected no such file; it was not packed (harmless)" in outcome.stdout
    assert json.loads(run(archive, "--json").stdout)["content_id"] == store.content_id
    (archive / "index.parquet").unlink()
    outcome = run(archive)
    assert outcome.exit_code == 1
    assert "index.parquet: expected the file as it was packed; it is missing" in outcome.stdout
    assert "1 damaged files (an archive); pack the store again" in outcome.stdout
    assert "received an archive" in run(archive, "--repair").stderr


def test_an_archive_that_names_files_elsewhere_is_damaged(tmp_path: Path) -> None:
    archive = pack(write_store(tmp_path, "latents", *STORES["latents"]), tmp_path / "archive").path
    record = json.loads((archive / "archive.json").read_bytes())
    (archive / "archive.json").write_bytes(archive_bytes({**record, "files": {"../../etc/passwd": "0" * 64}}))
    report = verify_archive(archive)
    assert "../../etc/passwd" in report.problems


def is_sound(folder: Path) -> bool:
    """What `fae-pipe verify` says of a run, an archive, a bucket set or a store."""
    if (folder / "run.json").exists():
        return verify_run(folder).sound
    if (folder / "archive.json").exists():
        return verify_archive(folder).sound
    return run(folder).exit_code == 0 if (folder / "buckets.json").exists() else verify(folder).sound


@pytest.fixture
def everything(world: Any, tmp_path: Path) -> dict[str, Path]:
    """A folder of each kind: stores and runs of a recipe, stores of every format, archives, a bucket set."""
    found = {}
    for kind in (*RUNS, *WORLD_STORES):
        source = next((world.root / kind).iterdir())
        ignored = shutil.ignore_patterns("tensorboard", "previews")
        found[f"recipe's {kind}"] = Path(shutil.copytree(source, tmp_path / source.name, ignore=ignored))
    stores = write_stores(tmp_path / "kinds")
    found |= {name: store.path for name, store in stores.items()}
    found |= {f"archive of {name}": folder for name, folder in write_archives(tmp_path / "packed", stores).items()}
    bucket_set = write_set(tmp_path / "root")
    found |= {"bucket set": bucket_set.blobs.local_path()}
    found |= {f"bucket {size}": store.path for size, store in bucket_set.stores.items()}
    return found | {"added array": write_added(tmp_path / "added").path}


@pytest.mark.heavy
@pytest.mark.parametrize("flips", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_stores_runs_and_archives_is_found(everything: dict[str, Path], flips: int) -> None:
    random, found, missed = np.random.default_rng(0), Counter[str](), []
    assert all(is_sound(folder) for folder in everything.values())
    for number in range(flips):
        kind = [*everything][number % len(everything)]
        files = [file for file in sorted(everything[kind].rglob("*")) if file.is_file() and file.stat().st_size]
        file = files[int(random.integers(len(files)))]
        whole = bytearray(file.read_bytes())
        place, bit = int(random.integers(len(whole))), int(random.integers(8))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        if is_sound(everything[kind]):
            missed.append(f"{file}: bit {bit} of byte {place}")
        found[kind] += 1
        file.write_bytes(whole)
    print("\n".join(f"{kind:28} {count:4} flipped bits" for kind, count in found.items()))
    print(f"{flips} flipped bits, {flips - len(missed)} found")
    assert not missed
