"""Numbers and paths as a person reads them: rates, durations, bytes, shares."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stores.backends import Location, is_url


def format_number(value: float) -> str:
    """Three metrics or so: 1,234 · 143 · 14.3 · 0.52."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def format_seconds(seconds: float) -> str:
    """40 s, 3 min 20 s, 2 h 05 min, 3 d 04 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 72 else f"{hours // 24} d {hours % 24:02d} h"


def format_fact(value: Any) -> str:
    """A float in four metrics, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_facts(facts: Mapping[str, Any]) -> list[str]:
    """`3/12 shards`, then `name=value` of the others, shares in percent; mappings are left out."""
    plain = {name: value for name, value in facts.items() if not isinstance(value, Mapping)}
    shards = [f"{plain.pop('shards_done'):,}/{plain.pop('shards'):,} shards"] if "shards_done" in plain else []
    return [*shards, *(f"{name}={_named_fact(name, value)}" for name, value in plain.items())]


def _named_fact(name: str, value: Any) -> str:
    """A share as a percentage whose digits mean something: 37 %, 1.2 %, and 0 % for what is below a thousandth."""
    if not name.endswith("_share") or not isinstance(value, float):
        return format_fact(value)
    return f"{100 * value:.0f} %" if value >= 0.1 or value < 0.0005 else f"{100 * value:.1f} %"


def format_shares(parts: Mapping[str, float]) -> str:
    """`decode 61 %  encode 30 %  write 9 %`, the largest first."""
    whole = sum(parts.values())
    ordered = sorted(parts.items(), key=lambda part: (-part[1], part[0]))
    return "  ".join(f"{name} {100 * value / whole:.0f} %" for name, value in ordered) if whole > 0 else ""


def format_bytes(num_bytes: float) -> str:
    """1.5 GB, 320 kB."""
    value = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def shown_path(path: Location, root: Path) -> str:
    """The path of what lies below `root` begins as `root` was given, relative or not; others stay as they are."""
    if is_url(path) or not Path(path).is_relative_to(root.absolute()):
        return str(path)
    return str(root / Path(path).relative_to(root.absolute()))
