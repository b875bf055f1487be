import numpy as np
import pytest
import torch
from torch import nn

from fae.optim.average_names import parse_average
from fae.optim.ema import EMA
from fae.optim.ema_bank import (
    EMABank,
    PowerEMA,
    Snapshot,
    gamma_of,
    mean_age,
    member_of,
    reconstruct,
    reconstruction_weights,
)

STEPS = 600


def walk(model, step):
    """Weights of a training: a drift that slows down, and noise; a pure function of the step."""
    with torch.no_grad():
        for number, value in enumerate(model.parameters()):
            draws = torch.Generator().manual_seed(step * 10 + number)
            value.copy_(torch.log1p(torch.tensor(float(step))) + 0.3 * torch.randn(value.shape, generator=draws))


def test_the_age_of_an_average_is_the_mean_distance_of_the_steps_in_it():
    assert mean_age("0.99", 5000, warmup=False) == pytest.approx(99, rel=1e-3)
    assert mean_age("0.9999", 100) < mean_age("0.9999", 100, warmup=False)
    profile = np.arange(1, STEPS + 1.0) ** gamma_of(0.1)
    expected = STEPS - (profile * np.arange(1, STEPS + 1)).sum() / profile.sum()
    assert mean_age("power:0.1", STEPS) == pytest.approx(expected, rel=0.02)
    assert mean_age("0", 7, warmup=False) == 0


@pytest.mark.parametrize(("sigma", "gamma"), [(0.05, 16.97), (0.1, 6.94), (0.15, 3.56), (0.2, 1.83)])
def test_the_exponent_of_a_width(sigma, gamma):
    found = gamma_of(sigma)
    assert found == pytest.approx(gamma, abs=5e-3)
    assert sigma == pytest.approx(((found + 1) / ((found + 2) ** 2 * (found + 3))) ** 0.5)


@pytest.mark.parametrize("text", ["fast", "power:", "power:0", "power:0.3", "1", "-0.1", "power:x", "nan"])
def test_other_names_are_refused(text):
    with pytest.raises(ValueError, match="ema_bank: expected decays such as"):
        parse_average(text)


def test_a_name_twice_is_refused():
    with pytest.raises(ValueError, match="ema_bank: expected each name once"):
        EMABank(nn.Linear(2, 2), ["0.9", "0.9"])


@pytest.mark.parametrize("warmup", [True, False])
def test_the_members_are_what_single_averages_are(warmup):
    names = ["0.9", "0.999", "power:0.05", "power:0.1"]
    model = nn.Linear(3, 2)
    bank, singles = EMABank(model, names, warmup), [EMA(model, 0.9, warmup), EMA(model, 0.999, warmup)]
    singles += [PowerEMA(model, 0.05), PowerEMA(model, 0.1)]
    for step in range(1, 50):
        walk(model, step)
        bank.update(model, step)
        for one in singles:
            one.update(model, step)
    state = bank.state_dict()
    for name, one in zip(names, singles, strict=True):
        for key, value in one.state_dict().items():
            assert torch.equal(state[f"{name}/{key}"], value), name


def test_a_loaded_bank_goes_on_with_the_same_bits():
    model = nn.Linear(3, 2)
    whole, first = (EMABank(model, ["0.99", "power:0.1"]) for _ in range(2))
    for step in range(1, 20):
        walk(model, step)
        whole.update(model, step)
        if step < 10:
            first.update(model, step)
    second = EMABank(model, ["0.99", "power:0.1"])
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    for step in range(10, 20):
        walk(model, step)
        second.update(model, step)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in second.state_dict().items())


def test_a_member_that_is_missing_is_named():
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="averaged weights"):
        EMABank(model, ["0.9"]).load_state_dict(EMABank(model, ["0.99"]).state_dict())


def test_a_power_average_is_the_mean_weighted_by_the_power_of_the_step():
    model = nn.Linear(1, 1, bias=False)
    ema, steps = PowerEMA(model, 0.1), np.arange(1, STEPS + 1)
    values = []
    for step in steps:
        walk(model, int(step))
        ema.update(model, int(step))
        values.append(float(model.weight.detach()))
    gamma = gamma_of(0.1)
    shares = (steps / STEPS) ** (gamma + 1) - ((steps - 1) / STEPS) ** (gamma + 1)
    assert float(ema.average["weight"]) == pytest.approx(float(shares @ values), rel=1e-5)
    assert ema.decay_at(1) == 0


def snapshots(model, widths, every):
    """Power averages of these widths, kept every so many steps of one walk, and trackers of what is asked for."""
    trackers = {width: PowerEMA(model, width) for width in (*widths, 0.15, 0.2, 0.07)}
    kept = []
    for step in range(1, STEPS + 1):
        walk(model, step)
        for one in trackers.values():
            one.update(model, step)
        if step % every == 0:
            for width in widths:
                state = {name: value.clone() for name, value in trackers[width].average.items()}
                kept.append(Snapshot(step, width, lambda state=state: state))
    return trackers, kept


def test_other_widths_are_reconstructed_to_a_thousandth():
    trackers, kept = snapshots(nn.Linear(8, 8), (0.05, 0.1), 25)
    for width in (0.15, 0.2, 0.07):
        found = reconstruct(kept, STEPS, width)
        for name, value in trackers[width].average.items():
            error = float((found[name] - value).norm() / value.norm())
            assert error <= 1e-3, (width, name, error)


def test_a_kept_average_is_its_own_reconstruction():
    _, kept = snapshots(nn.Linear(2, 2), (0.05, 0.1), 100)
    weights = reconstruction_weights([(one.step, one.sigma_rel) for one in kept], STEPS, 0.1)
    assert weights[-1] == pytest.approx(1, abs=1e-6)
    assert np.abs(weights[:-1]).max() < 1e-6


def test_reconstructing_from_nothing_is_refused():
    with pytest.raises(ValueError, match="expected at least one kept one"):
        reconstruct([], STEPS, 0.1)


def test_a_member_of_a_state():
    assert member_of({"0.9/a": torch.ones(1), "0.99/a": torch.zeros(1)}, "0.9") == {"a": torch.ones(1)}
