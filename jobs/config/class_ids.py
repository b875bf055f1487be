"""Class ids as text: how `--classes` takes them and how a run's record keeps those that it was trained on."""

import re
from collections.abc import Iterable, Mapping

SHOWN_NAMES = 5


def format_ids(ids: Iterable[int]) -> str:
    """Different ids in ascending order as text: `0-4,7`."""
    spans: list[list[int]] = []
    for number in sorted(set(ids)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)


def parse_ids(text: str) -> list[int]:
    """The ids of such a text, in its order.

    Raises:
        ValueError: a part is neither an id nor a span of ids.
    """
    spans = [(part, _span(part.strip())) for part in text.split(",") if part]
    for part, span in spans:
        if span is None:
            raise ValueError(f"class ids: expected ids such as 0,3,7 or 0-9; received {part!r}")
    return [number for _, span in spans for number in span or ()]


def parse_classes(text: str | None, num_classes: int, class_names: list[str] | None) -> list[int]:
    """Class ids of `0,3,7`, `0-9` or names; all of them when absent. `id:3` and `name:3` say which of both is meant.

    Raises:
        ValueError: an unknown name or id, or digits that are the id of one class and the name of another.
    """
    if text is None:
        return list(range(num_classes))
    names = {name: number for number, name in enumerate(class_names or [])}
    if text in names and _span(text) is None:  # a name may hold commas
        return [names[text]]
    return [number for part in text.split(",") for number in _parse_class(part.strip(), num_classes, names)]


def _parse_class(part: str, num_classes: int, names: Mapping[str, int]) -> Iterable[int]:
    kind, _, rest = part.partition(":")
    if kind == "name" and rest in names:
        return [names[rest]]
    ids = _span(rest if kind == "id" else part)
    known = ids is not None and ids[-1] < num_classes
    if part in names and not known:
        return [names[part]]
    if ids is None:
        raise ValueError(
            f"classes: expected ids such as 0,3,7 or 0-9, or class names; received {part!r}{_named_like(part, names)}"
        )
    if known and kind != "id" and _is_another(part, ids, names):
        raise ValueError(
            f"classes: expected ids or names; received {part!r}, while class names are numbers other than their ids; "
            f"write id:{part} for ids, name:{part} for a name"
        )
    if not known:
        raise ValueError(f"classes: expected ids below {num_classes}; received {ids[-1]}")
    return ids


def _named_like(part: str, names: Mapping[str, int]) -> str:
    """Names that hold the text (`tench` of `n01440764_tench`), else some names of any kind; nothing without names."""
    holding = [name for name in names if part and part.casefold() in name.casefold()]
    if holding:
        return f"; did you mean {' or '.join(map(repr, holding[:SHOWN_NAMES]))}?"
    shown = [*[*names][:SHOWN_NAMES], *(["…"] if len(names) > SHOWN_NAMES else [])]
    return f"; names are {', '.join(shown)}" if shown else ""


def _span(text: str) -> range | None:
    span = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", text)
    found = range(int(span[1]), int(span[2] or span[1]) + 1) if span else range(0)
    return found or None


def _is_another(part: str, ids: range, names: Mapping[str, int]) -> bool:
    """Whether digits that are ids are also the name of a class with another id."""
    if part in names and list(ids[:2]) != [names[part]]:
        return True
    return any(number in ids and name != number for text, name in names.items() if (number := _whole(text)) is not None)


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else None
