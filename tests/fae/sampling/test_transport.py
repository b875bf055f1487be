import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fae.sampling.conditions import Classes
from fae.sampling.transport import Transport, interpolate, shift_times, shift_to_diffusers

shifts = st.floats(0.05, 20)


@given(shifts)
def test_the_shift_of_diffusers_converts_back_by_the_same_formula(shift):
    assert shift_to_diffusers(shift_to_diffusers(shift)) == pytest.approx(shift)


def test_the_papers_shift_is_two_and_a_half_in_diffusers():
    assert shift_to_diffusers(0.4) == pytest.approx(2.5)


@given(shifts, st.floats(0, 1))
def test_shift_is_the_papers_rule_of_a_time_whose_zero_is_noise(shift, t):
    u = 1 - t
    expected = 1 - shift * u / (1 + (shift - 1) * u)
    assert float(shift_times(torch.tensor(t, dtype=torch.float64), shift)) == pytest.approx(expected, abs=1e-9)


@given(shifts, st.floats(0, 1))
def test_shift_is_diffusers_rule_of_sigma(shift, t):
    alpha = shift_to_diffusers(shift)
    expected = alpha * t / (1 + (alpha - 1) * t)
    assert float(shift_times(torch.tensor(t, dtype=torch.float64), shift)) == pytest.approx(expected, abs=1e-9)


@given(shifts)
def test_shift_keeps_the_ends_and_one_is_none(shift):
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    shifted = shift_times(t, shift)
    assert shifted[0] == 0
    assert float(shifted[-1]) == pytest.approx(1)
    assert bool((shifted.diff() > 0).all())
    torch.testing.assert_close(shift_times(t, 1.0), t)
    torch.testing.assert_close(shift_times(shifted, 1 / shift), t)


def test_a_shift_below_one_moves_times_towards_noise():
    assert float(shift_times(torch.tensor(0.5), 0.4)) > 0.5


def test_the_path_runs_from_data_to_noise_along_its_velocity():
    x0, noise = torch.randn(3, 2, 2, 4), torch.randn(3, 2, 2, 4)
    at_data, velocity = interpolate(x0, noise, torch.zeros(3))
    at_noise, _ = interpolate(x0, noise, torch.ones(3))
    torch.testing.assert_close(at_data, x0)
    torch.testing.assert_close(at_noise, noise)
    torch.testing.assert_close(at_data + velocity, at_noise)


@pytest.mark.parametrize("distribution", ["uniform", "logit-normal"])
def test_training_times_have_their_distribution(distribution):
    t = Transport(time_distribution=distribution).sample_t(40_000, torch.Generator().manual_seed(0))
    assert float(t.min()) >= 0
    assert float(t.max()) <= 1
    assert float(t.mean()) == pytest.approx(0.5, abs=0.01)
    # Uniform: sqrt(1/12) = 0.2887. Logit-normal with unit deviation: 0.2083 by numerical integration.
    assert float(t.std()) == pytest.approx({"uniform": 0.2887, "logit-normal": 0.2083}[distribution], abs=0.005)


def test_training_times_are_shifted():
    plain = Transport().sample_t(100, torch.Generator().manual_seed(0))
    shifted = Transport(shift=0.4).sample_t(100, torch.Generator().manual_seed(0))
    torch.testing.assert_close(shifted, shift_times(plain, 0.4))


def test_the_solver_may_have_its_own_shift():
    assert Transport(shift=0.4).solver_shift == 0.4
    assert Transport(shift=1.0, sampling_shift=0.3).solver_shift == 0.3


def no_classes(count):
    return Classes(torch.full((count,), -1), 1)


def test_the_exact_velocity_of_a_point_mass_has_no_loss():
    point = torch.full((1, 2, 2, 4), 0.7)

    def exact(x, t, y):
        # All data are one point, so ε follows from x_t.
        return (x - point) / t.view(-1, 1, 1, 1)

    losses = Transport(cosine_weight=1.0).loss(
        exact, point.expand(64, 2, 2, 4), no_classes(64), torch.Generator().manual_seed(0)
    )
    assert float(losses["velocity_mse"]) < 1e-6
    assert float(losses["velocity_cosine"]) < 1e-5


def test_a_zero_model_loses_the_velocitys_energy():
    x0 = torch.zeros(512, 2, 2, 8)
    losses = Transport().loss(
        lambda x, t, y: torch.zeros_like(x), x0, no_classes(512), torch.Generator().manual_seed(0)
    )
    assert set(losses) == {"loss"}
    assert float(losses["loss"]) == pytest.approx(1.0, abs=0.03)


def test_the_cosine_loss_is_added_with_its_weight():
    def model(x, t, y):
        return 0.5 * x

    x0, y = torch.randn(8, 2, 2, 4), no_classes(8)
    losses = Transport(cosine_weight=0.25).loss(model, x0, y, torch.Generator().manual_seed(3))
    plain = Transport().loss(model, x0, y, torch.Generator().manual_seed(3))
    torch.testing.assert_close(losses["velocity_mse"], plain["loss"])
    torch.testing.assert_close(losses["loss"], plain["loss"] + 0.25 * losses["velocity_cosine"])


def test_the_model_sees_times_and_dropped_labels():
    seen = {}

    def model(x, t, y):
        seen.update(x=x, t=t, y=y)
        return x

    Transport(label_dropout=1.0).loss(model, torch.randn(5, 2, 2, 4), Classes(torch.arange(5), 9))
    assert seen["t"].shape == (5,)
    assert seen["y"].tolist() == [9] * 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"shift": 0.0},
        {"sampling_shift": -1.0},
        {"time_distribution": "normal"},
        {"logit_std": 0.0},
        {"cosine_weight": -1.0},
        {"label_dropout": 1.5},
        {"shift": float("nan")},
    ],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Transport(**wrong)
