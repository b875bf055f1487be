"""Fréchet distances in units of what real validation images have, and their mean over several networks (FDr^k).

arXiv 2604.28190: FDr_φ = FD_φ(generated, train) / FD_φ(validation, train) for a network φ, so that 1 is as near to the
training set as other real images are; FDr^k is the arithmetic mean over k networks.
"""

import math
from collections.abc import Sequence

from fae.metrics.facts import ExtractorFacts
from fae.metrics.frechet import FrechetReference
from fae.metrics.measured import Measured
from fae.metrics.scores import Metric


def relative_distance(facts: ExtractorFacts, made: Measured, reference: Measured, validation: Measured) -> Metric:
    """FDr of one network's main features.

    Args:
        facts: of the network that saw all three sets.
        made: the generated images.
        reference: the real images that both distances are taken from.
        validation: other real images.

    Raises:
        ValueError: validation images that are the reference itself.
    """
    real = reference.gaussians[facts.main]
    frechet = FrechetReference(real.mean, real.covariance)
    own, other = (
        frechet.distance(one.gaussians[facts.main].mean, one.gaussians[facts.main].covariance)
        for one in (made, validation)
    )
    if other <= 1e-6 * max(own, 1.0):
        raise ValueError(
            f"validation: expected other real images than the reference's; received a set at a distance of {other:.2g} "
            f"by {facts.name}"
        )
    counts = [f"{one.count:,}" if one.count else "unknown" for one in (made, validation)]
    note = f"{own:.4g} of {counts[0]} images over {other:.4g} of {counts[1]} validation images"
    return Metric(f"FDr on {_network(facts)}", own / other, note=note)


def mean_relative_distances(found: Sequence[tuple[ExtractorFacts, Metric]]) -> list[Metric]:
    """FDr^k as arithmetic mean, and the geometric mean beside it; none of fewer than two networks."""
    if len(found) < 2:
        return []
    values, names = [metric.value for _, metric in found], ", ".join(_network(facts) for facts, _ in found)
    return [
        Metric(f"FDr^{len(values)}", sum(values) / len(values), note=f"arithmetic mean over {names}"),
        Metric(f"FDr^{len(values)} (geometric)", math.prod(values) ** (1 / len(values)), note=f"over {names}"),
    ]


def _network(facts: ExtractorFacts) -> str:
    return "Inception" if facts.title == "FID" else facts.title.removeprefix("FD-")
