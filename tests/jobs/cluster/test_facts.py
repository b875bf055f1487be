"""What hosts run, compared: what is missing or other is named with what to install."""

import importlib.util
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cluster import facts as facts_of
from jobs.cluster.facts import CODE, DISTRIBUTIONS, HOST, PYTHON, code_digest, difference, host_facts

HERE = {HOST: "a", PYTHON: "3.11.7", "ray": "2.60.0", "torch": "2.9.0", CODE: "0123456789ab"}


def test_this_host_has_all_of_it():
    facts = host_facts()
    assert facts[HOST] == platform.node()
    assert facts[PYTHON] == platform.python_version()
    assert all(facts[name] for name in (*DISTRIBUTIONS, CODE))


def test_a_host_says_so_without_importing_anything_and_reads_each_module_once():
    # The check costs a host what is counted here; as Ray runs it, in a process that has imported nothing of ours.
    code = f"""
import json, sys
from pathlib import Path
sys.path.append({str(facts_of.__file__.partition("/jobs/")[0])!r})
read, read_bytes = [], Path.read_bytes
Path.read_bytes = lambda path: read.append(str(path)) or read_bytes(path)
facts = {{}}
exec(Path({facts_of.__file__!r}).read_text(), facts)
facts["host_facts"]()
ours = {{*facts["PACKAGES"], *facts["DISTRIBUTIONS"]}}
print(json.dumps([read, sorted(ours & {{name.partition(".")[0] for name in sys.modules}})]))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    read, imported = json.loads(ended.stdout)
    assert imported == []
    assert len(read) == len(set(read))
    assert {Path(file).suffix for file in read} == {".py"}
    assert sum(Path(file).stat().st_size for file in read) < 10e6


def test_equal_hosts_and_the_drivers_own_differ_in_nothing():
    assert difference(HERE, {**HERE, HOST: "b"}) is None
    assert difference(HERE, {**HERE, CODE: "edited"}) is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"torch": "2.8.0"}, "expected torch 2.9.0, as on a; received torch 2.8.0; install there: torch==2.9.0"),
        ({"torch": None}, "received torch none; install there: torch==2.9.0"),
        (
            {PYTHON: "3.12.1"},
            "expected Python 3.11.7, as on a; received Python 3.12.1; start its Ray with",
        ),
        ({CODE: None}, "received fae-pipe's code none; install the same fae-pipe there"),
    ],
)
def test_what_is_other_is_named_with_what_to_do(other, message):
    assert message in str(difference(HERE, {**HERE, HOST: "b", **other}))


def test_the_digest_is_of_every_module_that_workers_import(tmp_path, monkeypatch):
    def find(name):
        folder = tmp_path / name
        return importlib.util.spec_from_file_location(name, folder / "__init__.py")

    for package in facts_of.PACKAGES:
        (tmp_path / package / "inner").mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text("")
        (tmp_path / package / "inner" / "module.py").write_text("x = 1")
    monkeypatch.setattr(facts_of.importlib.util, "find_spec", find)
    before = code_digest()
    assert before == code_digest()
    Path(tmp_path / "jobs" / "inner" / "module.py").write_text("x = 2")
    assert code_digest() not in (before, None)
    monkeypatch.setattr(facts_of.importlib.util, "find_spec", lambda name: None)
    assert code_digest() is None
