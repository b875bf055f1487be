"""Noise that belongs to a sample: each seed has its own stream, so a result depends on no batch size and no device."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

Draw = Callable[[], torch.Tensor]


def noise_stream(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> Draw:
    """A function whose k-th call returns the k-th standard normal draw of every seed.

    Args:
        seeds: one whole number ≥ 0 of any size for each sample. NumPy's Philox is used since torch's CPU generator
            reads only the low 32 bits of a seed.
        shape: of one sample.
        device: where the draws go; they are made on the CPU so that every device sees the same.

    Returns:
        A function without arguments that returns float32 (len(seeds), *shape).

    Raises:
        ValueError: a seed is negative.
    """
    if any(seed < 0 for seed in seeds):
        raise ValueError(f"seeds: expected whole numbers of at least 0; received {min(seeds)}")
    streams = [np.random.Generator(np.random.Philox(int(seed))) for seed in seeds]

    def draw() -> torch.Tensor:
        rows = torch.empty(len(streams), *shape)  # not by numpy, whose memory is not aligned
        for row, stream in zip(rows, streams, strict=True):
            stream.standard_normal(dtype=np.float32, out=row.numpy())
        return rows.to(device)

    return draw


def seeded_noise(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> torch.Tensor:
    """Standard normal noise (len(seeds), *shape), float32, the first draw of each seed's own stream."""
    return noise_stream(seeds, shape, device)()
