"""Sizes as settings: a side or HEIGHTxWIDTH, in recipes, in --set, in options, and in bounds."""

from dataclasses import dataclass

import pytest

from jobs.config.settings import check, setting
from jobs.config.sizes import Size, height_width, parse_size
from pipeline.config.values import RecipeError, field_type, from_text


@dataclass(frozen=True)
class Sized:
    size: Size = setting(256, "A size.", low=8)  # noqa: RUF009
    other: Size | None = setting(None, "Another, or none.")  # noqa: RUF009


@pytest.mark.parametrize(
    ("text", "size", "sides"),
    [("384", 384, (384, 384)), ("384x384", 384, (384, 384)), ("320x192", "320x192", (320, 192)), (64, 64, (64, 64))],
)
def test_squares_are_a_number_and_others_a_text(text, size, sides):
    assert parse_size(text) == size
    assert height_width(parse_size(text)) == sides


@pytest.mark.parametrize("text", ["", "0", "x64", "64x", "64x0", "-64", "6.4", "64x64x3", "1000000", "auto"])
def test_other_text_is_no_size(text):
    with pytest.raises(ValueError, match="expected a number, or HEIGHTxWIDTH such as 320x192; received"):
        parse_size(text)


def test_settings_of_sizes_are_read_and_may_be_absent():
    assert from_text("320x192", Sized, "size", "--set") == "320x192"
    assert from_text("64", Sized, "other", "--set") == 64
    assert from_text("null", Sized, "other", "--set") is None
    assert field_type(Sized, "size") == (parse_size, False)
    with pytest.raises(RecipeError, match=r"--set: expected a number, or HEIGHTxWIDTH .*; received 'wide'"):
        from_text("wide", Sized, "size", "--set")


def test_bounds_hold_for_both_sides():
    check(Sized(size="16x8"), "store")
    with pytest.raises(ValueError, match=r"store.size: expected a value from 8 to inf; received '16x7'"):
        check(Sized(size="16x7"), "store")
