import pytest
import torch

from fae.rng.noise import noise_stream, seeded_noise


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
