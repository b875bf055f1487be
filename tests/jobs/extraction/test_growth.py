"""An image set that grows: `extract` and `encode` compute the new rows alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fae.encoders.image_encoder import FrozenEncoder


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of the frozen encoder was given."""
    counts: list[int] = []
    forward = FrozenEncoder.forward

    def counting(self: FrozenEncoder, pixels: Any) -> Any:
        counts.append(len(pixels))
        return forward(self, pixels)

    monkeypatch.setattr(FrozenEncoder, "forward", counting)
    return counts


def test_extract_encodes_new_images_alone(tmp_path: Path, write_folder: Any, extract_from: Any, encoded: list) -> None:
    folder = write_folder(tmp_path / "images")
    late = sorted(folder.glob("*/*.png"))[::3]
    contents = {path: path.read_bytes() for path in late}
    for path in late:
        path.unlink()
    old = extract_from(folder)
    assert sum(encoded) == old.num_rows == 8
    encoded.clear()
    for path, data in contents.items():
        path.write_bytes(data)
    grown = extract_from(folder)
    assert sum(encoded) == len(late)
    assert grown.num_rows == 12
    assert grown.index["key"].to_pylist()[:8] == old.index["key"].to_pylist()
    assert np.array_equal(grown.read("features", np.arange(8)), old.read("features", np.arange(8)))
    assert np.array_equal(grown.read("pixels", np.arange(8)), old.read("pixels", np.arange(8)))
    fresh = extract_from(folder, root="elsewhere")
    order = [fresh.index["key"].to_pylist().index(key) for key in grown.index["key"].to_pylist()]
    np.testing.assert_allclose(grown.read("features", range(12)), fresh.read("features", order), atol=5e-3)


def test_a_renamed_folder_costs_nothing(tmp_path: Path, write_folder: Any, extract_from: Any, encoded: list) -> None:
    folder = write_folder(tmp_path / "images")
    old = extract_from(folder)
    encoded.clear()
    (folder / "2").rename(folder / "another name")
    store = extract_from(folder)
    assert encoded == []
    assert store.path != old.path
    assert sorted(Path(key).parent.name for key in store.index["key"].to_pylist())[-1] == "another name"


def test_encode_computes_new_rows_alone(world_copy: Any, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.config.stages import RuntimeConfig
    from jobs.extraction.latents import EncodeWorker, encode, latent_writer
    from pipeline.artifacts.lineage import find_run
    from stores import StoreWriter, open_store

    root = world_copy("features", "autoencoders")
    small = next((root / "features").iterdir())
    full = open_store(small)
    keys = full.index["key"].to_pylist()[:48]
    part = full.index.slice(0, 48)
    manifest = full.manifest
    rest = {name: value for name, value in manifest.ingredients.items() if name not in ("kind", "store")}
    shared = {"kind": "features", "name": "part", "views": full.views, "seed": manifest.seed, "rows_per_shard": 16}
    writer = StoreWriter.create(root / "features", arrays=list(manifest.arrays), index=part, ingredients=rest, **shared)
    assert writer.reuse_shards() == 48
    before = writer.finalize()
    assert set(before.index["key"].to_pylist()) == set(keys)

    runtime = RuntimeConfig(executor="local", threads=1)
    config = replace(world.recipe.encode, latents="mean")
    autoencoder = find_run(root, "autoencoders", "tiny")
    counts: list[int] = []
    inner = EncodeWorker._encode

    def counted(self: Any, features: Any, *rest: Any) -> Any:
        counts.append(len(features))
        return inner(self, features, *rest)

    monkeypatch.setattr(EncodeWorker, "_encode", counted)

    def run(features: Any) -> Any:
        plan = latent_writer(features, autoencoder, root / "latents", "tiny", config, runtime)
        return encode(plan, features, autoencoder, config, runtime, lambda *_: None)

    run(before)
    assert sum(counts) == 48 * full.views
    counts.clear()
    grown = run(full)
    assert sum(counts) == 16 * full.views
    assert grown.num_rows == 64
    counts.clear()
    run(full)
    assert counts == []
