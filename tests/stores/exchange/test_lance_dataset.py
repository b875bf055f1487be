"""Lance datasets by Lance's own library: what others wrote comes in, what is not ours says what it lacks."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stores.exchange.exports import export
from stores.exchange.imports import import_latents
from stores.exchange.latent_meaning import LatentMeaning

lance: Any = pytest.importorskip("lance", reason="needs the extra lance")
VALUES = np.random.default_rng(0).normal(size=(12, 3, 3, 4)).astype(np.float32)  # n, H, W, C


def write(folder: Path, metadata: dict[str, str] | None, **columns: Any) -> Path:
    column = pa.FixedSizeListArray.from_arrays(pa.array(VALUES.reshape(-1)), VALUES[0].size)
    fields = [pa.field("latent", column.type, metadata=metadata), *(pa.field(n, c.type) for n, c in columns.items())]
    lance.write_dataset(pa.table([column, *columns.values()], schema=pa.schema(fields)), str(folder / "theirs.lance"))
    return folder


def test_a_dataset_of_others_comes_in_and_another_writing_of_it_is_the_same_store(tmp_path: Path) -> None:
    labels = pa.array([row % 3 for row in range(12)])
    stores = [
        import_latents(
            write(tmp_path / name, {"shape": "[3, 3, 4]"}, label=labels), tmp_path / "stores", "a", "float32"
        )
        for name in ("one", "two")
    ]
    assert stores[0].content_id == stores[1].content_id
    keys = stores[0].index["key"].to_pylist()
    order = [keys.index(f"theirs/{row:08d}") for row in range(12)]
    np.testing.assert_array_equal(stores[0].read("latents", order), VALUES)
    assert stores[0].labels[order].tolist() == labels.to_pylist()


@pytest.mark.parametrize("metadata", [None, {"shape": "[3, 3]"}, {"shape": "huge"}])
def test_lists_without_a_shape_say_where_to_write_it(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    with pytest.raises(ValueError, match=r"theirs\.lance: latent: expected (the|a) shape"):
        import_latents(write(tmp_path, metadata), tmp_path / "stores", "a")


def test_a_dataset_without_floats_names_its_columns(tmp_path: Path) -> None:
    lance.write_dataset(pa.table({"x": [1, 2]}), str(tmp_path / "a.lance"))
    with pytest.raises(ValueError, match="array: expected a fixed-size list of floats; received x int64"):
        import_latents(tmp_path, tmp_path / "stores", "a", meaning=LatentMeaning("mean"))


def test_what_goes_out_is_what_lance_reads_with_its_splits(make_writer: Any, fill: Any, tmp_path: Path) -> None:
    writer = make_writer()
    fill(writer)
    store = writer.finalize()
    export(store, tmp_path / "out", "lance", rows_per_file=7)
    table = lance.dataset(str(tmp_path / "out" / f"{store.name}.lance")).to_table()
    assert table["key"].to_pylist() == store.index["key"].to_pylist()
    assert table["split"].to_pylist() == store.index["split"].to_pylist()
    (name,) = (field.name for field in table.schema if pa.types.is_fixed_size_list(field.type))
    values = table[name].combine_chunks().flatten().to_numpy().reshape(store.num_rows, store.views, -1)
    for view in range(store.views):
        expected = store.read(name, range(store.num_rows), view).reshape(store.num_rows, -1)
        np.testing.assert_array_equal(values[:, view], expected)
