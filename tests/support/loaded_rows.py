"""The rows of a loader's batches."""

from collections.abc import Iterable
from typing import Any

from stores import Loader


def rows_of(batches: Iterable[dict[str, Any]]) -> list[list[int]]:
    return [batch["row"].tolist() for batch in batches]


def take(loader: Loader, count: int) -> list[list[int]]:
    batches = iter(loader)
    return [next(batches)["row"].tolist() for _ in range(count)]
