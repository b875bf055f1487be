"""The Slurm script: what it starts where, with which options, and what becomes of the job when that ends."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from pipeline.cli import main

SCRIPT = Path(__file__).parents[2] / "deploy" / "slurm.sh"
PATIENCE = 600.0  # seconds; a busy machine is no failure


def options_of_run() -> set[str]:
    return {flag for option in main.commands["run"].params for flag in option.opts}


def test_the_script_is_bash_and_its_options_are_those_of_run():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    text = SCRIPT.read_text()
    command = text[text.index("workers=(--gpus") : text.index("run=$!")].replace("${workers[@]}", "")
    assert set(re.findall(r"--[a-z-]+", command)) <= options_of_run()
    assert os.access(SCRIPT, os.X_OK)


STEP = "srun --overlap --ntasks-per-node=1 --cpus-per-task=16"


def test_head_workers_and_run_agree_on_address_nodes_and_gpus(slurm, tmp_path):
    process, log = slurm("digits", "--root", "/runs")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    lines = log.read_text().splitlines()
    port = 20000 + 123456 % 20000
    (head,) = (line for line in lines if "--head" in line)
    assert head.startswith(f"{STEP} --nodes=1 --ntasks=1 --nodelist=a : ray start --head --block")
    assert f"--node-ip-address=127.0.0.1 --port={port}" in head
    assert "--num-cpus=16 --num-gpus=2" in head
    (others,) = (line for line in lines if line.startswith("srun") and "--head" not in line)
    assert others.startswith(f"{STEP} --nodes=2 --ntasks=2 --exclude=a : ray start --block")
    assert f"--address=127.0.0.1:{port}" in others
    (run,) = (line for line in lines if line.startswith("fae-pipe"))
    assert run == (
        f"fae-pipe run digits --root /runs --address 127.0.0.1:{port} --gpus 6 --cpus-per-worker 8 --take-over"
    )
    processes = [int(number) for number in (tmp_path / "log.processes").read_text().split()]
    assert len(processes) == 2
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]


def test_one_node_without_gpus_needs_no_workers_beside_the_head(slurm):
    process, log = slurm("digits", nodes="a", SLURM_GPUS_ON_NODE="0", FAE_RAY_PORT="7777")
    process.communicate(timeout=PATIENCE)
    lines = log.read_text().splitlines()
    assert len([line for line in lines if line.startswith("srun")]) == 1
    (run,) = (line for line in lines if line.startswith("fae-pipe"))
    assert run.startswith(
        "fae-pipe run digits --address 127.0.0.1:7777 --workers 1 --train-workers 0 --cpus-per-worker 16 --take-over"
    )


def test_nodes_without_gpus_train_together(slurm):
    process, log = slurm("digits", SLURM_GPUS_ON_NODE="0")
    process.communicate(timeout=PATIENCE)
    (run,) = (line for line in log.read_text().splitlines() if line.startswith("fae-pipe"))
    assert run.endswith("--workers 3 --train-workers 3 --cpus-per-worker 16 --take-over")


def test_the_nodes_meet_on_the_interface_that_is_named(slurm):
    process, log = slurm("digits", FAE_INTERFACE="ib0")
    process.communicate(timeout=PATIENCE)
    (head,) = (line for line in log.read_text().splitlines() if "--head" in line)
    assert "--node-ip-address=10.1.2.3 " in head


def test_an_interface_without_an_address_ends_the_job(slurm):
    process, log = slurm("digits", FAE_INTERFACE="eth9")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "a has no address on eth9" in output
    assert not log.exists()


def test_the_runs_failure_is_the_jobs(slurm):
    process, log = slurm("digits", FAKE_CODE="2")
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "requeue" not in log.read_text()


def test_a_head_that_does_not_come_up_ends_the_job(slurm):
    process, log = slurm("digits", FAKE_BROKEN="yes")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "Ray's head did not come up at 127.0.0.1" in output
    assert "fae-pipe" not in log.read_text()


def test_a_warning_of_the_end_lets_the_run_save_and_queues_the_job_again(slurm):
    process, log = slurm("digits", FAKE_HANGS="yes")
    deadline = time.monotonic() + PATIENCE
    while not log.exists() or "fae-pipe run" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    lines = log.read_text().splitlines()
    assert lines.index("fae-pipe saved") < lines.index("requeue 123456")


def test_a_warning_while_the_run_starts_is_passed_on_to_it(slurm):
    process, log = slurm("digits", FAKE_HANGS="early")
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert log.read_text().splitlines()[-2:] == ["fae-pipe saved", "requeue 123456"]


def test_without_a_recipe_it_says_how_it_is_used(slurm):
    process, _ = slurm()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "expected a recipe" in output
