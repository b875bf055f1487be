"""Claims of a recipe: comparisons of its variants' metrics, and whether they hold."""

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config.values import RecipeError

# variant[metric], perhaps times a factor; or a number.
METRIC = r"(?:(?P<factor{n}>[0-9.]+) ?\* ?)?(?P<variant{n}>[A-Za-z0-9._-]+)\[(?P<metric{n}>[^\]]+)\]"
SIDE = rf"(?:{METRIC}|(?P<number{{n}}>[0-9.]+))"
CLAIM = re.compile(SIDE.format(n=1) + r" (?P<sign><=|<|>=|>) " + SIDE.format(n=2))
SIGNS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}
# variant -> metric -> value.
Metrics = Mapping[str, Mapping[str, float | None]]
# A difference below so many standard errors says nothing.
ERRORS = 2.0


@dataclass(frozen=True)
class Quantity:
    """A number, or a metric of a variant times a factor."""

    factor: float
    variant: str | None = None
    metric: str | None = None

    def value(self, metrics: Metrics) -> float | None:
        """None where the variant has no such metric."""
        if self.variant is None or self.metric is None:
            return self.factor
        found = metrics.get(self.variant, {}).get(self.metric)
        return None if found is None else self.factor * found

    def error(self, errors: Metrics) -> float:
        """Its standard error, 0 where none is known."""
        if self.variant is None or self.metric is None:
            return 0.0
        return self.factor * (errors.get(self.variant, {}).get(self.metric) or 0.0)


@dataclass(frozen=True)
class Claim:
    """That one quantity is less or more than another."""

    left: Quantity
    sign: str
    right: Quantity

    def check(self, metrics: Metrics, errors: Metrics) -> dict[str, Any]:
        """The two values as `measured`, and the `outcome`: holds, does not hold, or not measured.

        A difference within two standard errors of itself is marked so.
        """
        left, right = self.left.value(metrics), self.right.value(metrics)
        if left is None or right is None:
            return {"measured": "-", "outcome": "not measured"}
        holds = "holds" if SIGNS[self.sign](left, right) else "does not hold"
        own = [self.left.error(errors), self.right.error(errors)]
        shown = [
            f"{value:.4g}" + (f" ± {error:.2g}" if error else "")
            for value, error in zip((left, right), own, strict=True)
        ]
        within = abs(left - right) < ERRORS * math.hypot(*own)
        return {
            "measured": f"{shown[0]} {self.sign} {shown[1]}",
            "outcome": f"{holds}, within two standard errors" if within else holds,
        }


def parse_claim(text: str, where: str) -> Claim:
    """Read `1.1 * variant[metric] <= other[metric]`; a side may also be a number.

    Raises:
        RecipeError: another form; it begins with `where`.
    """
    found = CLAIM.fullmatch(text.strip())
    if found is None:
        raise RecipeError(
            f"{where}: expected a comparison such as `one[loss] <= 0.5 * other[loss]` (or a number on a side); "
            f"received {text!r}"
        )
    return Claim(_quantity(found, 1), found["sign"], _quantity(found, 2))


def _quantity(found: re.Match[str], number: int) -> Quantity:
    if found[f"number{number}"] is not None:
        return Quantity(float(found[f"number{number}"]))
    factor = found[f"factor{number}"]
    return Quantity(float(factor or 1), found[f"variant{number}"], found[f"metric{number}"])


def check_claims(claims: Mapping[str, str], metrics: Metrics, errors: Metrics | None = None) -> list[dict[str, Any]]:
    """A line for each claim: the sentence, what was compared, the values and the outcome.

    Args:
        claims: comparisons by sentence.
        metrics: by variant and name.
        errors: standard errors of those that are means over seeds.
    """
    return [
        {"claim": sentence, "compared": text, **parse_claim(text, sentence).check(metrics, errors or {})}
        for sentence, text in claims.items()
    ]
