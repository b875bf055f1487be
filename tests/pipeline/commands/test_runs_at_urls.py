"""Trainings and samples below a root at a URL, on a real S3 server."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.remote.fetching import remote_checkpoints
from pipeline.cli import main
from pipeline.config.recipe import dump
from stores.backends.locations import open_bytestore
from stores.exchange.copying import copy_store

pytestmark = pytest.mark.heavy
KINDS = ("autoencoders", "decoders", "generators")


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="fae-pipe")


def answer(*words: object, code: int = 0) -> dict[str, Any]:
    outcome = run(*words, "--json")
    assert outcome.exit_code == code, outcome.output
    return dict(json.loads(outcome.stdout))


@pytest.fixture
def work(world: Any, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The words behind a command, in a folder of its own; the URL has the tiny run's features and latents."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(dump(world.recipe))
    copy_store(world.made.features, f"{s3_url}/features")
    return ["--config", "r.yaml", "--root", s3_url]


def forget() -> None:
    """This machine's copies are gone, as on another machine."""
    shutil.rmtree("fae-runs")


def weights(run_json: bytes) -> Any:
    return json.loads(run_json)["weights_sha256"]


def test_every_model_is_made_and_found_below_the_url(work: list[object], world: Any, s3_url: str) -> None:
    made = answer("train-ae", *work)
    assert Path(made["path"]).parent.name == "autoencoders"
    blobs = open_bytestore(f"{s3_url}/autoencoders/{Path(made['path']).name}")
    assert weights(blobs.read("run.json")) == world.made.autoencoder.weights_sha256
    assert not blobs.exists("lease.json")
    assert remote_checkpoints(blobs) == [one.name for one in sorted(Path(made["path"], "checkpoints").iterdir())]
    forget()
    assert answer("train-ae", *work)["up_to_date"]
    encoded = answer("encode", *work, "--executor", "local")
    assert json.loads(open_bytestore(encoded["path"]).read("manifest.json"))["attributes"]["autoencoder"] == (
        f"autoencoders/{Path(made['path']).name}"
    )
    forget()
    decoder = answer("train-decoder", *work)
    forget()
    generator = answer("train-gen", *work)
    assert {Path(one["path"]).parent.name for one in (decoder, generator)} == {"decoders", "generators"}
    assert answer("verify", f"generators/{Path(generator['path']).name}", "--root", s3_url)["sound"]
    forget()
    few = answer("sample", *work, "--num", "4", "--steps", "1")
    forget()
    assert answer("sample", *work, "--num", "4", "--steps", "1")["up_to_date"]
    assert len(list(Path(few["path"], "images").iterdir())) == 4
    store = answer("sample", *work, "--num", "4", "--steps", "1", "--executor", "local", "--format", "npz")
    assert store["metrics"]["store"].startswith(f"{s3_url}/samples/")
    assert open_bytestore(store["metrics"]["url"]).exists("samples.json")
    forget()
    again = answer("sample", *work, "--num", "4", "--steps", "1", "--executor", "local", "--format", "npz")
    assert again["up_to_date"]
    assert answer("stores", "show", store["metrics"]["store"])["facts"]["rows"] == 4
    assert answer("status", f"generators/{Path(generator['path']).name}", "--root", s3_url)["state"] == "complete"
    listed = {row["kind"] for row in answer("stores", "ls", "--root", s3_url)["artifacts"]}
    assert listed == {*KINDS, "features", "latents", "samples"}
    judged = ("eval", store["metrics"]["store"], "--root", s3_url, "--set", "eval.reference=tiny")
    assert not answer(*judged)["up_to_date"]
    forget()
    assert answer(*judged)["up_to_date"]
    assert "evaluations" in {row["kind"] for row in answer("stores", "ls", "--root", s3_url)["artifacts"]}
    forget()
    answer("report", f"generators/{Path(generator['path']).name}", "--root", s3_url, "--no-sampling", "-o", "r.html")
    assert "KID on Lite0" in Path("r.html").read_text()
    preview = "previews/step-00000002.png"
    answer("sample", *work, "--num", "4", "--steps", "1", "--previews")
    assert open_bytestore(f"{s3_url}/generators/{Path(generator['path']).name}").exists(preview)
    assert answer("export", "--root", s3_url, "--config", "r.yaml", "--out", "exported")["path"] == "exported"


# The training waits after its first checkpoint, so that it is killed between two.
HOLD = """
import time
from jobs.loop import train_loop
save = train_loop._AfterStep._save
def held(self, **more):
    save(self, **more)
    while self.trainer.step == 3:
        time.sleep(0.01)
train_loop._AfterStep._save = held
"""


def test_killed_and_given_again_on_another_machine_it_ends_at_the_same_bits(
    work: list[object], world: Any, s3_url: str, processes: Any
) -> None:
    process = processes.fae_pipe("train-ae", *work, before=HOLD)
    name = world.made.autoencoder.path.name
    blobs = open_bytestore(f"{s3_url}/autoencoders/{name}")
    process.wait_until(lambda: remote_checkpoints(blobs) == ["step-00000003"])
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert json.loads(blobs.read("run.json"))["status"] == "training"
    forget()
    status = answer("status", f"autoencoders/{name}", "--root", s3_url)
    assert (status["state"], status["done"]) == ("stale", 3)
    outcome = run("train-ae", *work)
    assert outcome.exit_code == 0, outcome.output
    assert "goes on from the checkpoint of step 3" in outcome.output
    assert weights(blobs.read("run.json")) == world.made.autoencoder.weights_sha256
    lines = [json.loads(line) for line in blobs.read("metrics.jsonl").splitlines()]
    whole = [json.loads(line) for line in (world.made.autoencoder.path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(line["step"], line["loss"]) for line in whole]
