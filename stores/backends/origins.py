"""The folder of this machine that stands for a root at a URL: models are made in it and copied to the URL."""

import hashlib
import json
import re
from pathlib import Path

from stores.backends.fileio import make_folder, replace_file
from stores.backends.locations import Location, is_url, name_of, parent_of

WORKING_FOLDERS = Path("fae-runs", "urls")
ORIGIN = "origin.json"


def working_folder(url: str) -> Path:
    """The folder for a root at a URL, below `fae-runs/urls` of the current folder; made where it is not there."""
    url = url.rstrip("/")
    readable = re.sub(r"[^A-Za-z0-9]+", "-", url.partition("://")[2]).strip("-")[-40:].strip("-")
    folder = WORKING_FOLDERS / f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    if not (folder / ORIGIN).is_file():
        make_folder(folder)
        replace_file(folder / ORIGIN, json.dumps({"url": url}).encode())
    return folder


def url_of(path: Path) -> str | None:
    """The URL that a working folder, or an artifact `<working folder>/<kind>/<folder>`, stands for; None elsewhere."""
    for root in (path, path.parent.parent):
        try:
            url = str(json.loads((root / ORIGIN).read_bytes())["url"])
        except (FileNotFoundError, NotADirectoryError):
            continue
        return url if root == path else f"{url}/{path.parent.name}/{path.name}"
    return None


def path_of(location: Location) -> Path:
    """Where an artifact lies on this machine: one at the URL `<root>/<kind>/<folder>` in that root's working folder."""
    if not is_url(location):
        return Path(location)
    kind = parent_of(location)
    return working_folder(str(parent_of(kind))) / name_of(kind) / name_of(location)


def origin_of(root: Location) -> Location:
    """The URL that a folder stands for, which has all stores of the root; any other location itself."""
    return root if is_url(root) else url_of(Path(root)) or root
