"""What a training on one device loads: no cluster, no plots, no dask; tensorboard once metrics are written."""

import subprocess
import sys

import pytest

HEAVY = ("ray", "dask", "bokeh", "tensorboard", "matplotlib")
CODE = f"""
import sys
import pipeline.cli, pipeline.stages.train_gen, pipeline.workflow.stage_runner
import jobs.loop.launcher, jobs.loop.profiling, jobs.train.generator, jobs.train.profiling
print([name for name in {HEAVY!r} if name in sys.modules])
"""


@pytest.mark.heavy
def test_train_gen_imports_nothing_that_one_device_does_not_need():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow  # a minute
def test_the_benchmark_of_a_gpu_runs_to_its_end_on_a_processor(tmp_path):
    command = [sys.executable, "tests/bench/gpu.py", "--device", "cpu", "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "failed" not in done.stdout
    assert (tmp_path / "cpu.json").exists()
    assert "Tiny sizes" in (tmp_path / "cpu.md").read_text()
