"""Where a recipe's images are: a path as it is, a name below a data folder, or a set that a package carries."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.config import DataConfig
from pipeline.artifacts.digits import write_digits

SKLEARN_DIGITS = "sklearn:digits"
DATA_FOLDERS = (".", "data", "../shared/data")


def image_path(data: DataConfig, root: Path) -> DataConfig:
    """The data section with a path that exists; a relative one is looked for in FAE_PIPE_DATA and the usual folders.

    `sklearn:digits` becomes a Parquet file below `root`, written once.

    Raises:
        FileNotFoundError: it is in none of them; the message names them all.
    """
    if data.path is None:
        return data
    if data.path == SKLEARN_DIGITS:
        return replace(data, path=str(write_digits(root / "data" / "digits.parquet")))
    if any(sign in data.path for sign in "*?["):
        return data
    folders = [os.environ["FAE_PIPE_DATA"]] if "FAE_PIPE_DATA" in os.environ else []
    places = [Path(folder) / data.path for folder in [*folders, *DATA_FOLDERS]]
    for place in places:
        if place.exists():
            return replace(data, path=str(place))
    raise FileNotFoundError(
        f"data.path: expected {data.path!r} in one of {', '.join(map(str, (place.parent for place in places)))}; "
        "found none. "
        "Pass --data PATH or set FAE_PIPE_DATA to the folder that holds it"
    )


@contextmanager
def scratch_of(root: Path, dry_run: bool) -> Iterator[Path]:
    """Where packaged images, digests and unpacked tars lie: `root`; in a dry run a folder that is thrown away.

    The thrown-away one begins with the root's digests and unpacked tars, so that images are not read twice.
    """
    if not dry_run:
        yield root
        return
    with TemporaryDirectory(prefix="fae-pipe-") as folder:
        cache = Path(folder) / "cache"
        (cache / "unpacked").mkdir(parents=True)
        for file in (root / "cache").glob("digests-*.parquet"):
            shutil.copy(file, cache)
        for file in (root / "cache" / "unpacked").glob("*.tar"):
            (cache / "unpacked" / file.name).symlink_to(file.absolute())
        yield Path(folder)
