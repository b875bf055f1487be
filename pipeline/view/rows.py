"""Which rows of a store are looked at: by label, caption, split, and why they were rejected."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stores import Store


@dataclass(frozen=True)
class Query:
    """What is asked for; an empty text asks for nothing. `label` is a class by name or number."""

    label: str = ""
    caption: str = ""
    split: str = ""
    reason: str = ""
    status: str = ""
    page: int = 0

    @classmethod
    def parse(cls, fields: Mapping[str, str]) -> "Query":
        """Of a form's fields; unknown ones are passed over, and a page that is no number is the first."""
        texts = {name: fields.get(name, "") for name in ("label", "caption", "split", "reason", "status")}
        number = fields.get("page", "0")
        return cls(**texts, page=int(number) if number.isdecimal() and len(number) < 12 else 0)

    def at(self, page: int) -> str:
        """The same query on another page, as the end of a URL."""
        return urlencode({name: value for name, value in vars(replace(self, page=page)).items() if value})


@dataclass(frozen=True)
class Rows:
    """The rows of a store, with everything in its index."""

    store: Store

    @cached_property
    def table(self) -> pa.Table:
        """The index, in stored order."""
        return self.store.index.combine_chunks()

    @property
    def class_names(self) -> list[str]:
        """Names by label; none when the store has no names."""
        return list(self.store.attributes.get("class_names") or [])

    def reasons(self) -> list[str]:
        """Why rows were rejected, each once."""
        return sorted(reason for reason in pc.unique(self.table["reason"]).to_pylist() if reason)

    @cached_property
    def filters(self) -> set[str]:
        """The fields of a query that can tell rows of this store apart."""
        rejected = not self.store.ok.all()
        counts = pc.list_value_length(self.table["caption"])
        useful = {
            "label": len(np.unique(self.store.labels)) > 1,
            "caption": bool(pc.any(pc.greater(counts, 0)).as_py()),
            "split": len(pc.unique(self.table["split"])) > 1,
            "status": rejected,
            "reason": rejected,
        }
        return {name for name, is_useful in useful.items() if is_useful}

    def matching(self, query: Query) -> np.ndarray:
        """int64 numbers of the rows that fit every part of the query."""
        fits = np.ones(self.store.num_rows, bool)
        for name, test in (("label", self._labels), ("caption", self._captions), ("reason", self._reasons)):
            if getattr(query, name):
                fits &= test(getattr(query, name))
        for name in ("split", "status"):
            if getattr(query, name):
                fits &= _true(pc.equal(self.table[name], getattr(query, name)))
        return np.flatnonzero(fits)

    def describe(self, row: int) -> dict[str, Any]:
        """A row of the index, with its class by name."""
        (found,) = self.table.slice(row, 1).to_pylist()
        label = found["label"]
        known = label is not None and 0 <= label < len(self.class_names)
        return {**found, "class_name": self.class_names[label] if known else label}

    def _labels(self, text: str) -> np.ndarray:
        if text in self.class_names:
            return _true(pc.equal(self.table["label"], self.class_names.index(text)))
        number = int(text) if text.isdecimal() and len(text) < 9 else -1
        return _true(pc.equal(self.table["label"], number))

    def _captions(self, text: str) -> np.ndarray:
        column = self.table["caption"].combine_chunks()
        found = _true(pc.match_substring(pc.list_flatten(column), text, ignore_case=True))
        fits = np.zeros(self.store.num_rows, bool)
        fits[pc.list_parent_indices(column).to_numpy()[found]] = True
        return fits

    def _reasons(self, text: str) -> np.ndarray:
        return _true(pc.match_substring(self.table["reason"], text, ignore_case=True))


def _true(mask: Any) -> np.ndarray:
    """A mask with nulls as false, bool (N,)."""
    return np.asarray(pc.fill_null(mask, False)).astype(bool)
