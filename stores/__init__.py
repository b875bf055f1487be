"""Stores of features and latents: bytes at rest that are never lost, never wrong, and read at memory speed."""

from typing import TYPE_CHECKING, Any

from stores.errors import (
    CorruptStoreError,
    ForeignStoreError,
    IncompleteStoreError,
    LeaseHeldError,
    NonFiniteError,
    StoreError,
    StoreNotFoundError,
    TooManyRejectedError,
)
from stores.fingerprint import explain_difference, fingerprint
from stores.index import new_index
from stores.listing import find_manifests
from stores.reader import Store, open_store
from stores.spec import ArraySpec
from stores.stats import Statistics
from stores.writer import StoreWriter

if TYPE_CHECKING:
    from stores.joint import JointLoader
    from stores.loader import Loader

__all__ = [
    "ArraySpec",
    "CorruptStoreError",
    "ForeignStoreError",
    "IncompleteStoreError",
    "JointLoader",
    "LeaseHeldError",
    "Loader",
    "NonFiniteError",
    "Statistics",
    "Store",
    "StoreError",
    "StoreNotFoundError",
    "StoreWriter",
    "TooManyRejectedError",
    "explain_difference",
    "find_manifests",
    "fingerprint",
    "new_index",
    "open_store",
]


def __getattr__(name: str) -> Any:
    # The loaders alone need torch, which takes seconds to import.
    if name == "Loader":
        from stores.loader import Loader

        return Loader
    if name == "JointLoader":
        from stores.joint import JointLoader

        return JointLoader
    raise AttributeError(f"module 'stores' has no attribute {name!r}")
