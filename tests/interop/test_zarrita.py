"""zarrita, the reader of browsers and node, reads every array: `ZARRITA` names a folder in which npm installed it."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.interop.conftest import Case

MODULES = Path(os.environ.get("ZARRITA", ""), "node_modules").absolute()
NODE = shutil.which("node")
if NODE is None or not (MODULES / "zarrita").is_dir():
    pytest.skip("needs node and zarrita (make test-interop)", allow_module_level=True)


def test_reads(case: Case, tmp_path: Path) -> None:
    # node looks for packages beside the script.
    script = shutil.copy(Path(__file__).with_name("zarrita.mjs"), tmp_path)
    (tmp_path / "node_modules").symlink_to(MODULES)
    words = [str(NODE), "--preserve-symlinks", str(script), str(case.folder), *case.arrays]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [hashlib.sha256(values.tobytes()).hexdigest() for values in case.arrays.values()]
