"""Folders of links, pipes and depths, and stores that claim what they do not hold."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hostile.base import Hostile, Words, encoded, inspect_words, write_good_images


def folder_inputs() -> Iterator[Hostile]:
    def fifo(folder: Path) -> None:
        os.mkfifo(folder / "a" / "pipe.png")

    def fifo_table(folder: Path) -> None:
        os.mkfifo(folder / "metadata.csv")

    def device(folder: Path) -> None:
        (folder / "a" / "zero.png").symlink_to("/dev/zero")

    def device_table(folder: Path) -> None:
        (folder / "metadata.jsonl").symlink_to("/dev/zero")

    def ring(folder: Path) -> None:
        (folder / "a" / "up").symlink_to(folder, target_is_directory=True)
        (folder / "b" / "x.png").symlink_to(folder / "b" / "x.png")

    def deep(folder: Path) -> None:
        place = folder
        for level in range(200):
            place = place / f"d{level}"
        place.mkdir(parents=True)
        shutil.copy(folder / "a" / "0.png", place)

    def odd_names(folder: Path) -> None:
        for name in (b"\xff\xfe.png", b"\x1b[2J.png", b"a\nb.png", b"x" * 250 + b".png"):
            with open(os.path.join(os.fsencode(folder / "a"), name), "wb") as file:
                file.write(encoded("PNG"))

    def classes(folder: Path) -> None:
        for number in range(3000):
            (folder / f"class-{number}").mkdir()

    def closed(folder: Path) -> None:
        (folder / "a").rename(folder / "a.png")

    def sparse(folder: Path) -> None:
        with open(folder / "a" / "huge.png", "wb") as file:
            file.truncate(1 << 40)

    def sparse_text(folder: Path) -> None:
        with open(folder / "a" / "0.txt", "wb") as file:
            file.truncate(1 << 40)

    found = {
        "pipe for an image": fifo, "pipe for a table": fifo_table, "device for an image": device,
        "device for a table": device_table, "links in a ring": ring, "200 folders deep": deep, "odd names": odd_names,
        "3,000 empty classes": classes, "folder called .png": closed, "image of 1 TiB": sparse,
        "caption of 1 TiB": sparse_text,
    }  # fmt: skip
    for name, change in found.items():

        def make(folder: Path, _: Path, change: Callable[[Path], None] = change) -> Words:
            write_good_images(folder)
            change(folder)
            return inspect_words(folder)

        yield Hostile(f"folder: {name}", make)


def store_inputs() -> Iterator[Hostile]:
    """Copies of a whole store with one part changed; verify reads every byte of them."""

    def shard(store: Path) -> Path:
        found = (path for path in (store / "data.zarr").rglob("*") if path.is_file() and path.name != "zarr.json")
        return min(found)

    def pipe(store: Path, name: str) -> None:
        (store / name).unlink()
        os.mkfifo(store / name)

    def device(store: Path, path: Path) -> None:
        path.unlink()
        path.symlink_to("/dev/zero")

    def claim(store: Path, **claims: object) -> None:
        record = json.loads((store / "manifest.json").read_bytes())
        (store / "manifest.json").write_text(json.dumps(record | claims))

    def index(store: Path) -> None:
        pq.write_table(pa.table({"key": pa.nulls(20_000_000, pa.string())}), store / "index.parquet")

    def sparse(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(1 << 40)

    found: dict[str, Callable[[Path], object]] = {
        "manifest that is a pipe": lambda store: pipe(store, "manifest.json"),
        "index that is a pipe": lambda store: pipe(store, "index.parquet"),
        "shard that is a device": lambda store: device(store, shard(store)),
        "manifest that is a device": lambda store: device(store, store / "manifest.json"),
        "manifest of 1 TiB": lambda store: sparse(store / "manifest.json"),
        "shard of 1 TiB": lambda store: sparse(shard(store)),
        "10^15 rows": lambda store: claim(store, num_rows=10**15),
        "negative rows": lambda store: claim(store, num_rows=-1),
        "rows that are a text": lambda store: claim(store, num_rows="many"),
        "no arrays": lambda store: claim(store, arrays=[]),
        "deep manifest": lambda store: (store / "manifest.json").write_text("[" * 300_000),
        "deep record": lambda store: (store / "commits" / "0.json").write_text('{"a":' * 100_000),
        "deep zarr.json": lambda store: next(store.glob("data.zarr/*/zarr.json")).write_text("[" * 300_000),
        "index of 20 million nulls": index,
        "link to itself for a shard": lambda store: (shard(store).unlink(), (store / "loop").symlink_to("loop")),
    }
    for name, change in found.items():

        def make(folder: Path, stores: Path, change: Callable[[Path], object] = change) -> Words:
            (store,) = (stores / "features").iterdir()
            copy = folder / "runs" / "features" / store.name
            shutil.copytree(store, copy)
            change(copy)
            return ["verify", str(copy), "--json"]

        yield Hostile(f"store: {name}", make)
