"""The packages import in one direction, and nothing unsafe or local to one machine is committed."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "stores": {"stores"},
    "fae": {"fae"},
    "jobs": {"jobs", "stores", "fae"},
    "pipeline": {"pipeline", "jobs", "stores", "fae"},
}
PACKAGES = set(MAY_IMPORT)


def imported(file: Path) -> set[str]:
    """Top-level names that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; name the package"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_point_one_way(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        wrong = (imported(file) & PACKAGES) - MAY_IMPORT[package]
        assert not wrong, f"{file.relative_to(ROOT)} imports {sorted(wrong)}"


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
