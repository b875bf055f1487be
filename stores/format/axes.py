"""Names of the axes of a store's arrays: one name has one size and one meaning in the whole store.

xarray, and whoever else joins arrays by the names of their axes, opens no group in which one name has two sizes.
"""

from collections.abc import Sequence

from stores.format.spec import ArraySpec, Part

OLD_AXES: dict[int, tuple[str, ...]] = {1: ("channel",), 2: ("token", "channel"), 3: ("height", "width", "channel")}
IMAGE_AXES = ("y", "x", "rgb")
TEXT = "text"


def axis_names(arrays: Sequence[ArraySpec], kind: str) -> dict[str, list[str]]:
    """The axes of every Zarr array, by its name.

    Rows and views (captions in a text store) come first. Images are (y, x, rgb). Of the others (height, width,
    channel), (token, channel) or (channel): channels of the first array are `channel`, of each other one
    `<array>_channel`, since they mean something else; so is an axis whose name already has another size. A scale has
    the axes of what it scales without the last, or with `<array>_group`. Tokens of a ragged array have
    `<array>_position`, spans `bound`.
    """
    sizes: dict[str, int] = {}
    first = True
    found: dict[str, list[str]] = {}
    for spec in arrays:
        image = is_image(spec)
        names = _row_axes(spec, sizes, own_channel=not (first or image))
        first = first and image
        sizes |= dict(zip(names, spec.row_shape, strict=True))
        for part in spec.parts:
            view = "caption" if kind == TEXT else "view"
            if part.name == spec.spans:
                found[part.name] = ["row", view, "bound"]
            elif part.tokens_per_chunk is not None:
                found[part.name] = [f"{spec.name}_position", *_part_axes(spec, part, names)[1:]]
            else:
                found[part.name] = ["row", view, *_part_axes(spec, part, names)]
    return found


def _part_axes(spec: ArraySpec, part: Part, names: list[str]) -> list[str]:
    """The array's own axes, without the last for a scale of each token, with groups in its place for their scales."""
    if part.row_shape == spec.row_shape or len(part.row_shape) < len(spec.row_shape):
        return names[: len(part.row_shape)]
    return [*names[:-1], f"{spec.name}_group"]


def is_image(spec: ArraySpec) -> bool:
    """Whether an array holds RGB images: bytes with three channels."""
    return spec.dtype == "uint8" and len(spec.row_shape) == 3 and spec.channels == 3


def _row_axes(spec: ArraySpec, sizes: dict[str, int], own_channel: bool) -> list[str]:
    rank = len(spec.row_shape)
    usual = IMAGE_AXES if is_image(spec) else OLD_AXES.get(rank, tuple(f"axis{axis}" for axis in range(rank)))
    own = [own_channel and name == "channel" for name in usual]
    return [
        f"{spec.name}_{name}" if apart or sizes.get(name, size) != size else name
        for name, size, apart in zip(usual, spec.row_shape, own, strict=True)
    ]
