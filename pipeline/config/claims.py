"""Claims of a recipe: comparisons of its variants' figures, and whether they hold."""

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config.values import RecipeError

# variant[figure], perhaps times a factor; or a number.
FIGURE = r"(?:(?P<factor{n}>[0-9.]+) ?\* ?)?(?P<variant{n}>[A-Za-z0-9._-]+)\[(?P<figure{n}>[^\]]+)\]"
SIDE = rf"(?:{FIGURE}|(?P<number{{n}}>[0-9.]+))"
CLAIM = re.compile(SIDE.format(n=1) + r" (?P<sign><=|<|>=|>) " + SIDE.format(n=2))
SIGNS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}
# variant -> figure -> value.
Figures = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class Quantity:
    """A number, or a figure of a variant times a factor."""

    factor: float
    variant: str | None = None
    figure: str | None = None

    def value(self, figures: Figures) -> float | None:
        """None where the variant has no such figure."""
        if self.variant is None or self.figure is None:
            return self.factor
        found = figures.get(self.variant, {}).get(self.figure)
        return None if found is None else self.factor * found


@dataclass(frozen=True)
class Claim:
    """That one quantity is less or more than another."""

    left: Quantity
    sign: str
    right: Quantity

    def judged(self, figures: Figures) -> dict[str, Any]:
        """The two values as `measured`, and the `outcome`: holds, does not hold, or not measured."""
        left, right = self.left.value(figures), self.right.value(figures)
        if left is None or right is None:
            return {"measured": "-", "outcome": "not measured"}
        holds = SIGNS[self.sign](left, right)
        return {
            "measured": f"{left:.4g} {self.sign} {right:.4g}",
            "outcome": "holds" if holds else "does not hold",
        }


def parse_claim(text: str, where: str) -> Claim:
    """Read `1.1 * variant[figure] <= other[figure]`; a side may also be a number.

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
    return Quantity(float(factor or 1), found[f"variant{number}"], found[f"figure{number}"])


def judge_claims(claims: Mapping[str, str], figures: Figures) -> list[dict[str, Any]]:
    """A line for each claim: the sentence, what was compared, the values and the outcome."""
    return [
        {"claim": sentence, "compared": text, **parse_claim(text, sentence).judged(figures)}
        for sentence, text in claims.items()
    ]
