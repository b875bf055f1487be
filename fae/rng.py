"""Random numbers that belong to a row or a sample, so that a result depends on no batch size and no device.

`BatchGenerator` with `normal`, `uniform` and `randint` draws for a batch that may be some rows of a larger one;
`noise_stream` gives every seed a stream of its own.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Device = torch.device | str
Draw = Callable[[], Tensor]


class BatchGenerator(torch.Generator):
    """A generator for rows `first` to `first + rows - 1` of a batch of `total` rows.

    `normal`, `uniform` and `randint` draw for the whole batch and return its rows, so that workers, and the parts of a
    batch whose gradients are accumulated, see together exactly what one process with the whole batch sees.
    """

    first: int
    rows: int
    total: int

    def start(self, seed: int, first: int, rows: int, total: int) -> "BatchGenerator":
        """Begin a step: the draws of `seed` for these rows."""
        self.manual_seed(seed)
        self.first, self.rows, self.total = first, rows, total
        return self


def normal(shape: Sequence[int], generator: torch.Generator | None, device: Device) -> Tensor:
    """Standard normal draws, float32, of a shape whose first axis is a multiple of the batch's rows."""
    return _draw(lambda size, on: torch.randn(size, generator=generator, device=on), shape, generator, device)


def uniform(shape: Sequence[int], generator: torch.Generator | None, device: Device) -> Tensor:
    """Draws from [0, 1), float32; the shape as in `normal`."""
    return _draw(lambda size, on: torch.rand(size, generator=generator, device=on), shape, generator, device)


def randint(low: int, high: int, shape: Sequence[int], generator: torch.Generator | None, device: Device) -> Tensor:
    """Integers from `low` to `high` - 1, int64, as `torch.randint`; the shape as in `normal`."""

    def draw(size: Sequence[int], on: Device) -> Tensor:
        return torch.randint(low, high, tuple(size), generator=generator, device=on)

    return _draw(draw, shape, generator, device)


def _draw(
    draw: Callable[[Sequence[int], Device], Tensor],
    shape: Sequence[int],
    generator: torch.Generator | None,
    device: Device,
) -> Tensor:
    """Values on the generator's device, moved to `device`; of a `BatchGenerator` its rows of the whole batch's."""
    source = device if generator is None else generator.device
    if not isinstance(generator, BatchGenerator):
        return draw(shape, source).to(device)
    times, rest = divmod(shape[0], generator.rows)
    assert rest == 0, (shape, generator.rows)
    values = draw((times * generator.total, *shape[1:]), source)
    # (times·total, ...) -> (times, total, ...) -> (times, rows, ...) -> (times·rows, ...)
    rows = values.unflatten(0, (times, generator.total))[:, generator.first : generator.first + generator.rows]
    out: Tensor = rows.flatten(0, 1).to(device)
    return out


def noise_stream(seeds: Sequence[int], shape: Sequence[int], device: Device = "cpu") -> Draw:
    """A function whose k-th call returns the k-th standard normal draw of every seed.

    Args:
        seeds: one integer ≥ 0 of any size for each sample. NumPy's Philox is used since torch's CPU generator reads
            only the low 32 bits of a seed.
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

    def draw() -> Tensor:
        rows = torch.empty(len(streams), *shape)  # not by numpy, whose memory is not aligned as torch's is
        for row, stream in zip(rows, streams, strict=True):
            stream.standard_normal(dtype=np.float32, out=row.numpy())
        return rows.to(device)

    return draw


def seeded_noise(seeds: Sequence[int], shape: Sequence[int], device: Device = "cpu") -> Tensor:
    """Standard normal noise (len(seeds), *shape), float32, the first draw of each seed's own stream."""
    return noise_stream(seeds, shape, device)()
