"""A small command line on the frame, for tests; `python sample_cli.py` runs it as a process."""

import click

from pipeline.console.group import FaeGroup
from pipeline.console.option_types import GroupedOption
from pipeline.console.options import Settings, config_options

ERRORS: dict[str, BaseException] = {
    "value": ValueError("steps: expected\n   3"),
    "missing": FileNotFoundError(2, "No such file or directory", "/no/such"),
    "explained": FileNotFoundError("data.path: expected a folder"),
    "denied": PermissionError(13, "Permission denied", "/secret"),
    "runtime": RuntimeError("the device is gone"),
    "silent": RuntimeError(),
    "key": KeyError("shard"),
    "interrupt": KeyboardInterrupt(),
    "terminated": SystemExit(15),
    "saved": KeyboardInterrupt("stopped at step 3; the same command goes on"),
}


@click.group(cls=FaeGroup)
def main() -> None:
    """Images become features, and features become images."""


@main.command("extract")
@config_options("data", "extract", "runtime", exclude=("extract.seed", "layer"))
@click.option("--out", cls=GroupedOption, group="Store", help="Where to.")
@click.option("--layer", "layers", cls=GroupedOption, setting=("extract", "layer"), type=int, multiple=True)
def extract(settings: Settings, out: str | None, layers: tuple[int, ...]) -> None:
    """Images to features."""
    print("a library talks")
    settings.output.say(f"root {settings.root}, out {out}")
    sections = {"data": vars(settings.recipe.data), "extract": vars(settings.recipe.extract)}
    settings.output.result(
        {
            **sections,
            "layers": layers,
            "name": settings.recipe.name,
            "given": sorted(settings.given),
            "source": settings.source,
            "dry_run": settings.dry_run,
        }
    )


@main.command("break")
@config_options(recipe="none")
@click.argument("how")
def break_(settings: Settings, how: str) -> int | None:
    """End in some way."""
    assert settings.debug in (True, False)
    if how.isdigit():
        return int(how)
    raise ERRORS[how]


@main.command("all")
@config_options("data", recipe="argument")
def all_(settings: Settings) -> None:
    """Everything."""
    settings.output.result({"steps": settings.recipe.generator.steps, "source": settings.source})


@main.group()
def shelf() -> None:
    """Commands in a group."""


@shelf.command()
@config_options(recipe="none")
def ls(settings: Settings) -> None:
    """List."""
    settings.output.say(str(settings.root))


if __name__ == "__main__":
    main()
