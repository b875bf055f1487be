"""Names of axes: one name, one size and one meaning in a store, whatever it holds."""

from hypothesis import given
from hypothesis import strategies as st

from stores.format.axes import axis_names
from stores.format.spec import ArraySpec

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple)
NAMES = st.lists(st.sampled_from(["features", "pixels", "latents", "states", "other"]), min_size=1, unique=True)


def names(kind: str, **arrays: tuple[tuple[int, ...], str]) -> dict[str, list[str]]:
    return axis_names([ArraySpec(name, shape, dtype) for name, (shape, dtype) in arrays.items()], kind)


def test_features_with_images_and_scales() -> None:
    found = names("features", features=((16, 16, 768), "int8"), pixels=((256, 256, 3), "uint8"))
    assert found["features"] == ["row", "view", "height", "width", "channel"]
    assert found["features_scale"] == ["row", "view", "height", "width"]
    assert found["pixels"] == ["row", "view", "y", "x", "rgb"]


def test_text() -> None:
    found = names("text", states=((32, 384), "float16"), length=((1,), "uint8"), pooled=((384,), "float16"))
    assert found["states"] == ["row", "caption", "token", "channel"]
    assert found["pooled"] == ["row", "caption", "pooled_channel"]
    assert found["length"] == ["row", "caption", "length_channel"]


def test_a_second_encoder_has_channels_of_its_own() -> None:
    found = names("features", features=((16, 16, 768), "float16"), other=((8, 16, 768), "float16"))
    assert found["other"] == ["row", "view", "other_height", "width", "other_channel"]


@given(NAMES, st.data())
def test_no_name_has_two_sizes(arrays: list[str], data: st.DataObject) -> None:
    specs = [
        ArraySpec(name, data.draw(SHAPES), data.draw(st.sampled_from(["float16", "uint8", "int8"]))) for name in arrays
    ]
    found = axis_names(specs, "features")
    sizes: dict[str, int] = {}
    for spec in specs:
        for part in spec.parts:
            axes = found[part.name]
            assert len(set(axes)) == len(axes) == 2 + len(part.row_shape)
            for name, size in zip(axes[2:], part.row_shape, strict=True):
                assert sizes.setdefault(name, size) == size
