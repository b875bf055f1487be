"""The Slurm script with a real Ray on loopback, and the rehearsal of a cluster on one machine."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
PATIENCE = 600.0  # seconds; a busy machine is no failure
COUNT_NODES = """
import sys, time
import ray

ray.init(address=sys.argv[sys.argv.index("--address") + 1], logging_level="ERROR", log_to_driver=False)
deadline = time.monotonic() + 120
while len([node for node in ray.nodes() if node["Alive"]]) < 2 and time.monotonic() < deadline:
    time.sleep(0.5)
print("nodes", len([node for node in ray.nodes() if node["Alive"]]), "cpus", ray.cluster_resources()["CPU"])
"""


@pytest.mark.slow
def test_on_loopback_a_real_ray_of_two_nodes_comes_up_and_goes(slurm, tmp_path, monkeypatch, request):
    program = tmp_path / "count.py"
    program.write_text(COUNT_NODES)
    folder = tmp_path / "real"
    folder.mkdir()
    (folder / "fae-pipe").write_text(f'#!/usr/bin/env bash\nexec {sys.executable} {program} "$@"\n')
    (folder / "ray").write_text(
        f'#!/usr/bin/env bash\nexec {sys.executable} -c "from ray.scripts.scripts import main; main()" "$@"\n'
    )
    for file in folder.iterdir():
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    # In a folder of its own, so that no other Ray of this machine takes it for its cluster; short, for the sockets.
    place = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    request.addfinalizer(lambda: shutil.rmtree(place, ignore_errors=True))
    monkeypatch.setenv("RAY_TMPDIR", place)
    process, _ = slurm(
        "digits",
        nodes="a,b",
        fakes=("scontrol", "srun", "hostname"),
        SLURM_GPUS_ON_NODE="0",
        SLURM_CPUS_PER_TASK="1",
        FAE_RAY_PORT="26379",
    )
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert "nodes 2 cpus 2.0" in output


@pytest.mark.slow
def test_a_rehearsal_extracts_on_a_ray_of_two_nodes(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    words = ["digits", "--root", str(tmp_path / "runs"), "--until", "extract", "--json"]
    done = subprocess.run(
        ["bash", str(DEPLOY / "rehearse.sh"), *words], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs" / "features").iterdir())) == 1
    assert done.stdout.count("Local node IP") == 2


def test_a_rehearsal_without_a_recipe_says_how_it_is_used():
    done = subprocess.run(["bash", str(DEPLOY / "rehearse.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected a recipe" in done.stderr
