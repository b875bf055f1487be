"""Draws of a batch cut into rows are the draws of the batch."""

import pytest
import torch

from fae.losses.augment import diff_augment
from fae.rng import BatchGenerator, noise_stream, normal, randint, seeded_noise, uniform
from fae.sampling.conditions import Classes
from fae.sampling.transport import Transport

CPU = torch.device("cpu")
CUTS = [[(0, 8)], [(0, 4), (4, 4)], [(0, 2), (2, 2), (4, 2), (6, 2)]]


def cut(function, cuts):
    """`function(generator, rows)` for each cut of a batch of eight rows, one after the other."""
    generator = BatchGenerator(CPU)
    return [function(generator.start(11, first, rows, 8), slice(first, first + rows)) for first, rows in cuts]


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize(
    "draw",
    [
        lambda generator, count: normal((count, 3), generator, CPU),
        lambda generator, count: uniform((count,), generator, CPU),
        lambda generator, count: randint(0, 10, (count, 1), generator, CPU),
    ],
)
def test_rows_together_are_the_whole_batch(draw, cuts):
    plain = draw(torch.Generator().manual_seed(11), 8)
    parts = cut(lambda generator, rows: draw(generator, rows.stop - rows.start), cuts)
    assert torch.equal(torch.cat(parts), plain)


def test_a_batch_that_comes_twice_is_drawn_for_twice():
    plain = normal((16, 2), torch.Generator().manual_seed(11), CPU).unflatten(0, (2, 8))  # (2·8, 2) -> (2, 8, 2)
    parts = cut(lambda generator, rows: normal((8, 2), generator, CPU).unflatten(0, (2, 4)), CUTS[1])
    assert torch.equal(torch.cat(parts, dim=1), plain)


def test_later_draws_are_the_same_too():
    generator = torch.Generator().manual_seed(11)
    uniform((8,), generator, CPU)
    plain = normal((8, 2), generator, CPU)

    def second(generator, rows):
        uniform((4,), generator, CPU)
        return normal((4, 2), generator, CPU)

    assert torch.equal(torch.cat(cut(second, CUTS[1])), plain)


def test_a_generators_loss_is_the_mean_of_its_parts():
    x0, labels = torch.randn(8, 2, 2, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    transport = Transport(shift=0.4, cosine_weight=1.0)

    def loss(generator, rows):
        return transport.loss(lambda x, t, y: x * y.view(-1, 1, 1, 1), x0[rows], Classes(labels[rows], 3), generator)[
            "loss"
        ]

    whole_loss = loss(torch.Generator().manual_seed(11), slice(0, 8))
    for cuts in CUTS:
        torch.testing.assert_close(torch.stack(cut(loss, cuts)).mean(), whole_loss)


def test_augmented_images_are_those_of_the_whole_batch():
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain = diff_augment(images, generator=torch.Generator().manual_seed(11))
    parts = cut(lambda generator, rows: diff_augment(images[rows], generator=generator), CUTS[2])
    torch.testing.assert_close(torch.cat(parts), plain)


def test_a_samples_noise_depends_on_its_seed_alone():
    together = seeded_noise([3, 1, 4], (2, 2, 5))
    assert together.shape == (3, 2, 2, 5)
    assert together.dtype == torch.float32
    for row, seed in zip(together, [3, 1, 4], strict=True):
        assert torch.equal(row, seeded_noise([seed], (2, 2, 5))[0])


def test_every_bit_of_a_seed_counts():
    # torch's own CPU generator would make these three equal.
    noise = seeded_noise([5, 5 + (1 << 32), 5 + (1 << 70)], (64,))
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])


def test_noise_is_standard_normal():
    noise = seeded_noise(range(64), (1000,))
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
    # Neighboring seeds are uncorrelated: 0.16 is five deviations of a correlation over 1,000 numbers.
    correlations = torch.corrcoef(noise) - torch.eye(64)
    assert float(correlations.abs().max()) < 0.16


def test_a_stream_goes_on_and_repeats_from_its_seed():
    draw = noise_stream([7, 8], (4,))
    first, second = draw(), draw()
    assert not torch.equal(first, second)
    again = noise_stream([8], (4,))
    assert torch.equal(again()[0], first[1])
    assert torch.equal(again()[0], second[1])


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match=r"at least 0; received -2"):
        seeded_noise([1, -2], (4,))
