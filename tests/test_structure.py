"""The packages and their sub-packages import in one direction and through doors; nothing unsafe is committed."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("stores", "fae", "jobs", "pipeline")
MAY_IMPORT = {
    "stores": {"stores"},
    "fae": {"fae"},
    "jobs": {"jobs", "stores", "fae"},
    "pipeline": {"pipeline", "jobs", "stores", "fae"},
}
# Each room may import those before it in its package; rooms between bars do not know each other.
ROOMS = {
    "stores": "backends | format > core > write | loader | care > exchange > sources > testing",
    "fae": "rng | weights | optim | nn | images | principal | flops > grids | encoders | sampling > models | losses "
    "> generators | metrics > probes > export > testing",
    "jobs": "config > cluster | loggers > runs > executors > extraction > loop > following | remote > train > sampling "
    "> evaluation > testing",
    "pipeline": "config > console > drawing > artifacts > stages > plan | evaluation | view > report > inspection "
    "> workflow > commands > cli",
}
MOST_MODULES, MOST_LINES = 15, 300


def files_of(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    return files


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for package in PACKAGES for file in files_of(package)}


def room_of(module: str) -> str:
    """`stores.format.shard` -> `stores.format`; a file beside the rooms is a room of its own."""
    return ".".join(module.split(".")[:2])


@cache
def imports(file: Path) -> list[tuple[str, str]]:
    """(module, name) of everything that a file imports, wherever in the file; the name is empty for `import module`."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; name the package"
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


def imported(file: Path) -> set[str]:
    """Top-level names that a file imports."""
    return {module.split(".")[0] for module, _ in imports(file)}


def own_imports(module: str) -> Iterator[str]:
    """Our own modules that a module imports; a door stands for its room."""
    for target, name in imports(MODULES[module]):
        if target.split(".")[0] in PACKAGES:
            yield f"{target}.{name}" if f"{target}.{name}" in MODULES else target


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    for file in files_of(package):
        wrong = (imported(file) & set(PACKAGES)) - MAY_IMPORT[package]
        assert not wrong, f"{file.relative_to(ROOT)} imports {sorted(wrong)}"


def ranks(package: str) -> dict[str, int]:
    levels = [level.split("|") for level in ROOMS[package].split(">")]
    return {f"{package}.{name.strip()}": rank for rank, level in enumerate(levels) for name in level}


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_only_rooms_below_them(package):
    rank = ranks(package)
    rooms = {room_of(module) for module in MODULES if module.startswith(f"{package}.")}
    assert rooms == set(rank)
    for module in MODULES:
        for target in own_imports(module):
            here, there = room_of(module), room_of(target)
            if here != there and here in rank and there in rank:
                assert rank[there] < rank[here], f"{module} imports {target}"


@pytest.mark.parametrize("package", PACKAGES)
def test_other_rooms_are_entered_by_their_doors(package):
    for file in files_of(package):
        here = room_of(module_of(file))
        for target, _ in imports(file):
            if target.split(".")[0] in PACKAGES and room_of(target) != here:
                assert target.count(".") <= 1, f"{file.relative_to(ROOT)} imports {target}; use its room's door"


def test_every_room_has_a_door():
    for package in PACKAGES:
        for folder in (path for path in (ROOT / package).iterdir() if path.is_dir() and path.name not in NO_ROOMS):
            text = (folder / "__init__.py").read_text()
            assert "attach_stub" in text, folder
            assert "import" in (ast.get_docstring(ast.parse(text)) or ""), f"{folder}: say what it may import"
            assert (folder / "__init__.pyi").stat().st_size or folder.name in {"testing"}, folder


NO_ROOMS = {"__pycache__", "recipes"}


def test_a_class_name_is_used_once():
    """A leading underscore makes no other name."""
    places: dict[str, list[str]] = {}
    for module, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append(f"{module}:{node.lineno}")
    assert not (twice := {name: found for name, found in places.items() if len(found) > 1}), twice


# Words that the field has another one for: image, stats, orphan, backup, repair, condition, decode, …
RETIRED = (
    "crew donor filler keeper laps leftover leftovers ledger mend mends paint painter paints picture pictures showcase "
    "showings spare stillborn strangers survey tally told twin twins"
)


@pytest.mark.parametrize("package", PACKAGES)
def test_retired_words_do_not_come_back_in_names(package):
    retired = set(RETIRED.split())
    for file in files_of(package):
        for token in tokenize.generate_tokens(io.StringIO(file.read_text()).readline):
            if token.type == tokenize.NAME:
                words = {word.lower() for word in re.findall("[A-Z]?[a-z]+", token.string)}
                assert not words & retired, f"{file.relative_to(ROOT)}:{token.start[0]}: {token.string}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_at_a_door_hides_a_module(package):
    for stub in (ROOT / package).rglob("__init__.pyi"):
        for node in ast.parse(stub.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                hidden = {alias.name for alias in node.names} & {file.stem for file in stub.parent.glob("*.py")}
                assert not hidden, f"{stub.relative_to(ROOT)}: {sorted(hidden)} is a module too"


def test_no_file_imports_itself_by_way_of_others():
    graph = {module: set(own_imports(module)) - {module} for module in MODULES}
    done, path = set(), []

    def visit(module: str) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for target in sorted(graph.get(module, ())):
            visit(target)
        done.add(path.pop())

    for module in sorted(graph):
        visit(module)


def test_no_folder_is_a_crowd():
    for package in PACKAGES:
        sizes = Counter(file.parent for file in files_of(package) if file.name != "__init__.py")
        print(package, {str(folder.relative_to(ROOT)): size for folder, size in sorted(sizes.items())})
        crowded = {str(folder.relative_to(ROOT)): size for folder, size in sizes.items() if size > MOST_MODULES}
        assert not crowded, crowded


def test_no_file_is_long():
    long = {str(file): count for file in MODULES.values() if (count := len(file.read_text().splitlines())) > MOST_LINES}
    assert not long, long


@pytest.mark.parametrize("package", ["stores", "fae"])
def test_stores_and_models_know_no_ray(package):
    for file in (ROOT / package).rglob("*.py"):
        assert "ray" not in imported(file), file


def test_no_package_is_named_like_a_diffusers_pipeline():
    from diffusers import pipelines

    taken = {path.name for path in Path(pipelines.__path__[0]).iterdir() if path.is_dir()}
    ours = {path.parent.name for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")}
    assert ours
    assert not ours & taken


def test_nothing_is_unpickled():
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text()
            assert "pickle.load" not in text, file
            assert "torch.load(" not in text, file
