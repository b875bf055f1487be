"""What can be refused before anything heavy is loaded: a folder that cannot be written, and settings of any stage."""

import os
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from jobs.config import RuntimeConfig, TrainConfig, check_training, crop_offsets
from pipeline.config import Recipe, RecipeError
from pipeline.stages.all_stages import STAGES
from stores.backends import ByteStore, Location, is_url, open_bytestore


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
        if "sample" in stages and recipe.sample.out is not None:
            _check_out(recipe.sample.out)
        check_cluster(recipe.runtime)
    for key, path in (
        ("runtime.cache_dir", recipe.runtime.cache_dir),
        ("runtime.progress_json", recipe.runtime.progress_json),
    ):
        if path is not None and is_url(path):
            raise RecipeError(f"{key}: expected a path of this machine; received the URL {path}; give a path")
    for name, config in (
        ("train-ae", recipe.autoencoder),
        ("train-decoder", recipe.decoder),
        ("train-gen", recipe.generator),
    ):
        if name in stages:
            check_training(config, recipe.runtime)
            _check_batch(name, config)
    _check_sizes(recipe, stages)
    for stage in STAGES:
        if stage.name in stages:
            stage.check(root, recipe)


def _check_batch(stage: str, config: TrainConfig) -> None:
    """Tokens of a batch take the place of its rows."""
    if config.batch_tokens is not None and config.batch_size is not None:
        raise RecipeError(
            f"{stage}: batch_tokens: expected no batch_size beside it; received {config.batch_tokens} and "
            f"{config.batch_size}; set one of them"
        )


def _check_sizes(recipe: Recipe, stages: Sequence[str]) -> None:
    """Sizes of images as a condition need a bucket set's records, and samples of such sizes a model that learned them.

    Of stores that these stages do not make nothing is known yet.
    """
    learns = recipe.generator.size_conditioning
    if learns and recipe.extract.buckets is None and {"extract", "train-gen"} <= set(stages):
        raise RecipeError(
            "generator.size_conditioning: expected extract.buckets beside it, whose bucket set has size and crop of "
            "each image; received none; set extract.buckets, or leave size_conditioning out"
        )
    crop_offsets(recipe.sample.crop)
    given = [name for name in ("original_size", "crop") if getattr(recipe.sample, name) is not None]
    if given and not learns and {"train-gen", "sample"} <= set(stages):
        raise RecipeError(
            f"sample.{given[0]}: expected generator.size_conditioning beside it; received none; set it, or leave "
            f"sample.{given[0]} out"
        )


def check_cluster(runtime: RuntimeConfig) -> None:
    """Whether this host can join the cluster that is named: the scan of a large data set is not waited for first.

    Raises:
        ValueError: No cluster is there, or this host has no node of it.
    """
    address = runtime.address or os.environ.get("RAY_ADDRESS")
    if address and (runtime.executor == "ray" or runtime.train_workers):
        from jobs.cluster import check_address  # loads Ray

        check_address(address)


def _check_out(out: str) -> None:
    """The place of a set of samples."""
    if is_url(out):
        check_writable_url(out)
    else:
        check_writable(Path(out), "sample.out", "choose another with --out DIR")


def check_writable(
    root: Path, option: str = "--root", advice: str = "choose another with --root DIR or FAE_PIPE_ROOT"
) -> None:
    """Write a file where the results will lie, or in the nearest folder above that exists, and remove it again.

    Args:
        root: The folder of the results.
        option: What named it.
        advice: What to do where it cannot be written.

    Raises:
        RecipeError: Nothing can be written there.
    """
    folder = next((one for one in (root, *root.absolute().parents) if os.path.lexists(one)), Path("/"))
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise RecipeError(
            f"{option} {root}: expected a folder that can be written; {folder} cannot ({error.strerror}); {advice}"
        ) from error


def check_writable_file(file: Path, option: str) -> None:
    """Whether a file can be written at a path: it is none of a folder, and the folder above can be written.

    Raises:
        RecipeError: It cannot.
    """
    if file.is_dir():
        raise RecipeError(f"{option} {file}: expected the path of a file; received a folder; name a file in it")
    check_writable(file.absolute().parent, option, f"choose another with {option} FILE")


def check_writable_url(url: str) -> None:
    """Write an object below a URL and remove it again.

    Raises:
        OSError: Nothing can be written there: a bucket that is missing, a wrong key or region, a key without the right.
        ValueError: The URL is none of a place for objects.
    """
    blobs, key = open_bytestore(url), f"probe-{uuid.uuid4().hex}"
    right = "write"
    try:
        blobs.write(key, b"fae-pipe looks whether it may write here")
        right = "delete"
        blobs.delete(key)
    except PermissionError as error:
        if not _can_be_read(blobs, key):
            raise
        raise PermissionError(
            f"{url}: expected a key that may read, write and delete objects; received one that may read them, but not "
            f"{right} (tried with {key}); give it that right, or choose another root"
        ) from error


def _can_be_read(blobs: ByteStore, key: str) -> bool:
    try:
        blobs.exists(key)
    except OSError:
        return False
    return True
