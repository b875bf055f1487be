"""Where a recipe's images are: a path as it is, a name below a data folder, or a set that a package carries."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.config import DataConfig

SKLEARN_DIGITS = "sklearn:digits"
DATA_VARIABLE = "FAE_PIPE_DATA"


def image_path(data: DataConfig, root: Path) -> DataConfig:
    """Resolve `data.path` to one that exists: a relative path counts from `FAE_PIPE_DATA`, then the working folder.

    Args:
        data: The recipe's data section. Globs and an absent path are left as they are.
        root: `sklearn:digits` becomes a Parquet file below it, written once.

    Raises:
        FileNotFoundError: The path is in none of these folders; the message names them.
    """
    if data.path is None:
        return data
    if data.path == SKLEARN_DIGITS:
        from pipeline.artifacts.digits import write_digits

        return replace(data, path=str(write_digits(root / "data" / "digits.parquet")))
    if any(sign in data.path for sign in "*?["):
        return data
    folders = [Path(folder) for folder in (os.environ.get(DATA_VARIABLE), ".") if folder]
    for folder in folders:
        if (folder / data.path).exists():
            return replace(data, path=str(folder / data.path))
    raise FileNotFoundError(
        f"data.path: expected {data.path!r} in one of {', '.join(map(str, folders))}; it is in none of them; "
        f"pass --data PATH or set {DATA_VARIABLE} to the folder that holds it"
    )


@contextmanager
def scratch_folder(root: Path, dry_run: bool) -> Iterator[Path]:
    """Where packaged images, digests and unpacked tars lie: `root`; in a dry run a folder that is thrown away.

    The thrown-away one begins with the root's digests and unpacked tars, so that nothing is read twice.
    """
    if not dry_run:
        yield root
        return
    with TemporaryDirectory(prefix="fae-pipe-") as folder:
        cache = Path(folder) / "cache"
        (cache / "unpacked").mkdir(parents=True)
        for pattern in ("digests-*", "encoder-*"):
            for file in (root / "cache").glob(pattern):
                shutil.copy(file, cache)
        for file in (root / "cache" / "unpacked").glob("*.tar"):
            (cache / "unpacked" / file.name).symlink_to(file.absolute())
        yield Path(folder)
