"""Peaks of known GPUs by name; none of others."""

import pytest
import torch

from jobs.executors.peaks import named_tflops, peak_tflops


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H200", 989.0),
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA GeForce RTX 4090", 165.0),
        ("NVIDIA L40", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("Tesla T4", None),
    ],
)
def test_a_name_has_its_own_peak_or_none(name, tflops):
    assert named_tflops(name) == tflops


def test_what_is_stated_counts_and_a_processor_has_no_peak(monkeypatch):
    assert peak_tflops(torch.device("cpu")) is None
    assert peak_tflops(torch.device("cpu"), 2.5) == 2.5
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert peak_tflops(torch.device("cuda")) == 989.0
    assert peak_tflops(torch.device("cuda"), 400.0) == 400.0
