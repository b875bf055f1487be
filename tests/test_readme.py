"""What the README shows works: its scripts on a real store, its commands on the real command line."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import main
from stores import ArraySpec, StoreWriter, new_index

README = (Path(__file__).parent.parent / "README.md").read_text()
SCRIPTS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
LINES = re.findall(r"^fae-pipe .*$", README, re.MULTILINE)


@pytest.fixture
def root(tmp_path):
    """A folder with a small feature store and a small latent store where the README expects them."""
    for kind, channels in (("features", 8), ("latents", 4)):
        writer = StoreWriter.create(
            tmp_path / "fae-runs" / kind,
            kind=kind,
            name="mine",
            arrays=[ArraySpec(kind, (2, 2, channels))],
            index=new_index([f"{row}" for row in range(300)]),
            ingredients={},
        )
        for shard in range(writer.num_shards):
            writer.write_shard(shard, {kind: np.ones((len(writer.shard_rows(shard)), 1, 2, 2, channels), np.float16)})
        writer.finalize()
    return tmp_path


def test_zarr_alone_reads_both_stores(root):
    script = next(text for text in SCRIPTS if "zarr" in text)
    assert len([line for line in script.splitlines() if line]) == 5
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["features (2, 2, 8)", "latents (2, 2, 4)"]


def test_the_loader_script_runs(root, processes, monkeypatch):
    script = next(text for text in SCRIPTS if "Loader" in text)
    (store,) = (root / "fae-runs" / "latents").iterdir()
    script = script.replace("mine-0123456789ab", store.name).replace('device="cuda"', 'device="cpu"') + "    break\n"
    monkeypatch.chdir(root)
    process = processes.start(script + "print(latents.shape)")
    process.wait()
    assert process.stdout.strip() == "torch.Size([256, 2, 2, 4])", process.stderr


@pytest.mark.parametrize("line", LINES)
def test_commands_of_the_readme_have_these_options(line):
    words = shlex.split(line)[1:]
    command = main.commands[words[0]]
    known = {flag for option in command.params for flag in [*option.opts, *option.secondary_opts]}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_command_is_in_the_table():
    for name in main.commands:
        assert f"`fae-pipe {name}" in README, name
