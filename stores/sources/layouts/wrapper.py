"""The folder around everything in archives, which keys leave out."""

from __future__ import annotations

from stores.sources.fields.splits import split_of_folder
from stores.sources.paths import is_image


def wrapper_folder(names: list[str]) -> str:
    """The one top folder ("imagenette2/") that holds nothing but the folders of all images, or ""."""
    images: list[list[str]] = []
    for name in names:
        if is_image(name):
            if "/" not in name:
                return ""
            images.append(name.split("/"))
    tops = {parts[0] for parts in images}
    if len(tops) != 1 or any(len(parts) < 3 for parts in images) or split_of_folder(next(iter(tops))):
        return ""
    # One folder in one folder may just as well be the only class.
    return f"{next(iter(tops))}/" if len({parts[1] for parts in images}) > 1 else ""
