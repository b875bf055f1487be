"""Arrays that were added to a finished store: what its manifest says of each, which is a store of its own inside it."""

import re
from dataclasses import dataclass
from typing import Any

from stores.format.errors import CorruptStoreError
from stores.format.layout import MANIFEST
from stores.format.manifest import Manifest
from stores.format.spec import ArraySpec

_FOLDER = re.compile(r"[a-z][a-z0-9_]*-[0-9a-f]{12}")
MAX_ADDED = 256


@dataclass(frozen=True)
class AddedArray:
    """An array whose rows are those of a store: the folder below `added/` that holds it, and what must be in there."""

    spec: ArraySpec
    folder: str
    fingerprint: str
    content_id: str

    def to_json(self) -> dict[str, Any]:
        """What the manifest keeps of it."""
        return {**vars(self), "spec": self.spec.to_json()}


def added_arrays(manifest: Manifest, location: str) -> dict[str, AddedArray]:
    """The added arrays of a store by name; `location` names the store in errors.

    Raises:
        CorruptStoreError: what the manifest says of them is malformed.
    """
    added = manifest.added or {}
    try:
        if len(added) > MAX_ADDED:
            raise ValueError(f"expected at most {MAX_ADDED}; received {len(added)}")
        found = {name: _parse(name, **record) for name, record in added.items()}
        parts = [part.name for one in found.values() for part in one.spec.parts] + [
            part.name for part in manifest.parts
        ]
        if len(set(parts)) != len(parts):
            raise ValueError("expected array names to differ")
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(f"{location}/{MANIFEST}: added: {error}; repair the store") from error
    return found


def _parse(name: str, spec: dict[str, Any], folder: str, fingerprint: str, content_id: str) -> AddedArray:
    array = ArraySpec.from_json(spec)
    if not (
        array.name == name
        and not array.is_ragged
        and _FOLDER.fullmatch(folder)
        and type(fingerprint) is type(content_id) is str
    ):
        raise ValueError(f"expected the array {name} in a folder of its own; received {folder!r:.80}")
    return AddedArray(array, folder, fingerprint, content_id)
