"""A row as images: its pixels, and its features and latents in the colors of their principal components."""

import io
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from jobs.runs import resolve_reference
from stores import Store, StoreError, open_store

if TYPE_CHECKING:
    from fae.probes import PrincipalColors

PIXELS = "pixels"


class RowImages:
    """Images of the rows of a store, and of the feature store that its rows were encoded from while that is there."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._colors: dict[str, PrincipalColors] = {}

    @cached_property
    def sources(self) -> dict[str, Store]:
        """Array name -> the store that holds it."""
        found = {} if self._features is None else dict.fromkeys(self._features.arrays, self._features)
        return {**found, **dict.fromkeys(self.store.arrays, self.store)}

    @property
    def names(self) -> list[str]:
        """The arrays that can be shown, images first."""
        shown = [name for name, store in self.sources.items() if name == PIXELS or self._is_grid(store, name)]
        return sorted(shown, key=lambda name: (name != PIXELS, name))

    def png(self, name: str, row: int) -> bytes:
        """A row of an array as PNG; its first view.

        Raises:
            KeyError: no such array.
            IndexError: no such row.
        """
        if name not in self.names:
            raise KeyError(name)
        store = self.sources[name]
        values = store.read(name, np.array([row]))
        pixels = values[0] if name == PIXELS else self._decoded(store, name, values)[0]
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        return out.getvalue()

    def _decoded(self, store: Store, name: str, values: np.ndarray) -> np.ndarray:
        from jobs.train import color_cells, colors_of  # loads torch: the server is there before

        if name not in self._colors:
            self._colors[name] = colors_of(store, name)
        return color_cells(self._colors[name], values)

    @cached_property
    def _features(self) -> Store | None:
        """The store that this one was encoded from: the same rows in the same order."""
        reference = self.store.attributes.get("features")
        if reference is None:
            return None
        try:
            found = open_store(resolve_reference(self.store.url, reference))
        except StoreError:
            return None
        wanted = self.store.manifest.ingredients.get("features_content_id")
        return found if found.content_id == wanted else None

    @staticmethod
    def _is_grid(store: Store, name: str) -> bool:
        spec = store.arrays[name]
        return spec.is_float and len(spec.row_shape) == 3 and spec.channels >= 3
