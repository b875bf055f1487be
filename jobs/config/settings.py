"""Settings that describe themselves: dataclass fields with help, range and choices, for recipes and options."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from jobs.config.sizes import height_width


def setting(
    default: Any,
    help: str,
    *,
    metavar: str | None = None,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
    group: str = "",
    flag: str | None = None,
    absent: str | None = None,
    omit_default: bool = False,
    form: Callable[[Any], None] | None = None,
) -> Any:
    """A dataclass field whose metadata states what may be written there.

    `low` and `high` are inclusive; of a size (`jobs.config.sizes`) they bound both sides. `group` heads the option in
    `--help`; `flag` is its name there where the field's own would not do; `absent` is a word for None. With
    `omit_default` the default is no ingredient of an artifact (see `ingredient_settings`). `form`
    raises a ValueError that begins with the field's name where a value has not the form that it needs. The unit
    belongs into the name or `help`.
    """
    metadata = {
        "help": help,
        "metavar": metavar,
        "low": low,
        "high": high,
        "choices": choices,
        "group": group,
        "flag": flag,
        "absent": absent,
        "omit_default": omit_default,
        "form": form,
    }
    return dataclasses.field(default=default, metadata=metadata)


def ingredient_settings(config: Any) -> dict[str, Any]:
    """All settings but those with `omit_default` that have their default.

    A method that came later is off by default: artifacts that were made before it keep their fingerprints.
    """
    omitted = {
        field.name
        for field in dataclasses.fields(config)
        if field.metadata.get("omit_default") and getattr(config, field.name) == field.default
    }
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in omitted}
    # As JSON has them: what is compared with a record must be equal to it.
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def check(config: Any, section: str) -> None:
    """Raise ValueError naming `section.key` when a value is outside its stated range, choices or form."""
    for field in dataclasses.fields(config):
        value, rule = getattr(config, field.name), field.metadata
        if value is None or not rule:
            continue
        key = f"{section}.{field.name}"
        if rule["form"] is not None:
            try:
                rule["form"](value)
            except ValueError as error:
                raise ValueError(f"{section}.{error}{_as_list(key, value)}") from None
        choices, low, high = rule["choices"], rule["low"], rule["high"]
        if choices is not None and value not in choices:
            raise ValueError(f"{key}: expected one of {', '.join(choices)}; received {value!r}")
        sides = height_width(value) if isinstance(value, str) and low is not None else (value,)
        if (low is not None and min(sides) < low) or (high is not None and max(sides) > high):
            bounds = f"{'-inf' if low is None else low} to {'inf' if high is None else high}"
            raise ValueError(f"{key}: expected a value from {bounds}; received {value!r}")


def _as_list(key: str, value: Any) -> str:
    """How several are written, where the one item of a list holds commas."""
    given = ",".join(value) if isinstance(value, tuple) else ""
    return f"; write several as a list: '{key}=[{given}]'" if "," in given else ""
