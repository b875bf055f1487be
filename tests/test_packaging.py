"""What is installed: the command, the recipes, the licence, and bounds on what it needs."""

import tomllib
from importlib import metadata, resources
from pathlib import Path

from packaging.requirements import Requirement

import pipeline.cli

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def test_the_command_is_installed_and_points_at_the_command_line():
    (script,) = metadata.entry_points(group="console_scripts", name="fae-pipe")
    assert script.load() is pipeline.cli.main


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
