"""Makers of small inputs that ask for much, lie about their size or lead astray: each is written below a folder.

A maker's name says what it makes; what it returns are the words of the command that reads it. All of them are harmless
where sizes, depths and paths are checked.
"""

from hostile.archives import tar_inputs, zip_inputs
from hostile.base import Hostile
from hostile.folders import folder_inputs, store_inputs
from hostile.images import image_inputs
from hostile.records import import_inputs, recipe_inputs
from hostile.tables import parquet_inputs, table_inputs

__all__ = ["Hostile", "all_inputs"]


def all_inputs() -> list[Hostile]:
    """Every one, in the order of the kinds."""
    groups = (image_inputs, tar_inputs, zip_inputs, table_inputs, parquet_inputs)
    groups += (folder_inputs, store_inputs, import_inputs, recipe_inputs)
    return [one for group in groups for one in group()]
