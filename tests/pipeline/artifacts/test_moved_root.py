"""A root that was moved or copied: every command finds there what it needs, from any folder, by new and old records."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.artifacts.lineage import find_models, latents_of
from pipeline.cli import main
from stores.format.manifest import Manifest

QUICK_REPORT = ["--images", "1", "--scales", "1", "--grid-steps", "1"]
RUNS, STORES = ("autoencoders", "decoders", "generators"), ("features", "latents")


def records(root: Path) -> Iterator[Path]:
    for kind in (*RUNS, *STORES, "samples"):
        for name in ("run.json", "manifest.json", "samples.json"):
            yield from (root / kind).glob(f"*/{name}")


def as_at_first(value: Any) -> Any:
    """The same record with absolute paths of a root that is gone."""
    if isinstance(value, dict):
        return {key: as_at_first(item) for key, item in value.items()}
    is_reference = isinstance(value, str) and value.partition("/")[0] in (*RUNS, *STORES) and "/" in value
    return f"/gone/runs/{value}" if is_reference else value


def write_old_record(file: Path) -> None:
    record = as_at_first(json.loads(file.read_text()))
    if file.name == "run.json":
        del record["record_sha256"]
        record["schema_version"] = 2
    file.write_text(json.dumps(record))


def write_old_manifest(file: Path) -> None:
    manifest = Manifest.from_bytes(file.read_bytes(), str(file.parent))
    old = replace(manifest, attributes=as_at_first(manifest.attributes)).to_bytes()
    file.write_bytes(old)
    (file.parent / "backup" / file.name).write_bytes(old)


@pytest.fixture(params=["new", "old"])
def moved(world: Any, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the root; `old`: its records name absolute paths of a root that is gone, as they did at first."""
    root = tmp_path / "elsewhere" / "runs"
    shutil.copytree(world.root, root, ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
    for file in records(root) if request.param == "old" else ():
        (write_old_manifest if file.name == "manifest.json" else write_old_record)(file)
    monkeypatch.chdir("/")
    return root


def test_no_record_names_the_place_of_the_root(world: Any) -> None:
    found = list(records(world.root))
    assert len(found) > 5
    for file in found:
        content = json.loads(file.read_text())
        attributes = {name: value for name, value in content.get("attributes", {}).items() if name != "data"}
        references = json.dumps([content.get("inputs"), attributes, content.get("store")])
        assert str(world.root) not in references, file


def test_models_and_stores_are_those_of_the_new_root(moved: Path) -> None:
    models = find_models(moved, "tiny")
    runs = [models.generator, models.autoencoder, models.decoder]
    assert all(run is not None and run.path.is_relative_to(moved) for run in runs)
    assert latents_of(models.generator).path.is_relative_to(moved)


COMMANDS = [
    ["sample", "--generator", "tiny", "--num", "1", "--steps", "1", "--threads", "1"],
    ["eval", "{root}/decoders/{decoders}", "--count", "8", "--lpips", "none", "--threads", "1"],
    ["probe", "tiny", "--pairs", "2", "--shown", "1", "--threads", "1"],
    ["report", "tiny", "--out", "{root}/report.html", *QUICK_REPORT, "--threads", "1"],
    ["export", "--name", "tiny", "--out", "{root}/exported"],
    ["encode", "--name", "tiny", "--dry-run"],
    ["train-gen", "--name", "tiny", "--dry-run"],
    ["status", "{generators}"],
    ["stores", "ls"],
    ["stores", "gc"],
    ["verify", "{latents}"],
    ["verify", "{generators}"],
]
# Of new records these ask for all that the others ask for: models, stores, and what each was made of.
BY_NEW_RECORDS = [words for words in COMMANDS if words[0] in ("sample", "status", "verify")]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("moved", "words"),
    [*(("old", words) for words in COMMANDS), *(("new", words) for words in BY_NEW_RECORDS)],
    ids=lambda value: value if isinstance(value, str) else value[0],
    indirect=["moved"],
)
def test_every_command_works_on_it(moved: Path, words: list[str]) -> None:
    folders = {kind: next((moved / kind).iterdir()).name for kind in (*RUNS, *STORES)}
    typed = [word.format(root=moved, **folders) for word in words]
    outcome = CliRunner().invoke(main, [*typed, "--root", str(moved), "--json"], prog_name="fae-pipe")
    assert outcome.exit_code == 0, outcome.output
    assert "/gone/" not in outcome.stdout
