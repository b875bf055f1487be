"""The code of an exported pipeline as one package: the modules it is made of, side by side, with relative imports.

diffusers copies the files that `pipeline.py` names, and of the hub's also those that these name in lines of the form
"from .module import name". Modules of the package therefore import from the package itself ("from . import name"),
whose `__init__` imports them in order.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fae.export.model_classes import GENERATORS

_ROOT = Path(__file__).parents[2]
_PIPELINE = "fae.export.pipeline_fae"
_HEAD = "# {file} of fae-pipe (Apache-2.0); its imports of other modules of fae are made relative.\n"


@dataclass(frozen=True)
class _Import:
    """`from module import names` as it stands in lines first to last of a file: (its module, name, name here)."""

    first: int
    last: int
    indent: int
    names: list[tuple[str, str, str | None]]


def bundle(generator: str) -> dict[str, str]:
    """The text of each file of the package, by name.

    Args:
        generator: name of the generator's class; other families' models are left out.

    Raises:
        ValueError: two modules, or two names that others import, have the same name.
    """
    order: list[str] = []
    for module in (_PIPELINE, f"fae.models.{GENERATORS[generator]}"):
        _visit(module, order)
    names = {module: set[str]() for module in order}
    names[f"fae.models.{GENERATORS[generator]}"].add(generator)
    names[_PIPELINE].add("FAEPipeline")
    for module in order:
        for found in _imports(module):
            for target, name, _ in found.names:
                if target in names and f"{target.rpartition('.')[0]}.{name}" != target:
                    names[target].add(name)
    _check_distinct(names)
    files = {f"{_short(module)}.py": _relative(module) for module in order}
    return {"__init__.py": _init(order, names), **files}


def _visit(module: str, order: list[str]) -> None:
    """Append a module after everything of `fae` that it imports when it is imported itself."""
    if module in order:
        return
    for found in _imports(module, at_import=True):
        for target, _, _ in found.names:
            _visit(target, order)
    order.append(module)


def _imports(module: str, at_import: bool = False) -> Iterator[_Import]:
    """What a module imports of `fae`; `at_import`: not what its functions import when they are called."""
    for node in _walk(ast.parse(_file(module).read_text("utf-8")), at_import):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "fae":
            source = str(node.module)
            names = [(_home(source, alias.name), alias.name, alias.asname) for alias in node.names]
            yield _Import(node.lineno, node.end_lineno or node.lineno, node.col_offset, names)


def _walk(node: ast.AST, at_import: bool) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not (at_import and isinstance(child, ast.FunctionDef)):
            yield from _walk(child, at_import)


def _home(source: str, name: str) -> str:
    """The module that a name imported from `source` is written in: `source` is a module, or a sub-package's door."""
    if _file(source).exists():
        return source
    if _file(f"{source}.{name}").exists():
        return f"{source}.{name}"
    door = ast.parse((_ROOT.joinpath(*source.split(".")) / "__init__.pyi").read_text("utf-8"))
    lines = (node for node in door.body if isinstance(node, ast.ImportFrom))
    return f"{source}." + next(str(line.module) for line in lines if any(one.asname == name for one in line.names))


def _relative(module: str) -> str:
    """A module's text with its imports of `fae` written as imports from its package."""
    lines = _file(module).read_text("utf-8").splitlines()
    for found in sorted(_imports(module), key=lambda one: -one.first):
        names = ", ".join(name if here is None else f"{name} as {here}" for _, name, here in found.names)
        lines[found.first - 1 : found.last] = [f"{' ' * found.indent}from . import {names}"]
    return _HEAD.format(file=_file(module).relative_to(_ROOT).as_posix()) + "\n".join(lines) + "\n"


def _init(order: list[str], names: dict[str, set[str]]) -> str:
    lines = [
        '"""The code of this folder\'s pipeline; each module takes from here what the ones before it define."""',
        "",
    ]
    for module in order:
        short = _short(module)
        lines.append(f"from . import {short}")
        lines += [f"{name} = {short}.{name}" for name in sorted(names[module])]
    return "\n".join(lines) + "\n"


def _check_distinct(names: dict[str, set[str]]) -> None:
    taken = [_short(module) for module in names] + [name for some in names.values() for name in some]
    twice = sorted({name for name in taken if taken.count(name) > 1})
    if twice:
        raise ValueError(f"exported code: expected names that are used once; received {', '.join(twice)} twice")


def _short(module: str) -> str:
    return module.rpartition(".")[2]


def _file(module: str) -> Path:
    return _ROOT.joinpath(*module.split(".")).with_suffix(".py")
