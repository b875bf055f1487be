"""Every kind of source gives the same images, numbered by content; what cannot be read is named and left out."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fae.images import decode_image
from jobs.config.stages import DecoderConfig, RuntimeConfig
from jobs.evaluation.image_sets import Batch, NpzImages, StoreImages, file_images
from jobs.evaluation.reconstructions import Reconstructions
from jobs.testing import ImageSetContract
from jobs.train.pixel_decoder import train_decoder
from stores import ArraySpec, Store, StoreWriter, new_index
from stores.sources import open_source


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    """(path, **choice) -> the set of image files there."""

    def make(path: Path, **choice: Any) -> Any:
        settings = {"size": 32, "split": None, "count": None, "threads": 1} | choice
        return file_images(open_source(str(path)), cache=tmp_path / "digests.parquet", **settings)

    return make


def by_number(batches: list[Batch]) -> np.ndarray:
    numbers = np.concatenate([batch.numbers for batch in batches])
    assert sorted(numbers) == list(range(len(numbers)))
    return np.concatenate([batch.pixels for batch in batches])[np.argsort(numbers)]


def test_a_folder_and_a_tar_of_it_are_one_set(opened: Any, write_folder: Any, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images")
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for file in sorted(folder.rglob("*.png"), reverse=True):
            tar.add(file, arcname=f"other/{file.name}")
    sets = [opened(folder), opened(tmp_path / "all.tar")]
    assert sets[0].identity == sets[1].identity
    assert sets[0].identity["crop"] == "ADM center crop"
    first, second = (by_number(list(images.batches(5))) for images in sets)
    np.testing.assert_array_equal(first, second)
    expected = {decode_image(file.read_bytes(), 32).tobytes() for file in folder.rglob("*.png")}
    assert {image.tobytes() for image in first} == expected


def test_many_batches_are_decoded_ahead_and_none_is_lost(opened: Any, write_folder: Any, tmp_path: Path) -> None:
    images = opened(write_folder(tmp_path / "images"))
    assert [len(batch.numbers) for batch in images.batches(1)] == [1] * 12
    assert len(by_number(list(images.batches(100)))) == 12


def test_a_count_is_the_same_images_whatever_they_are_called(opened: Any, write_folder: Any, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images")
    before = opened(folder, count=5)
    for file in list(folder.rglob("*.png")):
        file.rename(file.with_stem(f"{hash(file.stem) % 1000}-{file.stem}"))
    after = opened(folder, count=5)
    assert before.total == 5
    assert after.identity == before.identity != opened(folder, count=6).identity
    np.testing.assert_array_equal(by_number(list(after.batches(2)))[0], by_number(list(opened(folder).batches(4)))[0])


def test_a_size_of_their_own_is_that_of_the_first_image(opened: Any, write_folder: Any, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images")
    assert opened(folder, size=None).size == 32
    assert next(iter(opened(folder, size=16).batches(3))).pixels.shape == (3, 16, 16, 3)


def test_broken_images_are_named_and_left_out(opened: Any, write_folder: Any, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images")
    broken = sorted(folder.rglob("*.png"))[4]
    broken.write_bytes(broken.read_bytes()[:60])
    (folder / "0" / "text.png").write_text("no image")
    images = opened(folder)
    batches = list(images.batches(4))
    assert sum(len(batch.numbers) for batch in batches) == 11
    assert images.total == 13
    assert set(images.rejected) == {broken.relative_to(folder).as_posix(), "0/text.png"}
    assert "expected an image" in images.rejected["0/text.png"]


def test_a_split_without_images_is_refused(opened: Any, write_folder: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split val: expected at least 2 images to evaluate; received 0"):
        opened(write_folder(tmp_path / "images"), split="val")


def test_npz_images_come_in_order_and_up_to_the_count(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", arr_0=pixels)
    images = NpzImages(tmp_path / "a.npz", 5)
    assert (images.size, images.total) == (8, 5)
    np.testing.assert_array_equal(by_number(list(images.batches(3))), pixels[:5])
    assert images.identity != NpzImages(tmp_path / "a.npz").identity
    np.savez(tmp_path / "wide.npz", arr_0=pixels[:, :4])
    assert NpzImages(tmp_path / "wide.npz").size == "4x8"
    np.savez(tmp_path / "gray.npz", arr_0=pixels[..., 0])
    with pytest.raises(ValueError, match=r"expected images uint8 \(N, H, W, 3\); received uint8"):
        NpzImages(tmp_path / "gray.npz").identity  # noqa: B018 - asking is what is tested


def store_of(parent: Path, array: ArraySpec, values: np.ndarray) -> Store:
    """A complete store of these rows (n, *row_shape), every second one held out."""
    writer = StoreWriter.create(
        parent,
        kind="features",
        name="real",
        arrays=[array],
        index=new_index([str(row) for row in range(len(values))], split=["train", "val"] * (len(values) // 2)),
        ingredients={},
        permute=False,
    )
    for shard in range(writer.num_shards):
        rows = writer.shard_rows(shard)
        writer.write_shard(shard, {array.name: values[rows.start : rows.stop, None]})
    return writer.finalize()


def test_a_store_gives_the_rows_of_a_split(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    store = store_of(tmp_path, ArraySpec("pixels", (8, 8, 3), "uint8"), pixels)
    images = StoreImages(store, "val", 2)
    np.testing.assert_array_equal(by_number(list(images.batches(64))), pixels[[1, 3]])
    assert (images.total, images.size) == (2, 8)
    assert images.identity["content_id"] == store.content_id


def test_a_store_without_images_is_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path, ArraySpec("latents", (2, 2, 4)), np.zeros((6, 2, 2, 4), np.float16))
    with pytest.raises(ValueError, match="expected a store with images; received latents"):
        StoreImages(store)


class TestFiles(ImageSetContract):
    """Image files, one of them broken."""

    @pytest.fixture
    def new_set(self, opened: Any, write_folder: Any, tmp_path: Path) -> Any:
        folder = write_folder(tmp_path / "images")
        broken = sorted(folder.rglob("*.png"))[4]
        broken.write_bytes(broken.read_bytes()[:60])
        return lambda: opened(folder)


class TestNpz(ImageSetContract):
    """The first images of a .npz."""

    @pytest.fixture
    def new_set(self, tmp_path: Path) -> Any:
        np.savez(tmp_path / "a.npz", arr_0=np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), np.uint8))
        return lambda: NpzImages(tmp_path / "a.npz", 5)


class TestStore(ImageSetContract):
    """The held-out rows of a store."""

    @pytest.fixture
    def new_set(self, tmp_path: Path) -> Any:
        pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
        store = store_of(tmp_path, ArraySpec("pixels", (8, 8, 3), "uint8"), pixels)
        return lambda: StoreImages(store, "val")


@pytest.fixture(scope="module")
def decoder(noise_stores: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The run of a pixel decoder that has learned for a step."""
    config = DecoderConfig(size="tiny", steps=1, batch_size=4, warmup_steps=0, precision="fp32")
    runtime, root = RuntimeConfig(threads=1, device="cpu"), tmp_path_factory.mktemp("runs")
    return train_decoder(root, "d", noise_stores.features, None, config, runtime, lambda *_: None)


class TestReconstructions(ImageSetContract):
    """What a pixel decoder makes of a store's features."""

    @pytest.fixture
    def new_set(self, noise_stores: Any, decoder: Any) -> Any:
        originals = StoreImages(noise_stores.features, None, 5)
        return lambda: Reconstructions(originals, decoder, None, torch.device("cpu"))
