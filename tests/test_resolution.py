"""Every extra can be resolved without long searches: by pip 23.2 and today's, on Python 3.11 and 3.13."""

import os
import resource
import subprocess
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
EXTRAS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
SECONDS = 120  # of a processor: the network and other work on the machine are not counted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def find_python(version: str) -> Path | None:
    """An interpreter of that version: pyenv's or on the PATH."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [*sorted(root.glob(f"versions/{version}.*/bin")), *map(Path, os.get_exec_path())]
    names = [folder / f"python{version}" for folder in folders]
    return next((name for name in names if name.is_file()), None)


@pytest.fixture(scope="module", params=[("3.11", "==23.2"), ("3.11", ""), ("3.13", "==23.2"), ("3.13", "")], ids=str)
def python(request, tmp_path_factory):
    """An interpreter in a venv of its own with that pip."""
    version, pip = request.param
    interpreter = find_python(version)
    if interpreter is None:
        pytest.skip(f"no Python {version} here")
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([interpreter, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--upgrade", f"pip{pip}"], check=True)
    return venv / "bin" / "python"


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_resolved_without_long_searches(python, extra):
    before = processor_seconds()
    command = [python, "-m", "pip", "install", "--dry-run", "--quiet", "--progress-bar", "off", f"{PROJECT}[{extra}]"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    assert processor_seconds() - before < SECONDS


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
