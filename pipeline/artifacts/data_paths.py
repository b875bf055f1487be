"""Where a recipe's images are: a path as it is, a name below a data folder, or a set that a package carries."""

import difflib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.config import DataConfig
from pipeline.artifacts.bucket_sets import set_meant
from pipeline.artifacts.lineage import at_hand
from pipeline.artifacts.resolver import entries_named, find_location, near_names
from stores.backends import is_url

PATTERN_SIGNS = ("*", "?", "[", "{", "::")
MOST_ENTRIES, MOST_NAMES = 10_000, 8
SKLEARN_DIGITS = "sklearn:digits"
DATA_VARIABLE = "FAE_PIPE_DATA"


def image_path(data: DataConfig, root: Path) -> DataConfig:
    """Resolve `data.path` to one that exists: a relative path counts from `FAE_PIPE_DATA`, then the working folder.

    Args:
        data: The recipe's data section. Patterns (`*`, `{00000..00099}`, `a.tar::b.tar`) and an absent path are left as
            they are.
        root: `sklearn:digits` becomes a Parquet file below it, written once.

    Raises:
        FileNotFoundError: The path is in none of these folders; the message names them.
        ValueError: It is a URL: the images are read from this machine.
    """
    if data.path is None:
        return data
    if is_url(data.path):
        raise ValueError(
            f"data.path: expected images on this machine; received the URL {data.path}; copy them here first (such as "
            "by `aws s3 sync`, `rclone copy` or `curl -O`), and give their folder, archive or table"
        )
    if data.path == SKLEARN_DIGITS:
        from pipeline.artifacts.digits import write_digits

        return replace(data, path=str(write_digits(root / "data" / "digits.parquet")))
    folders = [Path(folder) for folder in (os.environ.get(DATA_VARIABLE), ".") if folder]
    for folder in folders:
        if (folder / data.path).exists():
            return replace(data, path=str(folder / data.path))
    if any(sign in data.path for sign in PATTERN_SIGNS):
        return data
    raise FileNotFoundError(
        f"data.path: expected {data.path!r} in one of {', '.join(map(str, folders))}; it is in none of them; "
        f"{_what_is_there(folders[-1] / data.path)}; "
        f"pass --data PATH or set {DATA_VARIABLE} to the folder that holds it"
    )


def check_data_files(data: DataConfig) -> None:
    """Refuse tables and folders of the settings that are not there, before any image is looked at.

    Raises:
        FileNotFoundError: One is not; the message names what lies near.
        ValueError: A table is at a URL.
    """
    for key in ("labels", "class_names", "image_root"):
        value = getattr(data, key)
        if key != "image_root" and value is not None and is_url(value):
            raise ValueError(
                f"data.{key}: expected a file of this machine; received the URL {value}; copy it here first"
            )
        if value is None or "://" in value or any(sign in value for sign in PATTERN_SIGNS):
            continue
        if not Path(value).exists():
            raise FileNotFoundError(
                f"data.{key}: expected a {'folder' if key == 'image_root' else 'file'}; received {value!r}, which is "
                f"not there; {_what_is_there(Path(value))}"
            )


def locate_images(root: Path, text: str, kinds: Sequence[str]) -> str:
    """The path of the images that a name (of an artifact of these kinds, the first before the others) or a path means.

    Raises:
        FileNotFoundError: It means nothing; the message names artifacts that are called nearly so.
        ArtifactError: It is the beginning of several names.
    """
    if is_url(text):
        return str(at_hand(text))
    if Path(text).exists() or text == SKLEARN_DIGITS:
        return text
    of_sets = (found for kind in kinds if (found := set_meant(root, kind, text)) is not None)
    if (folder := next(of_sets, None)) is not None:
        return str(folder)
    if any(entries_named(root, kind, text.removeprefix(f"{kind}/")) for kind in kinds):
        return str(at_hand(find_location(root, text, kinds, complete=True, first=True)))
    try:
        image_path(DataConfig(path=text), root)
    except FileNotFoundError as error:
        near = near_names(root, kinds, text)
        raise FileNotFoundError(f"{text}: {near} ({error})" if near else str(error)) from None
    return text


def _what_is_there(path: Path) -> str:
    """The deepest folder of a path that exists, what it holds, and which name in it is nearly the one asked for."""
    parent = next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))
    asked = path.absolute().relative_to(parent).parts[0]
    names = sorted(entry.name for entry in islice(os.scandir(parent), MOST_ENTRIES))
    near = difflib.get_close_matches(asked, names, 1)
    shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
    guess = f"; did you mean {parent / near[0]}?" if near else ""
    return f"{parent} holds no {asked!r} but {shown or 'nothing'}{guess}"


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
