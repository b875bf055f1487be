"""How a record names the stores and runs that it was made from, so that a root which moves keeps its lineage."""

import os
from pathlib import Path

from stores.backends import is_url


def reference_to(root: Path, artifact: Path | str) -> str:
    """How a record below `root` names an artifact: `kind/name-fingerprint` in the same root, else where it lies."""
    if is_url(artifact):
        return str(artifact)
    path = Path(os.path.abspath(artifact))
    inside = path.parent.parent == Path(os.path.abspath(root)) or path.resolve().parent.parent == root.resolve()
    return f"{path.parent.name}/{path.name}" if inside else str(path)


def resolve_reference(holder: Path | str, reference: str, root: Path | None = None) -> Path | str:
    """Where the artifact lies that the record of `holder`, `<root>/<kind>/<name>-<fingerprint>`, names.

    The artifact of the same kind and folder in the root of `holder`, or else in `root`, is meant, also by records that
    name paths: its folder's name ends in its fingerprint. Any other reference is taken as it stands, so that errors of
    whoever opens it name the path.
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
    return roots[0] / path if roots and len(path.parts) == 2 and not path.exists() else path
