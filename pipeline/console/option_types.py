"""Kinds of command-line options: under a heading of the help, and of values that click has no type for."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobs.config import height_width, parse_size
from stores.backends import is_url

GENERAL = "General"
Function = TypeVar("Function", bound=Callable[..., Any])
if TYPE_CHECKING:
    Converter = click.ParamType[Any]  # generic in click's types only since 8.4
else:
    Converter = click.ParamType


class GroupedOption(click.Option):
    """An option under a heading of `--help`; `setting` is the (section, key) of the recipe that it sets, if any."""

    def __init__(
        self, *args: Any, group: str = GENERAL, setting: tuple[str, str] | None = None, **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.group, self.setting = group, setting


def option(group: str, *names: str, **attributes: Any) -> Callable[[Function], Function]:
    """`click.option` under the heading `group` of the help."""
    return click.option(*names, cls=GroupedOption, group=group, **attributes)


class LocalPath(click.Path):
    """A path of this machine. A URL, which would else become a folder named after its scheme, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text of the option."""
        if is_url(value):
            self.fail(f"expected a path of this machine; received the URL {value}; give a path", param, ctx)
        return super().convert(value, param, ctx)


class LocationType(Converter):
    """A folder, which with `exists` must be there, or a URL."""

    def __init__(self, name: str, exists: bool = False) -> None:
        self.name, self.folder = name, click.Path(exists=exists, file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text of the option."""
        return value if is_url(value) else self.folder.convert(value, param, ctx)


class WholeNumber(click.IntRange):
    """An integer in a range, called so in errors."""

    name = "integer"


class FiniteNumber(click.FloatRange):
    """A number in a range; NaN, which compares with nothing, does not slip through."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text of the option."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"expected a finite number; received {value!r}.", param, ctx)
        return number


class ImageSize(Converter):
    """A side, or HEIGHTxWIDTH, both sides of at least `low`."""

    name = "size"

    def __init__(self, low: float | None) -> None:
        self.low = low or 1

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text of the option."""
        try:
            size = parse_size(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if min(height_width(size)) < self.low:
            self.fail(f"expected sides of at least {self.low:g}; received {value!r}.", param, ctx)
        return size


class OrWord(Converter):
    """What `inner` takes, or a word that stands for None."""

    def __init__(self, inner: Converter, word: str) -> None:
        self.inner, self.word, self.name = inner, word, f"{inner.name} or {word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text of the option."""
        if value == self.word:
            return None
        try:
            return self.inner.convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message.rstrip('.')}; or give {self.word}.", param, ctx)
