"""Rates of a plan out of benchmark files: the newest of the named GPU, each stage by its own work; the docs' table."""

import json
import runpy
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.config.recipe import load_recipe, override
from pipeline.plan.gpu_benchmarks import FOLDER, find_benchmark, gpu_benchmarks

ROOT = Path(__file__).parents[3]
RESULTS = {
    "ceilings": {"bf16_tflops": 700.0},
    "train LightningDiT-XL eager 256": {"images_per_second": 300.0, "tflops": 210.0, "memory_gb": 60.0},
    "train LightningDiT-XL compiled 512": {"images_per_second": 520.0, "tflops": 364.0, "memory_gb": 91.2},
    "train LightningDiT-XL encoder online 256": {"images_per_second": 900.0, "tflops": 999.0},
    "train DiT-XL of diffusers 256": {"failed": "RuntimeError: out of memory"},
    "train-decoder 64": {"images_per_second": 100.0, "tflops": 120.0},
    "extract dinov2-g from memory": {"images_per_second": 700.0, "tflops": 390.0},
    "extract dinov2-g from JPEG": {"images_per_second": 650.0, "tflops": 360.0},
    "extract siglip2-gopt from JPEG": {"images_per_second": 640.0, "tflops": float("nan")},
}


def write(folder, name, device="NVIDIA H200", unix_seconds=1_750_000_000, tiny=False, results=None):
    record = {"bench": "gpu", "device": device, "machine": "16 processors", "unix_seconds": unix_seconds, "tiny": tiny}
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({**record, "results": results or RESULTS}))


def speeds(folder, **changes):
    recipe = override(load_recipe("imagenet256-dinov2-g"), {"generator.model": "lightning-dit"} | changes)
    found = find_benchmark(folder, "H200").speeds(list(recipe.stages), recipe)
    return {speed.stage: (speed.tflops, speed.measured_by) for speed in found}


def test_each_stage_has_its_own_work_and_else_the_encoders(tmp_path):
    write(tmp_path, "nvidia-h200")
    found = speeds(tmp_path)
    assert found["extract"] == (360.0, "extract dinov2-g from JPEG")
    assert found["train-gen"] == (364.0, "train LightningDiT-XL compiled 512")
    assert found["train-decoder"] == (120.0, "train-decoder 64")
    assert found["train-ae"] == found["encode"] == (390.0, "extract dinov2-g from memory")
    assert speeds(tmp_path, **{"generator.model": "dit"})["train-gen"] == found["train-gen"]  # its own failed
    assert speeds(tmp_path, **{"extract.encoder": "siglip2-gopt"})["extract"][1] == "extract dinov2-g from memory"


def test_the_newest_file_of_the_named_gpu_counts(tmp_path):
    write(tmp_path, "first", unix_seconds=1)
    write(tmp_path, "second", unix_seconds=3, results={"train-ae 64": {"tflops": 1.0}, "extract x": {"tflops": 2.0}})
    write(tmp_path, "other", device="NVIDIA GeForce RTX 4090", unix_seconds=9)
    write(tmp_path, "tiny", unix_seconds=9, tiny=True)
    assert find_benchmark(tmp_path, "nvidia h200").file.name == "second.json"
    assert find_benchmark(tmp_path, "RTX 4090").file.name == "other.json"
    with pytest.raises(ValueError, match=r"gpu: expected one that was measured \(NVIDIA GeForce RTX 4090, NVIDIA H200"):
        find_benchmark(tmp_path, "H20")
    with pytest.raises(ValueError, match=r"\(none yet in .*\); received 'H200'"):
        find_benchmark(tmp_path / "nothing", "H200")


@pytest.mark.parametrize("text", ["{", "[]", '{"tiny": false}', '{"tiny": false, "device": "x", "results": []}'])
def test_a_file_of_another_kind_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json: expected what tests/bench/gpu\.py writes"):
        find_benchmark(tmp_path, "H200")


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["plan", "digits", "--images", "1797", "--gpus", "1", *words])
    return ended.value.code, capsys.readouterr()


@pytest.mark.heavy
def test_a_plan_by_a_benchmark_says_what_it_is_from_and_a_rate_goes_before_it(tmp_path, capsys):
    write(tmp_path, "nvidia-h200")
    by_benchmark = ["--gpu", "H200", "--benchmarks", str(tmp_path)]
    code, captured = run(capsys, *by_benchmark)
    assert code == 0
    assert captured.out.startswith("rates of one NVIDIA H200, measured 2025-06-15 (nvidia-h200.json)\n")
    assert "extract dinov2-g from memory" in captured.out
    _, captured = run(capsys, *by_benchmark, "--json")
    machines = json.loads(captured.out)["machines"]
    assert (machines["gpu"], machines["rate"], machines["tflops"]["train-gen"]) == ("H200", None, 364.0)
    _, with_rate = run(capsys, *by_benchmark, "--rate", "100")
    _, alone = run(capsys, "--rate", "100")
    assert with_rate.out == alone.out
    code, captured = run(capsys)
    assert code == 2
    assert "expected --rate R, as measured, or --gpu NAME" in captured.err


def test_the_table_of_the_docs_is_that_of_the_files(tmp_path):
    table = runpy.run_path(str(ROOT / "tests" / "bench" / "gpu_table.py"))["table"]
    lines = "\n".join(table(gpu_benchmarks(ROOT / FOLDER)))
    assert lines in (ROOT / "docs" / "performance.md").read_text(), "put in what tests/bench/gpu_table.py prints"
    write(tmp_path, "nvidia-h200")
    rows = table(gpu_benchmarks(tmp_path))
    assert "| H200 | compiled 512 | 91 GB | 520 | 55 |" in rows
    assert "| H100 | no figure yet | | | |" in rows
