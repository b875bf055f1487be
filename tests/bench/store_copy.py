"""Copies of a store from a folder to S3 and back: `python tests/bench/store_copy.py [--gib 2 --kills 10]`.

The S3 server is moto's, a process of its own on loopback. First `fae-pipe stores copy` is killed (SIGKILL) so often,
half of the times on the way there and half on the way back, each time once it has committed a shard more; given again
it ends with the bytes of every file. Then its rate beside that of a bare copy by obstore of the same files, as many at
a time, with no digest compared: the two take turns, and the ratio is the median over the rounds.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from machine import machine_facts

from stores import ArraySpec, Store, StoreWriter, new_index, open_store
from stores.backends import open_bytestore
from stores.exchange import copy_store
from stores.exchange.copying import THREADS

SPEC = ArraySpec("features", (16, 16, 384))
ROWS_PER_SHARD = 256  # 48 MiB
BUCKET = "s3://bench"


@contextmanager
def s3_server() -> Iterator[None]:
    """moto on a free port, with an empty bucket and this process's environment set to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    os.environ.update(keys | {"AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true"})
    try:
        while server.poll() is None:
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/bench", method="PUT")).close()
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait()


def write(parent: Path, gib: float) -> Store:
    """A store of about so many GiB of random features."""
    rows = max(4, round(gib * 2**30 / (ROWS_PER_SHARD * 16 * 16 * 384 * 2))) * ROWS_PER_SHARD
    index = new_index([f"row-{row}" for row in range(rows)])
    writer = StoreWriter.create(parent, "features", "bench", [SPEC], index, {}, rows_per_shard=ROWS_PER_SHARD)
    random = np.random.default_rng(0)
    for shard in writer.missing_shards():
        values = random.integers(0, 0x7C00, (ROWS_PER_SHARD, 1, 16, 16, 384), np.uint16)  # every finite float16
        writer.write_shard(shard, {"features": values.view(np.float16)})
    return writer.finalize()


def commits(url: str) -> int:
    return sum(1 for _ in open_bytestore(url).keys("commits/"))


def kill_copies(source: str, parent: str, name: str, kills: int) -> None:
    """Copy by the command, killed so often, each time once a shard more is there; then once undisturbed."""
    target, command = f"{parent}/{name}", "import fae_pipe; fae_pipe.main()"
    words = [sys.executable, "-c", command, "stores", "copy", source, parent]
    for number in range(kills):
        before, process = commits(target), subprocess.Popen([*words, "--json"], stdout=subprocess.DEVNULL)
        while process.poll() is None and commits(target) <= before:
            time.sleep(0.02)
        if process.poll() is not None:
            raise click.ClickException(f"kill {number + 1}: the copy had ended before; take more --gib")
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*words, "--json"], stdout=subprocess.DEVNULL, check=True)


def different_files(a: str, b: str) -> list[str]:
    """Keys whose bytes differ, or that one of them lacks."""
    one, two = open_bytestore(a), open_bytestore(b)
    keys = {*one.keys(), *two.keys()}
    return sorted(key for key in keys if not (one.exists(key) and two.exists(key) and one.read(key) == two.read(key)))


def bare(source: str, target: str) -> None:
    """Every file by obstore's own stores, as it is."""
    import obstore
    from obstore.store import LocalStore, S3Store

    def remote(location: str) -> LocalStore | S3Store:
        if location.startswith("s3://"):
            return S3Store.from_url(location, client_options={"allow_http": True, "timeout": "5 minutes"})
        return LocalStore(location, mkdir=True)

    one, two = remote(source), remote(target)
    keys = [entry["path"] for batch in obstore.list(one) for entry in batch]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda key: obstore.put(two, key, obstore.get(one, key).bytes()), keys))


def empty(location: str) -> None:
    """Remove what a copy has made."""
    blobs = open_bytestore(location)
    if not location.startswith("s3://"):
        shutil.rmtree(location, ignore_errors=True)
        return
    for key in list(blobs.keys()):
        blobs.delete(key)


def seconds(source: Store, parent: str, with_digests: bool) -> float:
    """Wall seconds of a copy, removed again."""
    target, start = f"{parent}/{source.blobs.url.rpartition('/')[2]}", time.perf_counter()
    copy_store(source, parent) if with_digests else bare(source.blobs.url, target)
    passed = time.perf_counter() - start
    empty(target)
    return passed


@click.command()
@click.option("--gib", default=2.0, show_default=True, help="Size of the store that is copied.")
@click.option("--kills", default=10, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Of the rates; 0: none.")
@click.option("--folder", type=click.Path(path_type=Path), default=None, help="Where three times the size fits.")
def main(gib: float, kills: int, rounds: int, folder: Path | None) -> None:
    click.echo(machine_facts())
    with tempfile.TemporaryDirectory(dir=folder) as scratch, s3_server():
        source = write(Path(scratch, "source"), gib)
        name, num_bytes = source.path.name, source.blobs.num_bytes()
        there, back = f"{BUCKET}/there", f"{scratch}/back"
        kill_copies(str(source.path), there, name, kills - kills // 2)
        kill_copies(f"{there}/{name}", back, name, kills // 2)
        different = different_files(str(source.path), f"{back}/{name}")
        same = open_store(f"{there}/{name}").content_id == open_store(f"{back}/{name}").content_id == source.content_id
        click.echo(
            f"{num_bytes / 2**30:.2f} GiB, {source.manifest.num_shards} shards, folder -> S3 -> folder, {kills} kills: "
            f"content ids {'equal' if same else 'DIFFERENT'}, {len(different)} files differ"
        )
        empty(f"{back}/{name}")
        for title, store, parent in (
            ("folder -> S3", source, f"{BUCKET}/rate"),
            ("S3 -> folder", open_store(f"{there}/{name}"), f"{scratch}/rate"),
        ):
            pairs = np.array([[seconds(store, parent, kind) for kind in (False, True)] for _ in range(rounds)])
            if rounds:
                rates = num_bytes / 1e9 / np.median(pairs, axis=0)
                ratio = np.median(pairs[:, 0] / pairs[:, 1])
                click.echo(f"{title}: obstore {rates[0]:.2f} GB/s, stores copy {rates[1]:.2f} GB/s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
