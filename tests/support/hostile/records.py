"""Latents of others and recipes."""

import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from hostile.base import Hostile, MiB, Words


def import_inputs() -> Iterator[Hostile]:
    def npy(shape: str, descr: str = "'<f2'", body: bytes = bytes(64)) -> bytes:
        text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
        text += " " * (-(len(text) + 11) % 64) + "\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body

    def tensors(header: bytes, body: bytes = bytes(64), length: int | None = None) -> bytes:
        return struct.pack("<Q", len(header) if length is None else length) + header + body

    claim = b'{"latents":{"dtype":"F16","shape":[1000000000,32,16,16],"data_offsets":[0,64]}}'
    behind = b'{"latents":{"dtype":"F16","shape":[1,32,1,1],"data_offsets":[99999999,99999999999]}}'
    found: dict[str, tuple[str, bytes]] = {
        "safetensors header of 2^60 bytes": ("x.safetensors", tensors(b"{}", length=2**60)),
        "safetensors that claims 10^9 rows": ("x.safetensors", tensors(claim)),
        "safetensors that points behind its end": ("x.safetensors", tensors(behind)),
        "safetensors with a deep header": ("x.safetensors", tensors(b'{"a":' * 100_000)),
        "npz of 300 MiB of zeros": ("x.npz", zipped("arr_0.npy", npy("(1, 32, 16, 16)", body=bytes(300 * MiB)))),
        "npz that claims 10^12 rows": ("x.npz", zipped("arr_0.npy", npy("(1000000000000, 32, 16, 16)"))),
        "npz of objects": ("x.npz", zipped("arr_0.npy", npy("(1,)", "'|O'", b"cos\nsystem\n"))),
        "npz whose header is no literal": ("x.npz", zipped("arr_0.npy", npy("__import__('os')"))),
        "npy with 100,000 dimensions": ("x_features/0.npy", npy("(" + "1," * 15_000 + ")")),
    }
    for name, (file, data) in found.items():

        def make(folder: Path, _: Path, file: str = file, data: bytes = data) -> Words:
            (folder / "in" / file).parent.mkdir(parents=True)
            (folder / "in" / file).write_bytes(data)
            return ["stores", "import", str(folder / "in"), "--name", "x", "--root", str(folder / "runs"), "--json"]

        yield Hostile(f"import: {name}", make)


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, data)
    return out.getvalue()


def recipe_inputs() -> Iterator[Hostile]:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))
    found = {
        "aliases of aliases": f"a0: &a0 [x]\n{levels}\n",
        "lists in lists": "name: " + "[" * 20_000,
        "python object": "name: !!python/object/apply:os.getcwd []\n",
        "text of 32 MiB": "name: '" + "x" * (32 * MiB) + "'\n",
        "control characters in a key": 'name: x\n"\\x1b[2Jextract": {}\n',
        "keys that are lists": "? [a, b]\n: c\n",
        "name that climbs out": "name: ../../etc\n",
    }
    for name, text in found.items():

        def make(folder: Path, _: Path, text: str = text) -> Words:
            (folder / "r.yaml").write_text(text)
            return ["run", str(folder / "r.yaml"), "--root", str(folder / "runs"), "--dry-run", "--json"]

        yield Hostile(f"recipe: {name}", make)
