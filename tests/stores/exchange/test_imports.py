"""Latents of others become a store, and come back from an export as they were."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from stores import ArraySpec, NonFiniteError, Store
from stores.exchange.exports import export
from stores.exchange.imports import import_latents

SHAPE = (4, 2, 3)  # C, H, W


def write(folder: Path, name: str, count: int, seed: int = 0, flip: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tensors = {"latents": rng.normal(size=(count, *SHAPE)).astype(np.float32)}
    if flip:
        tensors["latents_flip"] = np.ascontiguousarray(tensors["latents"][..., ::-1])
    tensors["labels"] = rng.integers(0, 10, count)
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / f"{name}.safetensors")
    return tensors


def latents_of(store: Store, key: str, view: int = 0) -> np.ndarray:
    return store.read("latents", [store.index["key"].to_pylist().index(key)], view)[0]


def test_rows_keep_labels_and_views(tmp_path: Path) -> None:
    first = write(tmp_path / "in", "latents_rank00_shard000", 70)
    second = write(tmp_path / "in", "latents_rank01_shard000", 30, seed=1)
    seen: list[tuple[int, int]] = []
    store = import_latents(tmp_path / "in", tmp_path / "out", "others", "float32", lambda *at: seen.append(at))
    assert (store.kind, store.num_rows, store.views) == ("latents", 100, 2)
    assert store.arrays["latents"].row_shape == (2, 3, 4)
    assert seen[-1] == (store.manifest.num_shards, store.manifest.num_shards)
    for tensors, stem in ((first, "latents_rank00_shard000"), (second, "latents_rank01_shard000")):
        for number in (0, 17, 29):
            key = f"{stem}/{number:06d}"
            for view, name in enumerate(("latents", "latents_flip")):
                np.testing.assert_array_equal(latents_of(store, key, view), tensors[name][number].transpose(1, 2, 0))
            assert store.labels[store.index["key"].to_pylist().index(key)] == tensors["labels"][number]
    keys = store.index["key"].to_pylist()
    assert keys != sorted(keys)  # stored in a seeded order, as shards are read by trainers


def test_the_same_files_are_the_same_store(tmp_path: Path) -> None:
    write(tmp_path / "in", "a", 20, flip=False)
    one = import_latents(tmp_path / "in", tmp_path / "out", "others")
    two = import_latents(tmp_path / "in", tmp_path / "out", "others")
    assert (one.path, one.content_id, one.views) == (two.path, two.content_id, 1)
    write(tmp_path / "in", "a", 20, seed=9, flip=False)
    assert import_latents(tmp_path / "in", tmp_path / "out", "others").path != one.path


def test_export_and_import_are_a_round_trip(make_writer: Any, fill: Any, tmp_path: Path) -> None:
    writer = make_writer(kind="latents", name="small", arrays=[ArraySpec("latents", (2, 3, 4))])
    fill(writer)
    store = writer.finalize()
    export(store, tmp_path / "out", "lightningdit", rows_per_file=20, split="all")
    back = import_latents(tmp_path / "out", tmp_path / "back", "small")
    columns = ["key", "label", "split", "sha256"]
    assert back.index.select(columns).equals(store.index.select(columns))
    for view in range(2):
        np.testing.assert_array_equal(back.read("latents", range(50), view), store.read("latents", range(50), view))
    np.testing.assert_array_equal(back.statistics("latents").mean, store.statistics("latents").mean)


def test_bfloat16_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    latents = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(0)).bfloat16()
    save_torch({"latents": latents, "labels": torch.arange(5)}, tmp_path / "in/a.safetensors")
    store = import_latents(tmp_path / "in", tmp_path / "out", "others", "bfloat16")
    np.testing.assert_array_equal(latents_of(store, "a/000003"), latents[3].float().numpy().transpose(1, 2, 0))


def test_refusals_name_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(ValueError, match="received none"):
        import_latents(folder, tmp_path / "out", "x")
    (folder / "a.safetensors").write_bytes(b"no such thing")
    with pytest.raises(ValueError, match=r"a\.safetensors: expected a safetensors file"):
        import_latents(folder, tmp_path / "out", "x")
    save_file({"latents": np.zeros((2, *SHAPE))}, folder / "a.safetensors")
    with pytest.raises(ValueError, match="latents and labels; received"):
        import_latents(folder, tmp_path / "out", "x")
    save_file({"latents": np.zeros((2, *SHAPE)), "labels": np.zeros(3, np.int64)}, folder / "a.safetensors")
    with pytest.raises(ValueError, match=r"whole labels \(n,\)"):
        import_latents(folder, tmp_path / "out", "x")
    write(folder, "a", 2)
    write(folder, "b", 2, flip=False)
    with pytest.raises(ValueError, match=r"b\.safetensors: expected .* as in a\.safetensors"):
        import_latents(folder, tmp_path / "out", "x")
    (folder / "b.safetensors").unlink()
    (folder / "index.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"index\.parquet: expected the index"):
        import_latents(folder, tmp_path / "out", "x")
    assert not (tmp_path / "out").exists()


def test_labels_of_another_export_are_noticed(make_writer: Any, fill: Any, tmp_path: Path) -> None:
    writer = make_writer(kind="latents", arrays=[ArraySpec("latents", (2, 3, 4))])
    fill(writer)
    export(writer.finalize(), tmp_path / "out", "lightningdit", rows_per_file=20, split="all")
    (tmp_path / "out/latents_rank00_shard001.safetensors").unlink()
    with pytest.raises(ValueError, match="expected the 30 labels"):
        import_latents(tmp_path / "out", tmp_path / "back", "small")


def test_what_the_dtype_cannot_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    latents = np.full((2, *SHAPE), 1e6, np.float32)
    save_file({"latents": latents, "labels": np.zeros(2, np.int64)}, tmp_path / "in/a.safetensors")
    with pytest.raises(NonFiniteError, match="float16's range"):
        import_latents(tmp_path / "in", tmp_path / "out", "x")
