"""Averages of weights: what their names mean, which are refused, how decays warm up; nothing heavy is loaded for it."""

from collections.abc import Sequence

POWER = "power:"
EXPECTED = "expected decays such as 0.999, or power:SIGMA such as power:0.05 with 0 < SIGMA < 0.288"
# σ_rel of γ = 0, the plain mean of all weights: a power function cannot be wider and still rise.
WIDEST = 12**-0.5


def parse_average(name: str) -> tuple[float | None, float | None]:
    """(decay, None) of a name such as 0.999, (None, σ_rel) of one such as power:0.05.

    Raises:
        ValueError: another form, or a number out of its range.
    """
    try:
        number = float(name.removeprefix(POWER))
    except ValueError:
        raise ValueError(f"ema_bank: {EXPECTED}; received {name!r}") from None
    power = name.startswith(POWER)
    if not (0 < number < WIDEST if power else 0 <= number < 1):
        raise ValueError(f"ema_bank: {EXPECTED}; received {name!r}")
    return (None, number) if power else (number, None)


def check_averages(names: Sequence[str]) -> None:
    """Check the names of several averages of one training.

    Raises:
        ValueError: a name of another form, or one that is there twice.
    """
    if len(set(names)) < len(names):
        raise ValueError(f"ema_bank: expected each name once; received {', '.join(names)}")
    for name in names:
        parse_average(name)


def warmed_up(decay: float, step: int) -> float:
    """The decay of the `step`-th update, counted from 1, with warm-up: min(decay, n / (19 + n)), and 0 of the first.

    The mean age of the averaged weights is then a twentieth of the steps, that of `power:0.05` (EDM2, arXiv
    2312.02696). With the tenth that diffusers' n / (9 + n) gives, a generator's error after its first 200 steps,
    while it falls fast, was 6 to 7 % above that of its raw weights.
    """
    return 0.0 if step <= 1 else min(decay, step / (19 + step))
