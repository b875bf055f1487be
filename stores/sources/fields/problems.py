"""Fields that could not be read as they are: counted by reason, so that one odd row ends no run and none is silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from stores.sources.paths import SourceError
from stores.sources.summary import Problem

__all__ = ["TEXT", "Problems"]

T = TypeVar("T")
TEXT = "text beside an image"


class Problems:
    """Counts what went wrong by reason, with the first example of each."""

    def __init__(self) -> None:
        self._found: dict[str, Problem] = {}
        self._tries: dict[str, int] = {}
        self._errors: dict[str, SourceError] = {}
        self._failed: dict[str, int] = {}

    def add(self, reason: str, example: str) -> None:
        """Count one row or file."""
        known = self._found.get(reason)
        self._found[reason] = Problem(reason, known.count + 1 if known else 1, known.example if known else example)

    def attempt(self, role: str, parse: Callable[[object, str], T], value: object, where: str) -> T | None:
        """`parse(value, where)`, or None with the problem counted under the role ("label", "caption", …)."""
        if value is None:
            return None
        self._tries[role] = self._tries.get(role, 0) + 1
        try:
            return parse(value, where)
        except SourceError as error:
            self._failed[role] = self._failed.get(role, 0) + 1
            self._errors.setdefault(role, error)
            self.add(f"{role} that cannot be read: the row has none", str(error))
            return None

    def check(self, *roles: str) -> None:
        """Raise the first error when not one value of these roles could be read: then the layout is wrong, not a row.

        Without roles it is raised when not one value of any role could be read; a text that holds values is no value.
        """
        succeeded = any(self._tries[role] > self._failed.get(role, 0) for role in self._tries if role != TEXT)
        for role, error in self._errors.items():
            hopeless = self._failed[role] == self._tries[role]
            if hopeless and (role in roles or (not roles and not succeeded)):
                raise error

    def merge(self, other: Problems) -> None:
        """Count the problems of another too."""
        for problem in other.to_list():
            known = self._found.get(problem.reason)
            count = problem.count + (known.count if known else 0)
            self._found[problem.reason] = Problem(problem.reason, count, known.example if known else problem.example)
        for role in other._tries:
            self._tries[role] = self._tries.get(role, 0) + other._tries[role]
            self._failed[role] = self._failed.get(role, 0) + other._failed.get(role, 0)
        for role, error in other._errors.items():
            self._errors.setdefault(role, error)

    def to_list(self) -> list[Problem]:
        """The problems, the most frequent first."""
        return sorted(self._found.values(), key=lambda problem: (-problem.count, problem.reason))
