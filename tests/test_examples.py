"""Each script of examples/ does what its header says."""

import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fae.models.lightning_dit import LightningDiT
from pipeline.cli import main
from stores import ArraySpec, Store, StoreWriter, new_index, open_store

EXAMPLES = Path(__file__).parents[1] / "examples"
CHANNELS = 8


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """48 rows of 2x2 tokens of three classes, every fourth held out."""
    values = np.random.default_rng(0).normal(2, 3, (48, 2, 2, 2, CHANNELS)).astype(np.float16)
    splits = ["val" if row % 4 == 0 else "train" for row in range(48)]
    index = new_index([f"{row}" for row in range(48)], label=[row % 3 for row in range(48)], split=splits)
    folder, arrays = tmp_path_factory.mktemp("latents"), [ArraySpec("latents", (2, 2, CHANNELS))]
    writer = StoreWriter.create(folder, "latents", "mine", arrays, index, {}, views=2, rows_per_shard=16)
    for shard in writer.missing_shards():
        rows = writer.shard_rows(shard)
        writer.write_shard(shard, {"latents": values[rows.start : rows.stop]})
    return writer.finalize()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """(script, words...) -> what it prints, run in this process in a folder of its own."""

    def call(script: str, *words: Any) -> str:
        monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return capsys.readouterr().out

    return call


def test_every_script_has_a_test_and_is_named_in_the_docs() -> None:
    own, docs = Path(__file__).read_text(), (EXAMPLES.parent / "docs" / "extending.md").read_text()
    for file in EXAMPLES.glob("*.py"):
        assert f"{file.name}" in own, file.name
        assert f"examples/{file.name}" in docs, file.name
        assert file.name in (EXAMPLES / file.name).read_text().split('"""')[1], "the header says how to run it"


def small_model(*shape: Any, **sizes: Any) -> LightningDiT:
    return LightningDiT(*shape, **sizes | {"hidden_size": 64, "depth": 2, "num_heads": 2})


def test_a_training_that_was_stopped_ends_with_the_same_weights(
    run: Any, latents: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 150 solver steps of the script's own model take most of a minute.
    monkeypatch.setattr("fae.models.lightning_dit.LightningDiT", small_model)
    assert len((EXAMPLES / "train.py").read_text().splitlines()) <= 40
    assert "step 3: loss" in run("train.py", latents.path, 3, 16, tmp_path / "one.pt")
    for steps in (2, 3):
        out = run("train.py", latents.path, steps, 16, tmp_path / "two.pt")
    assert "step 2:" not in out
    (step, one), (_, two) = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    assert step == 4
    assert one["loader"] == two["loader"]
    for part in ("model", "average"):
        assert all(torch.equal(one[part][name], two[part][name]) for name in one[part])
    samples = torch.load(tmp_path / "two.pt.samples", weights_only=True)
    assert samples.shape == (16, 2, 2, CHANNELS)
    # The network begins with zeros: after three steps samples are still the noise, as wide as the latents.
    assert samples.std() == pytest.approx(latents.statistics("latents").std.mean(), rel=0.2)


def ddp_weights(file: Path) -> torch.Tensor:
    return torch.load(file, weights_only=True)["model"]["weight"]


def test_ddp_goes_on_where_it_was(run: Any, latents: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        number = port.getsockname()[1]
    group = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(number)}
    for name, value in group.items():
        monkeypatch.setenv(name, value)
    assert "step 5 on 1 processes: loss" in run("ddp_trainer.py", latents.path, tmp_path / "one.pt", 5)
    for steps in (2, 5, 5):
        out = run("ddp_trainer.py", latents.path, tmp_path / "two.pt", steps)
    assert out == ""
    assert torch.equal(ddp_weights(tmp_path / "one.pt"), ddp_weights(tmp_path / "two.pt"))


@pytest.mark.slow
def test_ddp_trains_the_same_on_one_process_and_two(latents: Store, tmp_path: Path) -> None:
    for file, runs in (("one.pt", ((1, 5),)), ("two.pt", ((2, 3), (1, 4), (2, 5)))):
        for processes, steps in runs:
            launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
            words = [EXAMPLES / "ddp_trainer.py", latents.path, tmp_path / file, steps]
            environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
            subprocess.run([*launch, *map(str, words)], env=environment, check=True)
    torch.testing.assert_close(ddp_weights(tmp_path / "one.pt"), ddp_weights(tmp_path / "two.pt"))


def test_a_store_is_read_in_four_ways(run: Any, latents: Store) -> None:
    lines = run("read_store.py", latents.path).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["zarr", "dask", "read", "loader"]
    mean = latents.statistics("latents").mean.mean()
    assert float(lines[2].rsplit(" ", 1)[1]) == pytest.approx(mean, rel=1e-3)


def test_features_of_an_own_encoder(digit_pngs: Any, tmp_path: Path) -> None:
    for name, digit, png in digit_pngs:
        file = tmp_path / "my-images" / str(digit) / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png)
    encoder = f"{EXAMPLES / 'own_encoder.py'}:build"
    words = ["extract", "--data", tmp_path / "my-images", "--encoder", encoder, "--image-size", 64, "--name", "mine"]
    done = CliRunner().invoke(main, [*map(str, words), "--root", str(tmp_path), "--executor", "local"])
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "features").iterdir()
    assert open_store(folder).arrays["features"].row_shape == (8, 8, 64)


@pytest.mark.heavy
def test_samples_are_judged_beside_held_out_images(run: Any, world: Any) -> None:
    out = run("evaluate_samples.py", world.made.samples.path / "images", world.made.features.path)
    assert out.startswith("FD-Lite0 ")
    assert "KID" in out


@pytest.mark.filterwarnings("ignore")  # what Lightning says of this machine
def test_lightning_trains_and_resumes(run: Any, latents: Store, tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="lightning is not installed (pip install 'fae-pipe[frameworks]')")
    run("lightning_trainer.py", latents.path)
    (checkpoint,) = (tmp_path / "checkpoints").glob("*.ckpt")
    state = torch.load(checkpoint, weights_only=False)
    assert (state["global_step"], state["Latents"]["epoch"]) == (4, 2)
    run("lightning_trainer.py", latents.path, checkpoint)


def test_accelerate_trains_and_resumes(run: Any, latents: Store, tmp_path: Path) -> None:
    accelerate = pytest.importorskip(
        "accelerate", reason="accelerate is not installed (pip install 'fae-pipe[frameworks]')"
    )
    out = run("accelerate_trainer.py", latents.path, tmp_path / "state")
    assert [line.split(":")[0] for line in out.splitlines()] == ["1 epochs", "2 epochs"]
    assert run("accelerate_trainer.py", latents.path, tmp_path / "state") == ""
    accelerate.state.AcceleratorState._reset_state(True)
    accelerate.state.GradientState._reset_state()
