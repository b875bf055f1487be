"""A folder of Parquet files that `datasets.load_dataset` of Hugging Face reads with all features."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stores.backends import make_folder, replace_file
from stores.exchange.pieces import Pieces

# Our splits by the names that load_dataset gives them.
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def write_parquet(folder: Path, pieces: Pieces) -> Iterator[Path]:
    """data/<split>-xxxxx-of-xxxxx.parquet, with the features that the datasets library reads from the schema."""
    make_folder(folder / "data")
    spec, store = pieces.spec, pieces.store
    for split, title in _SPLITS.items():
        part = pieces.of_split(split)
        for piece in part:
            table = piece.lines.select(["key", "label", "caption", "sha256"])
            table = table.set_column(1, "label", table["label"].cast(pa.int64()))  # a ClassLabel is no int32
            shape = [store.views, *spec.row_shape]
            values = nested(piece.values)
            table = table.append_column(_array_field(spec.name, shape, piece.values.dtype, values.type), values)
            features = _features(store.attributes.get("class_names"), spec.name, shape, piece.values.dtype)
            table = table.replace_schema_metadata({"huggingface": features})
            sink = io.BytesIO()
            pq.write_table(table, sink, compression="zstd")
            path = folder / "data" / f"{title}-{piece.number:05d}-of-{len(part):05d}.parquet"
            replace_file(path, sink.getvalue())
            yield path


def nested(values: np.ndarray) -> pa.Array:
    """(n, a, b, …) as lists of lists: how the datasets library stores its ArrayXD features."""
    array = pa.array(values.reshape(-1))
    for axis in range(values.ndim - 1, 0, -1):
        count = int(np.prod(values.shape[:axis]))
        array = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * values.shape[axis]), array)
    return array


def _array_field(name: str, shape: list[int], dtype: np.dtype, storage: pa.DataType) -> pa.Field:
    """A column of the datasets library's extension type, without which it drops the feature that the schema names."""
    kind = f"datasets.features.features.Array{len(shape)}DExtensionType"
    facts = {"ARROW:extension:name": kind, "ARROW:extension:metadata": json.dumps([shape, str(dtype)])}
    return pa.field(name, storage, metadata=facts if 2 <= len(shape) <= 5 else None)


def _features(class_names: list[str] | None, name: str, shape: list[int], dtype: np.dtype) -> str:
    """The schema of the datasets library; arrays have 2 to 5 axes there."""
    text: dict[str, Any] = {"dtype": "string", "_type": "Value"}
    integer = {"dtype": "int64", "_type": "Value"}
    label = {"names": class_names, "_type": "ClassLabel"} if class_names else integer
    tensor = {"shape": shape, "dtype": str(dtype), "_type": f"Array{len(shape)}D"}
    features = {"key": text, "label": label, "caption": {"feature": text, "_type": "Sequence"}, "sha256": text}
    return json.dumps({"info": {"features": {**features, name: tensor}}})
