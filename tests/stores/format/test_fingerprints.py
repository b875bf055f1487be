"""Fingerprints depend on values alone, and differences are told in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores import explain_difference, fingerprint

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
INGREDIENTS = st.dictionaries(st.text(max_size=5), JSON, max_size=4)


@given(INGREDIENTS)
def test_key_order_does_not_matter(ingredients: dict) -> None:
    assert fingerprint(ingredients) == fingerprint(dict(reversed(list(ingredients.items()))))
    assert explain_difference(ingredients, dict(reversed(list(ingredients.items())))) == []


def test_it_is_the_digest_of_canonical_json() -> None:
    # printf '{"a":{"é":[1,null]},"b":2}' | sha256sum
    expected = "b0a11b29beaaa100257f9949ef7e8e3b320ec44a9a59684280480bed2e455eb1"
    assert fingerprint({"b": 2, "a": {"é": [1, None]}}) == expected


def test_a_changed_ingredient_is_named() -> None:
    old = {"encoder": {"layer": 8, "norm": "off"}, "size": 224}
    new = {"encoder": {"layer": 11, "norm": "off"}, "size": 224, "seed": 1}
    assert explain_difference(old, new) == ["encoder.layer: 8 → 11", "seed: (none) → 1"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", object(), {1, 2}])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON"):
        fingerprint({"a": value})
