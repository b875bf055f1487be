"""Random draws for a batch, which may be some rows of a larger one: a row's draws depend on no way of cutting it."""

from collections.abc import Callable, Sequence

import torch

Device = torch.device | str


class BatchGenerator(torch.Generator):
    """A generator for rows `first` to `first + rows - 1` of a batch of `total` rows.

    `normal`, `uniform` and `whole` draw for the whole batch and hand out its rows, so that workers, and the parts of a
    batch whose gradients are added up, see together exactly what one process with the whole batch sees.
    """

    first: int
    rows: int
    total: int

    def start(self, seed: int, first: int, rows: int, total: int) -> "BatchGenerator":
        """Begin a step: the draws of `seed` for these rows."""
        self.manual_seed(seed)
        self.first, self.rows, self.total = first, rows, total
        return self


def normal(shape: Sequence[int], generator: torch.Generator | None, device: Device) -> torch.Tensor:
    """Standard normal draws, float32, of a shape whose first axis counts the batch's rows, once or several times."""
    return _draw(lambda size, place: torch.randn(size, generator=generator, device=place), shape, generator, device)


def uniform(shape: Sequence[int], generator: torch.Generator | None, device: Device) -> torch.Tensor:
    """Draws from [0, 1), float32; the shape as in `normal`."""
    return _draw(lambda size, place: torch.rand(size, generator=generator, device=place), shape, generator, device)


def whole(low: int, high: int, shape: Sequence[int], generator: torch.Generator | None, device: Device) -> torch.Tensor:
    """Whole numbers from `low` to `high` inclusive, int64; the shape as in `normal`."""

    def draw(size: Sequence[int], place: Device) -> torch.Tensor:
        return torch.randint(low, high + 1, tuple(size), generator=generator, device=place)

    return _draw(draw, shape, generator, device)


def _draw(
    draw: Callable[[Sequence[int], Device], torch.Tensor],
    shape: Sequence[int],
    generator: torch.Generator | None,
    device: Device,
) -> torch.Tensor:
    place = device if generator is None else generator.device
    if not isinstance(generator, BatchGenerator):
        return draw(shape, place).to(device)
    times, rest = divmod(shape[0], generator.rows)
    assert rest == 0, (shape, generator.rows)
    drawn = draw((times * generator.total, *shape[1:]), place)
    # (times·total, ...) -> (times, total, ...) -> (times, rows, ...) -> (times·rows, ...)
    own = drawn.unflatten(0, (times, generator.total))[:, generator.first : generator.first + generator.rows]
    return own.flatten(0, 1).to(device)
