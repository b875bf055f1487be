"""What is installed: the command, the recipes, the licence, and bounds on what it needs."""

import os
import platform
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

import fae_pipe

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def test_the_entry_point_is_the_click_command_itself():
    (entry,) = metadata.entry_points(group="console_scripts", name="fae-pipe")
    assert PROJECT["scripts"] == {"fae-pipe": entry.value}
    command = entry.load()
    assert isinstance(command, click.Group)
    done = CliRunner().invoke(command, ["--version"])
    assert done.exit_code == 0
    assert done.stdout.startswith("fae-pipe, version ")


def test_the_entry_is_a_module_that_runs():
    done = subprocess.run([sys.executable, "-m", "fae_pipe", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip().startswith("fae-pipe, version ")


@pytest.mark.parametrize(("given", "used"), [(None, "passive"), ("active", "active")])
def test_idle_threads_sleep_unless_told_otherwise(given, used):
    code = "import sys, os, fae_pipe; fae_pipe.main; print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", used]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize(("given", "number"), [(None, 2), ("3", 3)])
def test_threads_share_few_arenas_of_memory(given, number, tmp_path):
    code = f"""
import ctypes, os, threading, fae_pipe
fae_pipe.main
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes, libc.fclose.argtypes = (ctypes.c_int, ctypes.c_void_p), (ctypes.c_void_p,)
together = threading.Barrier(6)
def take():
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=take) for _ in range(6)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
file = libc.fopen({str(tmp_path / "info")!r}.encode(), b"w")
libc.malloc_info(0, file), libc.fclose(file)
print(os.environ["MALLOC_ARENA_MAX"])
"""
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    environment |= {"MALLOC_ARENA_MAX": given} if given else {}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(number)]
    assert (tmp_path / "info").read_text().count("<heap ") == number


@pytest.mark.parametrize("name", fae_pipe.PACKAGES)
def test_another_package_of_one_of_our_names_is_named_before_anything_is_imported(name, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')")
    paths = f"sys.path[:0] = [{str(tmp_path)!r}, {str(Path(fae_pipe.__file__).parent)!r}]"
    code = f"import sys; {paths}; import fae_pipe; fae_pipe.main()"
    ended = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"fae-pipe: package {name}: expected the one in ")
    assert f"received {tmp_path / name / '__init__.py'}, which Python finds first" in ended.stderr


def test_the_installed_version_is_the_projects():
    assert metadata.version("fae-pipe") == PROJECT["version"]


def test_recipes_and_templates_are_package_data():
    names = {file.name for file in resources.files("pipeline").joinpath("recipes").iterdir()}
    assert names >= {"digits.yaml", "imagenette64.yaml", "imagenette224.yaml", "imagenet256-dinov2-g.yaml"}
    tools = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["tool"]
    assert tools["setuptools"]["package-data"]["pipeline"] == [
        "recipes/*.yaml",
        "plan/costs.json",
        "report/*.j2",
        "view/*.j2",
    ]


def test_every_dependency_has_a_lower_bound_that_is_met_here():
    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["demo"]]:
        requirement = Requirement(text)
        assert any(part.operator == ">=" for part in requirement.specifier), text
        assert requirement.specifier.contains(metadata.version(requirement.name), prereleases=True), text


def test_every_extra_is_there():
    assert {"demo", "dev", "s3", "text"} <= PROJECT["optional-dependencies"].keys()


def test_the_license_is_apache():
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (Path(__file__).parent.parent / "LICENSE").read_text()
