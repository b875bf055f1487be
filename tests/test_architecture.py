"""The journeys of docs/architecture.md: every file and function that they name is there, and they are short.

That they are what the code does: tests/pipeline/workflow/test_journeys.py.
"""

import ast
import re
from pathlib import Path

import pytest

from journeys import JOURNEYS, ROOT, STEP, TEXT

MOST_FILES = {"a": 12, "b": 15, "c": 4}


def defined(file: Path) -> set[str]:
    """Names of the functions, classes and methods of a file, these as `Class.name`."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return names


def test_the_three_journeys_are_there():
    assert JOURNEYS.keys() == MOST_FILES.keys()


@pytest.mark.parametrize("journey", sorted(MOST_FILES))
def test_a_journey_names_files_and_functions_that_exist_and_few_of_them(journey):
    steps = STEP.findall(JOURNEYS[journey])
    assert len(steps) == len(re.findall(r"^ *- ", JOURNEYS[journey], re.MULTILINE)), "a line that is no step"
    for shown, linked, name in steps:
        assert shown == linked
        assert name in defined(ROOT / linked), f"{linked}: no {name}"
    files = {linked for _, linked, _ in steps}
    assert len(files) <= MOST_FILES[journey], sorted(files)


def test_the_plan_names_every_sub_package():
    for package in ("stores", "fae", "jobs", "pipeline"):
        (row,) = re.findall(rf"^\| \[{package}\].*$", TEXT, re.MULTILINE)
        rooms = {door.parent.name for door in (ROOT / package).glob("*/__init__.py")}
        assert rooms <= set(re.findall(r"\w+", row)), package


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(\.\./([^)]+)\)", TEXT):
        assert (ROOT / target).exists(), target
