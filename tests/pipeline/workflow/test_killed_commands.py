"""kill -9 at random moments of every command that writes: given again, it ends with what an undisturbed one makes."""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from jobs.runs.run_folder import RunFolder
from pipeline.artifacts.bucket_sets import kind_of_set
from pipeline.cli import main
from pipeline.config.recipe import dump, override
from processes import ProcessServer
from stores import open_bucket_set, open_store
from stores.backends import is_temporary
from stores.backends.fileio import sha256_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

KILLS = 14  # of each of 22 commands: 388 with the 50 of the store writer and the 30 of trainings in tests of their own
TRIES = 10 * KILLS  # those that were at their end before the kill among them
STEPS = {"runtime.executor": "local", "autoencoder.save_every": "1", "decoder.save_every": "1"}
STEPS |= {"generator.save_every": "1", "generator.log_every": "1", "extract.batch_size": "2", "encode.batch_size": "2"}
STEPS |= {"text.rows_per_shard": "2", "text.batch_size": "2"}
RUNS = ("autoencoders", "decoders", "generators")
STORES = ("features", "latents", "text")
# A file of each of a set's two stores.
DAMAGED = ("commits/0.json", "manifest.json")
# Of a ragged text store.
DAMAGED_TEXT = ("commits/1.json", "data.zarr/states/zarr.json", "data.zarr/states_span/zarr.json", "index.parquet")


@dataclass(frozen=True)
class Case:
    """A command, and the kinds of artifacts that lie below its root before."""

    name: str
    words: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    of_set: str | None = None
    """A folder of `set_roots` or `text_roots`, whose artifacts lie there in place of the world's."""

    def __str__(self) -> str:
        return self.name


WITH_RECIPE = ("--config", "RECIPE")
# Batches of three sizes' few rows.
FEW = ("--batch-size", "4")
SET = ("features", "buckets")
IN_BUCKETS: tuple[str, ...] = ("--buckets", "area=32x48, step=16, max_aspect=3", "--holdout", "0.2")
IN_BUCKETS += (
    "--set",
    "extract.image_size=256",
    "--set",
    "extract.input_size=null",
    "--set",
    "extract.rows_per_shard=2",
)
CASES = [
    Case("extract in buckets", ("extract", *WITH_RECIPE, "--data", "IMAGES", *IN_BUCKETS, "--limit", "24")),
    Case("grow a set", ("extract", *WITH_RECIPE, "--data", "IMAGES", *IN_BUCKETS, "--limit", "24"), SET, "small"),
    Case("train-ae on a set", ("train-ae", *WITH_RECIPE, *FEW), SET, "small"),
    Case("encode a set", ("encode", *WITH_RECIPE), (*SET, "autoencoders"), "small"),
    Case("train-gen on a set", ("train-gen", *WITH_RECIPE, *FEW), (*SET, "latents"), "small"),
    Case("copy a set", ("stores", "copy", "ROOT/buckets/*", "ROOT/copy"), SET, "small"),
    Case("repair a set", ("verify", "ROOT/buckets/*", "--repair"), SET, "small"),
    Case("gc of sets", ("stores", "gc", "--delete"), SET, "grown"),
    Case("extract-text", ("extract-text", *WITH_RECIPE), ("features",), "captions"),
    Case("grow a text store", ("extract-text", *WITH_RECIPE), ("features", "text"), "more captions"),
    Case("copy a text store", ("stores", "copy", "ROOT/text/*", "ROOT/copy/text"), ("text",), "captions"),
    Case("repair a text store", ("verify", "ROOT/text/*", "--repair"), ("text",), "captions"),
    Case("pack a text store", ("stores", "pack", "ROOT/text/*", "--out", "ROOT/archive"), ("text",), "captions"),
    Case("extract", ("extract", *WITH_RECIPE)),
    Case("append", ("extract", *WITH_RECIPE, "--limit", "120"), ("features",)),
    Case("train-ae", ("train-ae", *WITH_RECIPE), ("features",)),
    Case("train-decoder", ("train-decoder", *WITH_RECIPE), ("features", "autoencoders")),
    Case("encode", ("encode", *WITH_RECIPE), ("features", "autoencoders")),
    Case("train-gen", ("train-gen", *WITH_RECIPE), ("latents",)),
    Case("sample", ("sample", *WITH_RECIPE, "--out", "ROOT/images"), ("features", "latents", *RUNS)),
    Case("pack", ("stores", "pack", "ROOT/features/*", "--out", "ROOT/archive"), ("features",)),
    Case("gc", ("stores", "gc", "--delete"), ("features", "latents")),
]


