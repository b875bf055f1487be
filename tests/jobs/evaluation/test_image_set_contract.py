"""Sets of images keep the contract that `stores.testing` exports for those of others."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.evaluation.image_sets import ImageSet, NpzImages, StoreImages, file_images
from stores import ArraySpec, StoreWriter, new_index
from stores.sources import open_source
from stores.testing.image_set import ImageSetContract

COUNT, SIZE = 7, 8
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3)).astype(np.uint8)


class TestNpz(ImageSetContract):
    @pytest.fixture
    def images(self, tmp_path: Path) -> ImageSet:
        np.savez(tmp_path / "samples.npz", PIXELS)
        return NpzImages(tmp_path / "samples.npz")


class TestStore(ImageSetContract):
    @pytest.fixture
    def images(self, tmp_path: Path) -> ImageSet:
        spec, index = ArraySpec("pixels", (SIZE, SIZE, 3), "uint8"), new_index([f"{row}" for row in range(COUNT)])
        writer = StoreWriter.create(tmp_path, "features", "pixels", [spec], index, {})
        for shard in writer.missing_shards():
            writer.write_shard(shard, {"pixels": PIXELS[list(writer.shard_rows(shard))][:, None]})
        return StoreImages(writer.finalize())


class TestFiles(ImageSetContract):
    @pytest.fixture
    def images(self, tmp_path: Path) -> ImageSet:
        folder = tmp_path / "images"
        folder.mkdir()
        for number, pixels in enumerate(PIXELS):
            Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / "broken.png").write_bytes(b"no image")
        cache = tmp_path / "digests.parquet"
        return file_images(open_source(str(folder)), size=SIZE, split=None, count=None, cache=cache, threads=2)
