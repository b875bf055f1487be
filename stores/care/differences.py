"""What differs between two stores: the ingredients, and the rows."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stores.core import Store
from stores.format import explain_difference

# What may differ in a row that both have, and how it is called.
COMPARED = {"sha256": "content", "label": "label", "split": "split", "caption": "caption", "status": "status"}


@dataclass(frozen=True)
class Difference:
    """From store A to store B. Rows are named by their keys, sorted.

    `ingredients`: one line each, such as `encoder.layer: 8 → 11`. `renamed`: (old key, new key) of images with the
    same bytes; they count neither as added nor as removed. `changed`: by what changed ("content", "label", "split",
    "caption", "status").
    """

    same_values: bool
    ingredients: list[str]
    added: list[str]
    removed: list[str]
    renamed: list[tuple[str, str]]
    changed: dict[str, list[str]]

    @property
    def equal(self) -> bool:
        """Whether both hold the same rows of the same ingredients, in whatever order."""
        return not (self.ingredients or self.added or self.removed or self.renamed or any(self.changed.values()))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "renamed": [list(pair) for pair in self.renamed], "equal": self.equal}


def diff(a: Store, b: Store) -> Difference:
    """Compare two stores by their manifests and indexes; no values are read."""
    left, right = _comparable(a.index), _comparable(b.index)
    both = left.join(right, "key", join_type="inner", right_suffix="_after")
    changed = {word: _changed(both, column) for column, word in COMPARED.items()}
    removed, added = _only(left, right), _only(right, left)
    renamed = _renamed(removed, added)
    old, new = {pair[0] for pair in renamed}, {pair[1] for pair in renamed}
    return Difference(
        same_values=a.content_id == b.content_id,
        ingredients=explain_difference(a.manifest.ingredients, b.manifest.ingredients),
        added=[key for key in added if key not in new],
        removed=[key for key in removed if key not in old],
        renamed=renamed,
        changed=changed,
    )


def _comparable(table: pa.Table) -> pa.Table:
    """The compared columns without nulls or lists, which can be neither compared nor joined."""
    table = table.select(["key", *COMPARED])
    # -1 is what a missing label is called everywhere else; captions are joined by what no text line holds.
    columns = {
        "label": pc.fill_null(table["label"], -1),
        "caption": pc.fill_null(pc.binary_join(table["caption"], "\0"), ""),
    }
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def _changed(both: pa.Table, column: str) -> list[str]:
    differs = pc.not_equal(both[column], both[f"{column}_after"])
    return sorted(both.filter(differs)["key"].to_pylist())


def _only(one: pa.Table, other: pa.Table) -> dict[str, str]:
    """Key -> sha256 of the rows that the other does not have, sorted."""
    rows = one.join(other.select(["key"]), "key", join_type="left anti").sort_by("key")
    return dict(zip(rows["key"].to_pylist(), rows["sha256"].to_pylist(), strict=True))


def _renamed(removed: dict[str, str], added: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of a removed and an added key with the same content, each used once."""
    waiting: dict[str, list[str]] = {}
    for key, digest in reversed(added.items()):
        waiting.setdefault(digest, []).append(key)
    return [(key, waiting[digest].pop()) for key, digest in removed.items() if waiting.get(digest)]
