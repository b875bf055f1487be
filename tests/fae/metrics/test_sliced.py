import pytest
import torch

from fae.metrics.sliced import sliced_wasserstein


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_equal_sets_in_any_order_have_distance_zero():
    rows = draw(200, 16)
    assert sliced_wasserstein(rows, rows.flip(0)) == pytest.approx(0, abs=1e-9)


def test_a_shift_gives_three_times_its_square():
    """Along a unit direction u a shift s moves every row by u·s; E[(u·s)²] = ‖s‖²/D."""
    rows, shift = draw(300, 16), draw(16, seed=1)
    expected = 3 * float(shift.square().sum())
    assert sliced_wasserstein(rows, rows + shift, 4000) == pytest.approx(expected, rel=0.05)


def test_it_grows_with_the_difference_and_is_symmetric():
    rows, other, far = draw(500, 8), draw(500, 8, seed=1), 2 * draw(500, 8, seed=2)
    assert sliced_wasserstein(rows, other) < sliced_wasserstein(rows, far)
    assert sliced_wasserstein(rows, far) == pytest.approx(sliced_wasserstein(far, rows))


def test_of_the_larger_set_the_first_rows_count():
    rows, other = draw(300, 8), draw(100, 8, seed=1)
    assert sliced_wasserstein(rows, other) == sliced_wasserstein(rows[:100], other)


def test_rows_of_other_widths_are_refused():
    with pytest.raises(ValueError, match="rows of one width"):
        sliced_wasserstein(draw(10, 3), draw(10, 4))
