"""What known GPUs reach at most: dense bf16 products with float32 sums, by their makers' data sheets."""

import torch

# TFLOP/s by a part of the name that CUDA gives; the first that fits counts, so variants stand before their family.
BF16_TFLOPS = (
    ("B200", 2250.0),
    ("GH200", 989.0),
    ("H200", 989.0),
    ("H100 PCIe", 756.0),
    ("H100 NVL", 835.0),
    ("H100", 989.0),
    ("A100", 312.0),
    ("L40S", 362.0),
    ("L4", 121.0),
    ("RTX 6000 Ada", 364.0),
    ("RTX A6000", 155.0),
    ("RTX 4090", 165.0),
)


def peak_tflops(device: torch.device, stated: float | None = None) -> float | None:
    """TFLOP/s of a device: as stated, or of a known GPU; None where nothing is known.

    Args:
        device: Where a model runs.
        stated: What a person knows of it, which counts before the table.
    """
    if stated is not None or device.type != "cuda":
        return stated
    return named_tflops(torch.cuda.get_device_name(device))


def named_tflops(name: str) -> float | None:
    """The peak of a GPU by its name, such as NVIDIA H100 80GB HBM3."""
    words = name.replace("-", " ").split()
    if "Laptop" in words:  # of the same name, with less of everything
        return None
    for part, tflops in BF16_TFLOPS:
        wanted = part.split()
        if any(words[at : at + len(wanted)] == wanted for at in range(len(words))):
            return tflops
    return None
