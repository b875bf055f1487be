"""How a record names the stores and runs that it was made from, so that a root which moves keeps its lineage."""

import os
from pathlib import Path

from stores.backends import is_url, origin_of, parent_of, url_of


def reference_to(root: Path | str, artifact: Path | str) -> str:
    """How a record below `root` names an artifact: `kind/name-fingerprint` in the same root, else where it lies.

    A folder that stands for a URL counts as that URL.
    """
    root, artifact = origin_of(root), origin_of(artifact)
    if is_url(artifact):
        above, _, name = str(artifact).rpartition("/")
        in_root = is_url(root) and above.rpartition("/")[0] == str(root).rstrip("/")
        return f"{above.rpartition('/')[2]}/{name}" if in_root else str(artifact)
    if is_url(root):
        return os.path.abspath(artifact)
    root = Path(root)
    path = Path(os.path.abspath(artifact))
    inside = path.parent.parent == Path(os.path.abspath(root)) or path.resolve().parent.parent == root.resolve()
    return f"{path.parent.name}/{path.name}" if inside else str(path)


def resolve_reference(holder: Path | str, reference: str, root: Path | None = None) -> Path | str:
    """Where the artifact lies that the record of `holder`, `<root>/<kind>/<name>-<fingerprint>`, names.

    The artifact of the same kind and folder in the root of `holder`, or else in `root`, is meant, also by records that
    name paths: its folder's name ends in its fingerprint. One that is in no folder is at the URL that these stand for,
    if any. Any other reference is taken as it stands, so that errors of whoever opens it name the path.
    """
    if is_url(reference):
        return reference
    path = Path(reference)
    if ".." in path.parts[-2:]:
        return path
    roots = [] if is_url(holder) else [Path(holder).absolute().parent.parent]
    for folder in [*roots, *([root] if root else [])]:
        if (folder / path.parent.name / path.name).is_dir():
            return folder / path.parent.name / path.name
    at_url = str(holder) if is_url(holder) else url_of(Path(holder))
    url = parent_of(parent_of(at_url)) if at_url is not None else url_of(root) if root else None
    if url is not None and len(path.parts) == 2 and not path.exists():
        return f"{url}/{reference}"
    return roots[0] / path if roots and len(path.parts) == 2 and not path.exists() else path
