"""Libraries that users read exports with and write latents with, themselves: webdataset, datasets, PyTorch's loader."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stores import ArraySpec, Store, new_index
from stores.exchange.exports import export
from stores.exchange.imports import import_latents
from stores.exchange.latent_meaning import LatentMeaning

# Slow: where a library is absent nothing is skipped in the normal suite, and their imports take seconds.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
COUNT, SHAPE = 23, (3, 4, 5)  # H, W, C, all different
NAMES = ["ant", "bee", "cow"]


@pytest.fixture
def store(make_writer: Any, fill: Any) -> Store:
    """Latents in two views with labels (one is absent), splits, keys with dots and slashes, captions of late rows."""
    columns = {
        "label": [None if row == 5 else row % 3 for row in range(COUNT)],
        "split": ["val" if row % 5 == 0 else "train" for row in range(COUNT)],
        "caption": [[f"caption {row} ü", "another"] if row > 9 else None for row in range(COUNT)],
    }
    index = new_index([f"v1.0/imagé.{row:02d}" for row in range(COUNT)], **columns)
    attributes = {"class_names": NAMES, "latents": "mean"}
    arrays = [ArraySpec("latents", SHAPE)]
    writer = make_writer(COUNT, index=index, kind="latents", arrays=arrays, attributes=attributes)
    fill(writer, rejected={7: "lost"})
    return writer.finalize(max_rejected=0.1)


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Hugging Face's library, which asks nobody outside."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    return pytest.importorskip("datasets", reason="datasets is not installed (pip install 'fae-pipe[bench]')")


@pytest.fixture
def webdataset() -> Any:
    return pytest.importorskip("webdataset", reason="webdataset is not installed (pip install 'fae-pipe[bench]')")


def rows_of(store: Store, split: str | None = None) -> list[dict[str, Any]]:
    """What a reader has to find of each row: its index line, and `values` (views, H, W, C)."""
    rows = store.rows(split)
    values = np.stack([store.read("latents", rows, view) for view in (0, 1)], axis=1)
    lines = store.index.take(rows).to_pylist()
    return [{**line, "values": value} for line, value in zip(lines, values, strict=True)]


@pytest.mark.parametrize("split", ["train", "val"])
def test_webdataset_reads_every_sample_of_an_export(store: Store, webdataset: Any, tmp_path: Path, split: str) -> None:
    urls = [str(path) for path in export(store, tmp_path / "out", "webdataset", rows_per_file=7, split=split)[:-1]]
    found = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    expected = rows_of(store, split)
    assert len(found) == len(expected) > 0
    for sample, row in zip(found, expected, strict=True):
        np.testing.assert_array_equal(sample["latents.npy"], row["values"])
        assert sample.get("cls") == row["label"]
        assert sample["txt"] == "\n".join(row["caption"] or [])
        assert {name: sample["json"][name] for name in ("key", "split")} == {"key": row["key"], "split": split}


def test_webdatasets_loader_collates_an_export(store: Store, webdataset: Any, tmp_path: Path) -> None:
    urls = [str(path) for path in export(store, tmp_path / "out", "webdataset", rows_per_file=7, split="train")[:-1]]
    pipeline = webdataset.WebDataset(urls, shardshuffle=False).decode().to_tuple("latents.npy", "json").batched(4)
    batches = list(webdataset.WebLoader(pipeline, batch_size=None, num_workers=0))
    found = np.concatenate([values for values, _ in batches])
    np.testing.assert_array_equal(found, np.stack([row["values"] for row in rows_of(store, "train")]))


def test_what_webdataset_writes_comes_in(webdataset: Any, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(COUNT, 5, 3, 4)).astype(np.float32)  # C, H, W
    folder = tmp_path / "in"
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "a-%06d.tar"), maxcount=7, verbose=0) as sink:
        for row, value in enumerate(values):
            sink.write({"__key__": f"n{row:03d}", "npy": value, "cls": row % 3, "txt": f"number {row}"})
    store = import_latents(folder, tmp_path / "stores", "a", "float32", meaning=LatentMeaning(layout="nchw"))
    keys = store.index["key"].to_pylist()
    order = [keys.index(f"a-{row // 7:06d}/n{row:03d}") for row in range(COUNT)]
    np.testing.assert_array_equal(store.read("latents", order), values.transpose(0, 2, 3, 1))
    assert store.labels[order].tolist() == [row % 3 for row in range(COUNT)]
    assert [store.index["caption"][row].as_py() for row in order] == [[f"number {row}"] for row in range(COUNT)]


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_an_export_with_features_names_and_splits(
    store: Store, datasets: Any, tmp_path: Path, streaming: bool
) -> None:
    export(store, tmp_path / "out", "parquet", rows_per_file=7)
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"), streaming=streaming)
    assert set(loaded) == {"train", "validation"}
    for title, split in (("train", "train"), ("validation", "val")):
        part, expected = loaded[title], rows_of(store, split)
        assert part.features["label"].names == NAMES
        assert part.features["latents"].shape == (2, *SHAPE)
        found = list(part)
        assert [row["key"] for row in found] == [row["key"] for row in expected]
        assert [row["label"] for row in found] == [row["label"] for row in expected]
        assert [row["caption"] or None for row in found] == [row["caption"] or None for row in expected]
        np.testing.assert_array_equal([row["latents"] for row in found], [row["values"] for row in expected])


def test_pytorchs_loader_collates_a_loaded_export(store: Store, datasets: Any, tmp_path: Path) -> None:
    import torch

    export(store, tmp_path / "out", "parquet")
    train = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"), split="train")
    loader = torch.utils.data.DataLoader(train.select_columns(["latents"]).with_format("torch"), batch_size=4)
    found = torch.cat([batch["latents"] for batch in loader])
    expected = np.stack([row["values"] for row in rows_of(store, "train")])
    np.testing.assert_array_equal(found.numpy(), expected)


def test_datasets_loads_tars_of_an_export(store: Store, datasets: Any, tmp_path: Path) -> None:
    export(store, tmp_path / "out", "webdataset", rows_per_file=7, split="val")
    files = sorted(str(path) for path in (tmp_path / "out").glob("*.tar"))
    loaded = datasets.load_dataset("webdataset", data_files=files, cache_dir=str(tmp_path / "cache"), split="train")
    expected = rows_of(store, "val")
    assert [row["json"]["key"] for row in loaded] == [row["key"] for row in expected]
    assert [row["txt"] for row in loaded] == ["\n".join(row["caption"] or []) for row in expected]
    np.testing.assert_array_equal([row["latents.npy"] for row in loaded], [row["values"] for row in expected])
