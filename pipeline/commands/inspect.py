"""The commands that look at a data set before anything is made: inspect, and init, which writes a recipe for it."""

import re
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from pipeline.config import RecipeError
from pipeline.console import (
    FaeCommand,
    LocalPath,
    Settings,
    WholeNumber,
    config_options,
    data_lines,
    option,
    root_words,
    warning_lines,
)

# What decides nothing here: images are listed, not chosen, and none is rejected.
EXTRACTING = ("path", "limit", "max_rejected")


@click.command("inspect", cls=FaeCommand)
@click.argument("data", metavar="DATA")
@option(
    "Page",
    "-o",
    "--out",
    type=LocalPath(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of grid.png and index.html; below the root when absent.",
)
@option(
    "Page", "--images", type=WholeNumber(0, 400), default=40, show_default=True, metavar="COUNT", help="Images shown."
)
@option(
    "Page",
    "--columns",
    type=WholeNumber(1, 40),
    default=8,
    show_default=True,
    metavar="COUNT",
    help="Columns of the grid.",
)
@config_options("data", exclude=EXTRACTING, recipe="none")
def inspect_command(settings: Settings, data: str, out: Path | None, images: int, columns: int) -> None:
    """Say how the images at DATA are understood, and show some of them with their labels and captions.

    DATA is what extract takes as --data, and the options are the same: give those to extract that make this right.
    Nothing is trained or encoded; of the images, their headers and those that are shown are read.
    """
    from pipeline.artifacts import image_path
    from pipeline.inspection import inspect_data, write_inspection
    from stores import fingerprint

    config = image_path(replace(settings.recipe.data, path=data), settings.root)
    with settings.output.progress("list", "archives") as listed:
        found = inspect_data(config, settings.root / "cache", images, lambda done, total: listed(done, total, {}))
    made = fingerprint({"data": {**asdict(config), "path": str(Path(str(config.path)).absolute())}})[:12]
    folder = out or settings.root / "inspections" / f"{_plain(Path(str(config.path)).stem) or 'data'}-{made}"
    files = write_inspection(found, folder, columns)
    for line in [*data_lines(found.record), *warning_lines(found.record)]:
        settings.output.say(line)
    for name, file in files.items():
        settings.output.say(f"{name}: {file}")
    settings.output.result({"data": found.record, **files})


@click.command("init", cls=FaeCommand)
@click.argument("data", metavar="DATA")
@option(
    "Recipe",
    "-o",
    "--out",
    type=LocalPath(path_type=Path, dir_okay=False),
    default=Path("recipe.yaml"),
    show_default=True,
    metavar="FILE",
    help="The recipe to write.",
)
@option("Recipe", "--force", is_flag=True, help="Replace a file that is there.")
@option("Recipe", "--name", metavar="NAME", help="Name of what the recipe makes; that of the data when absent.")
@option(
    "Recipe",
    "--minutes",
    type=WholeNumber(1),
    metavar="MINUTES",
    help="What all stages may take; 12 on processors and 480 on a GPU when absent.",
)
@config_options("data", exclude=("path", "limit"), recipe="none")
def init_command(settings: Settings, data: str, out: Path, force: bool, minutes: int | None) -> None:
    """Write a recipe for the images at DATA whose sizes fit them and this machine, and say what it will take.

    DATA is what extract takes as --data. Images and machine are looked at and the encoder's speed is measured for a few
    seconds; nothing is trained, encoded or fetched. `fae-pipe run` then does the rest. With the options of `inspect`
    say where labels, captions and splits are, when they were not understood.
    """
    from stores.backends import replace_file

    _check_new(out, force)
    name = settings.recipe.name if "name" in settings.given else _name_of(data)
    from pipeline.inspection import make_first_recipe

    config = replace(settings.recipe.data, path=data)
    with settings.output.progress("list", "archives") as listed:
        made = make_first_recipe(
            *(name, config, settings.root),
            holdout_given="data.holdout" in settings.given,
            minutes=minutes,
            folder=out.absolute().parent,
            on_listing=lambda done, total: listed(done, total, {}),
        )
    replace_file(out, made.as_yaml().encode())
    for line in [*data_lines(made.data.record), *_warnings(made.data.record), *made.machine.as_lines()]:
        settings.output.say(line)
    settings.output.table([stage.as_cells() for stage in made.stages])
    settings.output.say(made.summary())
    for warning in made.warnings():
        settings.output.say(f"warning: {warning}")
    root = root_words(settings.root)
    command = f"fae-pipe run {shlex.quote(str(out))}{root}"
    settings.output.say(f"recipe: {out}", "bold")
    settings.output.say(f"run it: {command}", "bold")
    settings.output.result(
        {
            "recipe": out,
            "command": command,
            "seconds": made.seconds,
            "num_bytes": made.num_bytes,
            "images_per_second": made.images_per_second,
            "data": made.data.record,
            "machine": vars(made.machine),
            "stages": [vars(stage) for stage in made.stages],
        }
    )


def _check_new(out: Path, force: bool) -> None:
    """Refuse what cannot be written before anything is looked at."""
    if out.exists() and not force:
        raise RecipeError(f"--out {out}: expected a new file; received one that is there; add --force to replace it")
    if not out.absolute().parent.is_dir():
        raise RecipeError(f"--out {out}: expected a folder that is there; received {out.parent}; make it first")


def _name_of(data: str) -> str:
    """A name out of the data's path: letters, digits, dots, lines; `images` where none are left."""
    stem = Path(data.rpartition(":")[2]).name
    stem = re.sub(r"(\.(tar|gz|zip|parquet|arrow|tgz|bz2|xz|zst))+$", "", stem)
    return _plain(stem)[:40] or "images"


def _plain(name: str) -> str:
    """A name of letters, digits, '-', '_' and '.', which no shell or other system reads differently."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")


def _warnings(record: dict[str, Any]) -> list[str]:
    """What looks wrong of the data, but for what the recipe sets right."""
    kept = [one for one in record.get("warnings", ()) if one["option"] != "holdout"]
    return warning_lines({**record, "warnings": kept})
