"""Claims: read, judged by metrics, and refused when they are no comparison."""

import pytest

from pipeline.config.claims import check_claims, parse_claim
from pipeline.config.values import RecipeError

FIGURES = {"fae": {"FD @100": 20.0, "loss": 0.25}, "seed-1": {"loss": 0.5}}


@pytest.mark.parametrize(
    ("text", "measured", "outcome"),
    [
        ("fae[loss] < seed-1[loss]", "0.25 < 0.5", "holds"),
        ("fae[loss] >= seed-1[loss]", "0.25 >= 0.5", "does not hold"),
        ("fae[loss] <= 0.5 * seed-1[loss]", "0.25 <= 0.25", "holds"),
        ("fae[FD @100] > 20", "20 > 20", "does not hold"),
        ("0.2 < fae[loss]", "0.2 < 0.25", "holds"),
        ("fae[loss] < seed-1[FD @100]", "-", "not measured"),
        ("fae[loss] < other[loss]", "-", "not measured"),
    ],
)
def test_a_claim_is_judged_by_the_metrics(text, measured, outcome):
    (line,) = check_claims({"so it is": text}, FIGURES)
    assert line == {"claim": "so it is", "compared": text, "measured": measured, "outcome": outcome}


def test_a_difference_within_two_standard_errors_is_marked():
    claims = {"so it is": "fae[loss] < 1 * seed-1[loss]"}
    for error, outcome in ((0.05, "holds"), (0.2, "holds, within two standard errors")):
        (line,) = check_claims(claims, FIGURES, {"fae": {"loss": error}})
        assert (line["measured"], line["outcome"]) == (f"0.25 ± {error:.2g} < 0.5", outcome)


@pytest.mark.parametrize("text", ["", "fae[loss]", "fae < 1", "fae[loss] == 1", "fae[loss] < x * seed-1[loss]"])
def test_what_is_no_comparison_is_refused_with_its_place(text):
    with pytest.raises(RecipeError, match=r"^recipe\.yaml:3: expected a comparison"):
        parse_claim(text, "recipe.yaml:3")