@dataclass
class Trials:
    """One case's root folder, made anew for every trial, and what an undisturbed command makes of it."""

    case: Case
    world: Any
    root: Path
    recipe: Path
    processes: ProcessServer
    sets: Path

    def begin(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        source = self.sets / self.case.of_set if self.case.of_set else self.world.root
        for kind in self.case.kinds:
            shutil.copytree(source / kind, self.root / kind, ignore=shutil.ignore_patterns("tensorboard"))
        for path in (self.root / "buckets").glob("*"):
            if kind_of_set(path) not in self.case.kinds:
                shutil.rmtree(path)
        if self.case.name == "repair a text store":
            (store,) = (self.root / "text").iterdir()
            for key in DAMAGED_TEXT:
                (store / key).write_bytes(b"damaged")
        if self.case.name == "gc":
            self._leave_garbage()
        if self.case.name == "repair a set":
            for store, key in zip(sorted((self.root / "features").iterdir()), DAMAGED, strict=True):
                (store / key).write_bytes(b"damaged")

    def _leave_garbage(self) -> None:
        """Older stores of which nothing was made, and what writers that were killed left behind."""
        for number in range(6):
            for kind in self.case.kinds:
                (newest, *_) = (path for path in (self.root / kind).iterdir() if "old" not in path.name)
                old = self.root / kind / f"{newest.name[:-12]}old{number:09d}"
                shutil.copytree(newest, old)
                for file in list(old.glob("data.zarr/*/c/0/**/*"))[:2]:
                    if file.is_file():
                        shutil.copy(file, file.with_name(f"{file.name}.{number:032x}.tmp"))

    def start(self) -> Any:
        named = {"RECIPE": str(self.recipe), "IMAGES": str(self.recipe.parent / "images")}
        words = [named.get(word, word).replace("ROOT", str(self.root)) for word in self.case.words]
        if "*" in "".join(words):
            words = [str(next(Path(word).parent.iterdir())) if word.endswith("*") else word for word in words]
        return self.processes.fae_pipe(*words, "--root", self.root)

    def finish(self) -> float:
        """Seconds of the command when nobody disturbs it."""
        began = time.perf_counter()
        process = self.start()
        assert process.wait() == 0, process.stdout + process.stderr
        return time.perf_counter() - began

    def outcome(self) -> dict[str, Any]:
        """All that must be equal: content ids, digests of weights, and of every image, tar and archive's shard."""
        return dict(self._found())

    def _found(self) -> Iterator[tuple[str, Any]]:
        for root in (self.root, self.root / "copy"):
            for kind in STORES:
                for path in (root / kind).glob("*"):
                    yield str(path.relative_to(self.root)), open_store(path).content_id
            for path in (root / "buckets").glob("*"):
                yield str(path.relative_to(self.root)), open_bucket_set(path).content_id
        for kind in RUNS:
            for path in (self.root / kind).glob("*"):
                yield f"{kind}/{path.name}", RunFolder.open(path).weights_sha256
        for kind in ("images", "archive/data.zarr"):
            for path in (self.root / kind).rglob("*"):
                if path.is_file() and path.suffix != ".json":
                    yield str(path.relative_to(self.root)), sha256_of(path)

    def leftovers(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if is_temporary(path.name) or path.name == "lease.json"]


@pytest.fixture(scope="module")
def recipe(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe with many checkpoints, and beside it a folder of 24 images of two aspects."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "tiny.yaml").write_text(dump(override(world.recipe, STEPS)))
    (folder / "images").mkdir()
    for number in range(24):
        width, height = (60, 40) if number % 3 else (40, 60)
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    return folder / "tiny.yaml"


def invoke(*words: object) -> None:
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def set_roots(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small`: a bucket set of 16 of the images, an autoencoder trained on it and its latents; `grown`: of all, too."""
    folder = tmp_path_factory.mktemp("sets")
    extract = ("extract", "--data", recipe.parent / "images", *IN_BUCKETS, "--limit")
    for words in ((*extract, "16"), ("train-ae", *FEW), ("encode",)):
        invoke(*words, "--config", recipe, "--root", folder / "small")
    shutil.copytree(folder / "small", folder / "grown")
    invoke(*extract, "24", "--config", recipe, "--root", folder / "grown")
    for kind in ("latents", "autoencoders"):  # which would keep the older set
        shutil.rmtree(folder / "grown" / kind)
    for path in (folder / "grown" / "buckets").iterdir():
        if kind_of_set(path) == "latents":
            shutil.rmtree(path)
    for path in [path for kind in SET for path in (folder / "grown" / kind).iterdir()]:
        for one in (path, *path.iterdir()):
            os.utime(one, (1, 1))  # gc keeps what is new
    return folder


@pytest.fixture(scope="module")
def text_roots(world: Any, recipe: Path, minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`captions`: features of 8 images with captions, and their ragged text store; `more captions`: of 12 images."""
    folder = tmp_path_factory.mktemp("captions")
    images = folder / "images"
    images.mkdir()
    for number in range(12):
        shutil.copy(recipe.parent / "images" / f"{number}.png", images)
        (images / f"{number}.txt").write_text("noise of one color " + "and of another one " * (number % 5))
    for words in (("extract", "--data", images, "--limit", "8"), ("extract-text",)):
        invoke(*words, "--config", recipe, "--root", folder / "captions")
    shutil.copytree(folder / "captions", folder / "more captions")
    invoke("extract", "--data", images, "--limit", "12", "--config", recipe, "--root", folder / "more captions")
    return folder


@pytest.fixture
def trials(
    case: Case, world: Any, recipe: Path, tmp_path: Path, processes: ProcessServer, request: pytest.FixtureRequest
) -> Trials:
    roots = request.getfixturevalue("text_roots" if "caption" in (case.of_set or "") else "set_roots")
    return Trials(case, world, tmp_path / "runs", recipe, processes, roots)


def killed(process: Any, after_seconds: float) -> bool:
    """Whether the process was still at work when it was killed."""
    deadline = time.perf_counter() + after_seconds
    while process.poll() is None and time.perf_counter() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode in (0, -signal.SIGKILL), process.stdout + process.stderr
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("case", CASES, ids=str)
def test_whenever_it_is_killed_the_same_command_ends_it(trials: Trials) -> None:
    trials.begin()
    seconds = trials.finish()
    expected, moments = trials.outcome(), random.Random(trials.case.name)
    assert expected
    met = tries = 0
    trials.begin()
    while met < KILLS:
        tries += 1
        assert tries < TRIES, f"only {met} kills met the command at work"
        if killed(trials.start(), moments.uniform(0.05, seconds)):
            met += 1
        else:
            assert trials.outcome() == expected
            trials.begin()
    trials.finish()
    print(f"{trials.case}: {met} kills in {tries} tries, equal, {len(trials.leftovers())} leftovers")
    assert trials.outcome() == expected
    assert trials.leftovers() == []
