"""`fae-pipe profile`: parts of a step add up, and what to try follows from them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from jobs.loop.profiling import StepProfile, kind_of
from pipeline.cli import main
from pipeline.inspection.bottleneck import advice_on, limit_of, profile_lines
from stores import ArraySpec, StoreWriter, new_index

SETTINGS = {
    "batch_rows": 256,
    "accumulate": 1,
    "residency": "device",
    "precision": "bfloat16",
    "compile": True,
    "gradient_checkpointing": False,
    "threads": 4,
}
GOOD = StepProfile(
    device="NVIDIA H200",
    device_type="cuda",
    steps=15,
    step_seconds=0.5,
    data_seconds=0.0,
    host_seconds=0.01,
    kernel_seconds={"matrix products": 0.39, "compiled kernels": 0.1},
    top={"gemm": 0.39},
    speed={"rows_per_second": 512.0, "tflops_per_device": 430.0, "mfu": 0.43},
    settings=SETTINGS,
    memory_share=0.8,
)


def test_a_good_training_has_nothing_to_try():
    assert limit_of(GOOD) == "cuda, matrix products"
    assert advice_on(GOOD, True) == ["nothing: 43% of the device's peak is what good trainings reach"]
    assert sum(GOOD.shares().values()) == pytest.approx(1.0)
    assert "mfu 43.0%" in profile_lines(GOOD, "train-gen")[1]


@pytest.mark.parametrize(
    ("changed", "settings", "option", "limit"),
    [
        ({"data_seconds": 0.4}, {"residency": "stream"}, "--residency ram", "data"),
        ({"data_seconds": 0.4}, {}, "--threads", "data"),
        ({"host_seconds": 0.4}, {"compile": False}, "--compile", "host"),
        ({"host_seconds": 0.4}, {"batch_rows": 8}, "--batch-size", "host"),
        ({}, {"precision": "float32"}, "--precision bf16", "cuda, matrix products"),
        (
            {"kernel_seconds": {"elementwise and sums": 0.4}},
            {"compile": False},
            "--compile",
            "cuda, elementwise and sums",
        ),
        ({"kernel_seconds": {"optimizer and averages": 0.4}}, {}, "--batch-size", None),
        ({"memory_share": 0.2}, {"gradient_checkpointing": True}, "--no-gradient-checkpointing", None),
        ({"memory_share": 0.2}, {"accumulate": 4}, "--accumulate 1", None),
    ],
)
def test_what_limits_says_which_option_to_try(changed, settings, option, limit):
    profile = replace(GOOD, settings=SETTINGS | settings, **changed)
    assert any(option in line for line in advice_on(profile, True))
    assert limit in (None, limit_of(profile))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm>", "matrix products"),
        ("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NNT", "matrix products"),
        ("void pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel", "attention"),
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16", "convolutions"),
        (
            "void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor>",
            "optimizer and averages",
        ),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add>", "elementwise and sums"),
        ("Memcpy HtoD (Pinned -> Device)", "copies and casts"),
        ("triton_poi_fused_mul_silu_3", "compiled kernels"),
        ("aten::_fused_adamw_", "optimizer and averages"),
        ("aten::normal_", "random numbers"),
        ("aten::native_layer_norm", "norms and softmax"),
        ("aten::addmm", "matrix products"),
        ("autograd::engine::evaluate_function: AddmmBackward0", None),
        ("_RMSNormFunction", None),
    ],
)
def test_operations_have_a_kind_by_their_name(name, kind):
    assert kind_of(name) == kind


@pytest.mark.heavy
def test_profile_of_a_recipe_reads_its_store_and_leaves_nothing(tmp_path):
    root, recipe, trace = tmp_path / "runs", tmp_path / "small.yaml", tmp_path / "trace.json"
    recipe.write_text("name: small\ngenerator: {size: tiny, condition: none, batch_size: 8, precision: fp32}\n")
    index = new_index([f"{row}" for row in range(40)])
    spec = ArraySpec("latents", (2, 2, 4))
    writer = StoreWriter.create(root / "latents", "latents", "small", [spec], index, {}, rows_per_shard=40)
    values = np.random.default_rng(0).standard_normal((40, 1, 2, 2, 4)).astype(np.float16)
    writer.write_shard(0, {"latents": values})
    writer.finalize()
    before = sorted(root.rglob("*"))
    words = ["profile", str(recipe), "--root", str(root), "--device", "cpu", "--peak-tflops", "0.5"]
    done = CliRunner().invoke(main, [*words, "--steps", "6", "--trace", str(trace), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["settings"]["batch_rows"] == 8
    assert found["steps"] == 3
    parts = found["data_seconds"] + found["host_seconds"] + sum(found["kernel_seconds"].values())
    assert parts == pytest.approx(found["step_seconds"])
    assert found["kernel_seconds"]["matrix products"] > 0
    assert 0 < found["speed"]["mfu"] < 1
    assert found["advice"]
    assert json.loads(trace.read_text())["traceEvents"]
    assert sorted(root.rglob("*")) == before
    said = CliRunner().invoke(main, [*words, "--dry-run"], catch_exceptions=False).stdout
    assert "would run 30 steps of train-gen" in said
    missing = CliRunner().invoke(main, [*words, "--stage", "train-ae"])
    assert missing.exit_code == 2
    assert "extract" in missing.stderr
