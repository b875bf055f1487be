"""What can be refused before anything heavy is loaded: a folder that cannot be written, and settings of any stage."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import Recipe, RecipeError
from pipeline.stages.all_stages import STAGES


def check_recipe(root: Path, recipe: Recipe, stages: Sequence[str], dry_run: bool = False) -> None:
    """Check what these stages of a recipe need, all of them before the first begins.

    Raises:
        ValueError, FileNotFoundError: A setting that no stage can work with, or files that are not there.
    """
    if not dry_run:
        check_writable(root)
    for stage in STAGES:
        if stage.name in stages:
            stage.check(root, recipe)


def check_writable(root: Path) -> None:
    """Write a file where the results will lie, or in the nearest folder above that exists, and remove it again.

    Raises:
        RecipeError: Nothing can be written there.
    """
    folder = next((one for one in (root, *root.absolute().parents) if one.exists()), Path("/"))
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise RecipeError(
            f"--root {root}: expected a folder that can be written; {folder} cannot ({error.strerror}); "
            "choose another with --root DIR or FAE_PIPE_ROOT"
        ) from error
