"""How far each solver lands from the exact end of a flow, by the number of velocity evaluations."""

import click
import torch

from fae.rng import noise_stream
from fae.sampling.samplers import SOLVERS, dpm_ode, euler_ode, heun_ode, ode_times, solve

WEIGHTS, MEANS, STDS = torch.tensor([0.3, 0.7]), torch.tensor([-1.0, 1.2]), torch.tensor([0.35, 0.5])


def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
    """Exact velocity of a mixture of two Gaussians on a line."""
    center, variance = (1 - t) * MEANS, (1 - t) ** 2 * STDS**2 + t**2
    z = x[..., None] - center
    shares = torch.softmax(WEIGHTS.log() - 0.5 * variance.log() - 0.5 * z**2 / variance, dim=-1)
    mean: torch.Tensor = (shares * ((t - (1 - t) * STDS**2) / variance * z - MEANS)).sum(dim=-1)
    return mean


def cdf(x: torch.Tensor) -> torch.Tensor:
    return (WEIGHTS * torch.special.ndtr((x[..., None] - MEANS) / STDS)).sum(dim=-1)


def kolmogorov(x: torch.Tensor) -> float:
    """Largest difference of the samples' distribution function from the exact one."""
    ordered = x.flatten().sort().values
    steps = torch.arange(1, len(ordered) + 1) / len(ordered)
    return float((cdf(ordered) - steps).abs().max())


@click.command()
@click.option("--shift", default=1.0, show_default=True, help="Timestep shift in the paper's convention.")
@click.option("--samples", default=100_000, show_default=True, help="Samples for the distribution's error.")
def main(shift: float, samples: int) -> None:
    starts = torch.linspace(-2, 2, 41, dtype=torch.float64)
    exact = heun_ode(velocity, starts, ode_times(20_000))
    click.echo(
        f"shift {shift}; trajectory = largest error of 41 paths, distribution = Kolmogorov distance of {samples:,}"
    )
    names = ("euler path", "heun path", "dpm++ path", "euler", "heun", "dpm++", "sde")
    click.echo(f"{'evaluations':>11}  " + "  ".join(f"{name:>10}" for name in names))
    for evaluations in (10, 20, 30, 50, 100, 250):
        heun_steps = evaluations // 2
        paths = [
            float((ode(velocity, starts, ode_times(steps, shift)) - exact).abs().max())
            for ode, steps in ((euler_ode, evaluations), (heun_ode, heun_steps), (dpm_ode, evaluations))
        ]
        ends = [
            kolmogorov(solve(solver, velocity, noise_stream([0], (samples,)), steps, shift))
            for solver, steps in zip(SOLVERS, (evaluations, heun_steps, evaluations, evaluations), strict=True)
        ]
        click.echo(f"{evaluations:>11}  " + "  ".join(f"{error:>10.5f}" for error in (*paths, *ends)))
    click.echo(f"the Kolmogorov distance of {samples:,} exact draws is about {0.87 / samples**0.5:.4f}")


if __name__ == "__main__":
    main()
