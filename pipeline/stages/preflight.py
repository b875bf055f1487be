"""What can be refused before anything heavy is loaded: a folder that cannot be written, and settings of any stage."""

import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from jobs.config import RuntimeConfig
from pipeline.config import Recipe, RecipeError
from pipeline.stages.all_stages import STAGES
from stores.backends import Location, is_url, open_bytestore


def check_recipe(
    root: Path, recipe: Recipe, stages: Sequence[str], dry_run: bool = False, stores: Location | None = None
) -> None:
    """Check what these stages of a recipe need, all of them before the first begins.

    Raises:
        ValueError, FileNotFoundError: A setting that no stage can work with, or files that are not there.
    """
    if not dry_run:
        check_writable(root)
        if stores is not None and is_url(stores):
            check_writable_url(str(stores))
        if "sample" in stages and recipe.sample.out is not None and is_url(recipe.sample.out):
            check_writable_url(recipe.sample.out)
        check_cluster(recipe.runtime)
    for key, path in (
        ("runtime.cache_dir", recipe.runtime.cache_dir),
        ("runtime.progress_json", recipe.runtime.progress_json),
    ):
        if path is not None and is_url(path):
            raise RecipeError(f"{key}: expected a path of this machine; received the URL {path}; give a path")
    for stage in STAGES:
        if stage.name in stages:
            stage.check(root, recipe)


def check_cluster(runtime: RuntimeConfig) -> None:
    """Whether this host can join the cluster that is named: the scan of a large data set is not waited for first.

    Raises:
        ValueError: No cluster is there, or this host has no node of it.
    """
    if runtime.address is not None and (runtime.executor == "ray" or runtime.train_workers):
        from jobs.executors import check_address  # loads Ray

        check_address(runtime.address)


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


def check_writable_url(url: str) -> None:
    """Write an object below a URL and remove it again.

    Raises:
        OSError: Nothing can be written there: a bucket that is missing, a wrong key or region.
        ValueError: The URL is none of a place for objects.
    """
    blobs, key = open_bytestore(url), f"probe-{uuid.uuid4().hex}"
    blobs.write(key, b"fae-pipe looks whether it may write here")
    blobs.delete(key)
