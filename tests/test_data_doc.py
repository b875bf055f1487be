"""Each row of the table in docs/data.md, run on a data set of that form."""

import io
import json
import re
import shlex
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "data.md"
ROWS = [
    (command, expected.strip())
    for _, command, expected in re.findall(r"^\| (.+) \| `fae-pipe inspect (.+)` \| (.+) \|$", PAGE.read_text(), re.M)
]


def png(number: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (12, 10), (number * 20, 255 - number * 20, 90)).save(sink, "PNG")
    return sink.getvalue()


def put(path: Path, what: bytes | str | Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = what if isinstance(what, bytes | str) else json.dumps(what)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def tar(path: Path, members: dict[str, bytes | str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, what in members.items():
            data = what.encode() if isinstance(what, str) else what
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))


def animals(d: Path) -> None:
    for number in range(4):
        put(d / "animals" / ("cat", "dog")[number // 2] / f"{number}.png", png(number))


def pets(d: Path) -> None:
    for number in range(6):
        put(d / "pets" / ("train", "val")[number // 4] / ("cat", "dog")[number % 2] / f"{number}.png", png(number))


def imagenet(d: Path) -> None:
    base, words = d / "imagenet" / "ILSVRC" / "Data" / "CLS-LOC", ("n01440764", "n02102040")
    for number in range(4):
        put(base / "train" / words[number // 2] / f"{words[number // 2]}_{number}.JPEG", png(number))
    lines = ["ImageId,PredictionString"]
    for number in (4, 5):
        put(base / "val" / f"ILSVRC2012_val_{number:08d}.JPEG", png(number))
        lines.append(f"ILSVRC2012_val_{number:08d},{words[number % 2]} 1 2 3 4 ")
    put(d / "imagenet" / "LOC_val_solution.csv", "\n".join(lines) + "\n")


def classes(d: Path) -> None:
    for first, word in ((0, "n01440764"), (2, "n02102040")):
        members: dict[str, bytes | str] = {f"{word}_{number}.JPEG": png(number) for number in (first, first + 1)}
        tar(d / "classes" / f"{word}.tar", members)


def captions(d: Path) -> None:
    for split, first in (("train", 0), ("val", 2)):
        names = [f"{number}.png" for number in (first, first + 1)]
        for name in names:
            put(d / "captions" / split / name, png(int(name[0])))
        rows = "".join(f'{name},"a picture, number {name[0]}"\n' for name in names)
        put(d / "captions" / split / "metadata.csv", f"file_name,text\n{rows}")


def prompts(d: Path) -> None:
    lines = []
    for number in range(2):
        put(d / "prompts" / f"{number}.png", png(number))
        lines.append(json.dumps({"file_name": f"{number}.png", "prompt": f"prompt {number}"}))
    put(d / "prompts" / "metadata.jsonl", "\n".join(lines))


def photos(d: Path) -> None:
    for number in range(4):
        put(d / "photos" / f"{number}.png", png(number))
    put(d / "labels.csv", "file_name,label\n" + "".join(f"{n}.png,{'cat' if n % 2 else 'dog'}\n" for n in range(4)))
    own = "".join(f"{n}.png\t{'cat' if n % 2 else 'dog'}\tnumber {n}\n" for n in range(4))
    put(d / "own.tsv", f"picture\tspecies\twords\n{own}")
    put(d / "list.txt", "".join(f"{n}.png {n % 2}\n" for n in range(4)))
    table = {"path": [f"{number}.png" for number in range(4)], "label": [0, 0, 1, 1]}
    pq.write_table(pa.table(table), d / "paths.parquet")


def lora(d: Path) -> None:
    for number in range(2):
        put(d / "lora" / f"{number}.png", png(number))
        put(d / "lora" / f"{number}.txt", f"a caption, number {number}\n")


def tuned(d: Path) -> None:
    for number in range(2):
        put(d / "tuned" / "images" / f"{number}.png", png(number))
        put(d / "tuned" / "captions" / f"{number}.txt", f"a caption, number {number}\n")


def both(d: Path) -> None:
    for number in range(4):
        put(d / "both" / f"{number}.png", png(number))
        put(d / "both" / f"{number}.txt", f"a caption, number {number}\n")
    put(d / "both" / "labels.csv", "file,label\n" + "".join(f"{n}.png,{('cat', 'dog')[n % 2]}\n" for n in range(4)))


def traps(d: Path) -> None:
    images = [{"id": f"i{number}", "file_name": f"{number}.png"} for number in range(4)]
    for number in range(4):
        put(d / "traps" / "images" / f"{number}.png", png(number))
    notes = [{"id": number, "image_id": f"i{number}", "category_id": number % 2} for number in range(4)]
    kinds = [{"id": 0, "name": "empty"}, {"id": 1, "name": "fox"}]
    put(d / "traps" / "train.json", {"images": images, "annotations": notes, "categories": kinds})


def birds(d: Path) -> None:
    names = [f"00{number // 2 + 1}.Auk/{number}.png" for number in range(4)]
    for number, name in enumerate(names):
        put(d / "birds" / "images" / name, png(number))
    put(d / "birds" / "images.txt", "".join(f"{number + 1} {name}\n" for number, name in enumerate(names)))
    put(d / "birds" / "train_test_split.txt", "1 1\n2 0\n3 1\n4 0\n")


def lake(d: Path) -> None:
    for number in range(4):
        folder = d / "lake" / f"split={('train', 'val')[number // 2]}" / f"label={('cat', 'dog')[number % 2]}"
        put(folder / f"{number}.png", png(number))


def domains(d: Path) -> None:
    for number in range(4):
        put(
            d / "domains" / ("photo", "sketch")[number // 2] / ("cat", "dog")[number % 2] / f"{number}.png", png(number)
        )


def spoken(d: Path) -> None:
    for number in range(2):
        put(d / "spoken" / "images" / f"{number}.png", png(number))
        for tongue in ("de", "en"):
            put(d / "spoken" / f"captions_{tongue}" / f"{number}.txt", f"{tongue} {number}")


def shards(d: Path) -> None:
    for split, first in (("train-000", 0), ("val-001", 2)):
        members: dict[str, bytes | str] = {}
        for n in (first, first + 1):
            members |= {f"{n}.png": png(n), f"{n}.cls": str(n % 2), f"{n}.txt": f"text {n}"}
        tar(d / "shards" / f"{split}.tar", members)


def laion(d: Path) -> None:
    members: dict[str, bytes | str] = {}
    for n in range(2):
        members |= {f"0000{n}.jpg": png(n), f"0000{n}.txt": f"text {n}", f"0000{n}.json": json.dumps({"url": "u"})}
    tar(d / "laion" / "00000.tar", members)
    keys = {"url": ["u", "u"], "caption": ["text 0", "text 1"], "key": ["00000", "00001"], "status": ["success"] * 2}
    pq.write_table(pa.table(keys), d / "laion" / "00000.parquet")
    put(d / "laion" / "00000_stats.json", {"count": 2})


def edm2(d: Path) -> None:
    labels = [[f"00000/img{number:08d}.png", number // 2] for number in range(4)]
    for number, (name, _) in enumerate(labels):
        put(d / "edm2" / str(name), png(number))
    put(d / "edm2" / "dataset.json", {"labels": labels})
    put(d / "names.txt", "cat\ndog\n")


def coco(d: Path) -> None:
    for split, first in (("train2017", 0), ("val2017", 2)):
        images = [{"id": n, "file_name": f"{n:012d}.jpg"} for n in (first, first + 1)]
        for image in images:
            put(d / "coco" / split / str(image["file_name"]), png(int(str(image["id"]))))
        notes = [{"id": image["id"], "image_id": image["id"], "caption": f"caption {image['id']}"} for image in images]
        put(d / "coco" / "annotations" / f"captions_{split}.json", {"images": images, "annotations": notes})


def flickr(d: Path) -> None:
    images = []
    for n, split in enumerate(("train", "val", "test")):
        put(d / "flickr" / "images" / f"{n}.jpg", png(n))
        images.append({"filename": f"{n}.jpg", "split": split, "sentences": [{"raw": f"text {n}"}]})
    put(d / "flickr" / "dataset_flickr8k.json", {"images": images, "dataset": "flickr8k"})


def hub(d: Path) -> None:
    (d / "hub").mkdir()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split, first in (("train", 0), ("validation", 2)):
        images = pa.array([{"bytes": png(n), "path": f"{n}.png"} for n in (first, first + 1)], kind)
        table = pa.table({"image": images, "label": [0, 1], "caption": ["a", "b"]})
        pq.write_table(table, d / "hub" / f"{split}-00000-of-00001.parquet")


def archive(d: Path) -> None:
    animals(d)
    with zipfile.ZipFile(d / "animals.zip", "w") as file:
        for path in sorted((d / "animals").rglob("*.png")):
            file.write(path, path.relative_to(d))


def numbered(d: Path) -> None:
    for number in range(4):
        put(d / "numbered" / ("3", "12")[number // 2] / f"{number}.png", png(number))


BUILDERS: dict[str, Callable[[Path], None]] = {
    "animals": animals,
    "animals.zip": archive,
    "paths.parquet": photos,
    "shards/*-{000..001}.tar": shards,
    "hub/*.parquet": hub,
    **{
        build.__name__: build
        for build in (pets, imagenet, classes, captions, prompts, photos, lora, laion, edm2, coco, flickr, numbered)
    },
    **{build.__name__: build for build in (tuned, traps, birds, lake, domains, spoken, both)},
}


def test_the_table_is_there() -> None:
    assert len(ROWS) == 28


@pytest.mark.parametrize(("command", "expected"), ROWS)
def test_a_row_of_the_table(command: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    BUILDERS[words[0]](tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAE_PIPE_DATA", raising=False)
    done = CliRunner().invoke(main, ["inspect", *words, "--images", "0", "--json", "--root", "runs"])
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)["data"]
    splits = ", ".join(f"{split or 'none given'} {count}" for split, count in data["splits"].items())
    found = f"{data['images']} images, {len(data['classes'])} classes, {data['captioned']} captioned, {splits}"
    assert f"{data['layout']}: {found}" == expected
    if "--contiguous-labels" in words:
        assert [one["id"] for one in data["classes"]] == [0, 1]
    if "--class-names" in words:
        assert [one["name"] for one in data["classes"]] == ["cat", "dog"]
