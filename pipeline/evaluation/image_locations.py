"""Which images a name or a path means: samples, stores, files, a .npz, or what a decoder makes of features."""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from fae.images import upright_size
from fae.metrics import ExtractorFacts
from jobs.config import DataConfig, EvalConfig, Size, parse_size
from jobs.evaluation import (
    FileImages,
    ImageSet,
    NpzImages,
    Reconstructions,
    StatisticsFile,
    StoreImages,
    file_images,
    read_statistics,
)
from jobs.runs import RUN_FILE, RunFolder, resolve_reference
from pipeline.artifacts import (
    SAMPLES_FILE,
    decoder_for,
    entries_named,
    features_for,
    find_data,
    find_run,
    image_path,
    is_bucket_set,
    one_store,
    open_run,
    resolve,
    set_meant,
    trained_on,
)
from stores import Store, StoreError, fingerprint, open_store
from stores.backends import is_url, name_of
from stores.exchange import npz_arrays
from stores.format import MANIFEST
from stores.sources import open_source

# What samples were made with, as it is listed beside their metrics.
NAMED_SETTINGS = ("labels", "seed", "weights", "steps", "solver", "guidance_scale", "guidance_interval")


@dataclass(frozen=True)
class ImageSelection:
    """Which images of a set count: a split, so many, and the size to which files are cropped (None: their own)."""

    split: str | None
    count: int | None
    size: Size | None
    threads: int


@dataclass(frozen=True)
class EvaluatedSet:
    """One side of a comparison: images, or statistics of images, or both.

    `name` may stand in the name of a folder; `folder` is the artifact's own, None when the images are somebody
    else's; `made_by` holds what is recorded of their making.
    """

    location: str
    name: str
    images: ImageSet | None
    statistics: StatisticsFile | None = None
    folder: Path | None = None
    made_by: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the images and statistics."""
        found = {"images": self.images.identity} if self.images is not None else {}
        return found | ({"statistics": self.statistics.identity} if self.statistics is not None else {})

    @property
    def size(self) -> Size | None:
        """Pixels, a side or HEIGHTxWIDTH; None where a file of statistics does not say."""
        if self.images is not None:
            return self.images.size
        assert self.statistics is not None
        return self.statistics.provenance["size"] if self.statistics.provenance else None

    def is_seen_by(self, facts: ExtractorFacts) -> bool:
        """Whether there are images for this extractor to see, or statistics of its kind."""
        return self.images is not None or (self.statistics is not None and self.statistics.fits(facts))

    def describe(self) -> str:
        """What it is, in a line; of samples how they were made, since guidance, steps and labels move every metric."""
        if self.images is None:
            return f"{self.location}: statistics only, provenance {'recorded' if self.size else 'not recorded'}"
        parts = [f"{self.images.total:,} images of {self.images.size} px"]
        sampled = self.made_by.get("sample", {})
        parts += [f"{name} {sampled[name]}" for name in NAMED_SETTINGS if name in sampled]
        return f"{self.location}: {', '.join(parts)}"


def open_sets(
    root: Path,
    text: str,
    config: EvalConfig,
    device: torch.device,
    threads: int,
    features: str | None = None,
    decoder: str | None = None,
) -> tuple[EvaluatedSet, EvaluatedSet | None]:
    """What is evaluated (see `open_side`, or a run and its reconstructions) and what the settings compare it with.

    Reconstructions are compared with what they rebuild when the settings name nothing else.

    Raises:
        ValueError, FileNotFoundError: a side that holds no images, or a run that makes none.
    """
    selection, reference = ImageSelection(config.split, config.count, config.size, threads), None
    if (Path(text) / RUN_FILE).is_file():
        run = RunFolder.open(Path(text))
        made = open_reconstructions(root, run, features, decoder, selection, device, config.weights)
        reference = originals_of(made)
    else:
        made = open_set(root, text, "samples", selection)
        if config.weights != EvalConfig.weights:
            raise ValueError(
                f"eval.weights {config.weights}: expected a decoder's or autoencoder's run; received images "
                f"{text}; make samples with `fae-pipe sample --weights {config.weights}`"
            )
    if config.reference is not None:
        wanted = ImageSelection(config.reference_split, config.reference_count, config.size or made.size, threads)
        reference = open_set(root, config.reference, "features", wanted)
    return made, reference


def open_validation(
    root: Path, config: EvalConfig, made: EvaluatedSet, reference: EvaluatedSet | None, threads: int
) -> EvaluatedSet | None:
    """The validation images of the settings; None where these name none.

    Raises:
        ValueError: no reference, reconstructions, or the reference's own images.
    """
    if config.validation is None:
        return None
    if reference is None or isinstance(made.images, Reconstructions):
        raise ValueError(
            f"eval.validation {config.validation}: expected samples and a reference with it; received "
            f"{made.location}{'' if reference is not None else ' and no reference'}"
        )
    wanted = ImageSelection(config.validation_split, None, config.size or made.size, threads)
    validation = open_set(root, config.validation, "features", wanted)
    if validation.identity == reference.identity:
        raise ValueError(
            f"eval.validation {config.validation}: expected other images than the reference's; received the same ones; "
            "set reference_split train and validation_split val"
        )
    return validation


def open_set(root: Path, text: str, kind: str, selection: ImageSelection) -> EvaluatedSet:
    """What a name (of the newest store of this kind below `root`) or a path means.

    Of a bucket set the store of the selection's size is meant, or that of most rows.

    Raises:
        ValueError, FileNotFoundError: nothing that holds images is there.
    """
    if is_url(text) or (Path(text) / MANIFEST).is_file():
        return _of_store(text, open_store(text), selection)
    path = Path(text)
    if (path / SAMPLES_FILE).is_file():
        return _of_samples(root, path, selection)
    if path.suffix == ".npz" and path.is_file():
        return _of_npz(path, selection)
    if (path / RUN_FILE).is_file():
        raise ValueError(
            f"{path}: expected images; a model has none: evaluate what `fae-pipe sample` makes with it, "
            "or a decoder's or autoencoder's reconstructions"
        )
    if is_bucket_set(path) or (not path.exists() and set_meant(root, kind, text)):
        store = one_store(find_data(root, kind, text), selection.size)
        return _of_store(store.url, store, selection)
    if not path.exists() and entries_named(root, kind, text):
        return open_set(root, str(resolve(root, kind, text)), kind, selection)
    return _of_files(root, text, selection)


def open_reconstructions(
    root: Path,
    run: RunFolder,
    features: str | None,
    decoder: str | None,
    selection: ImageSelection,
    device: torch.device,
    weights: str = "ema",
) -> EvaluatedSet:
    """What a decoder's run makes of the images of its feature store (its autoencoder in between, if it has one).

    An autoencoder's run is judged through the newest decoder made for it. `features` and `decoder` name others.
    `weights`: which of the run's own; see `jobs.runs.checkpoint_weights`.

    Raises:
        ValueError: another kind of run, or a feature store of another encoder.
    """
    if run.record.kind not in ("decoders", "autoencoders"):
        raise ValueError(
            f"{run.path}: expected a decoder or an autoencoder; a generator is judged by its samples: run "
            "`fae-pipe sample` with --out DIR, and evaluate these"
        )
    if run.record.kind == "autoencoders":
        autoencoder: RunFolder | None = run
        decoder_run = None if run.decodes_to_pixels else _decoder_of(root, run, decoder)
    else:
        decoder_run, tuned = run, "autoencoder" in run.record.inputs
        autoencoder = open_run(run.input("autoencoder")) if tuned else None
    store = features_for(root, run, features)
    originals = StoreImages(store, selection.split or "val", selection.count)
    made_by = {
        "decoder": str(decoder_run.path) if decoder_run else None,
        "autoencoder": str(autoencoder.path) if autoencoder else None,
        "features": store.url,
    }
    images = Reconstructions(originals, decoder_run, autoencoder, device, weights=weights, judged=run.record.kind)
    return EvaluatedSet(str(run.path), run.path.name, images, None, run.path, made_by)


def _decoder_of(root: Path, autoencoder: RunFolder, decoder: str | None) -> RunFolder:
    if decoder:
        return find_run(root, "decoders", decoder)
    return decoder_for(root, autoencoder, trained_on(autoencoder, "features"))


def originals_of(side: EvaluatedSet) -> EvaluatedSet:
    """What reconstructions are compared with: the very images that were to be rebuilt."""
    assert isinstance(side.images, Reconstructions)
    originals = side.images.originals
    return EvaluatedSet(originals.store.url, name_of(originals.store.url), originals)


def _of_store(text: str, store: Store, selection: ImageSelection) -> EvaluatedSet:
    made_by = {name: value for name, value in store.manifest.ingredients.items() if name != "store"}
    made_by |= {"labels": store.attributes["labels"]} if "labels" in store.attributes else {}
    images = StoreImages(store, selection.split, selection.count)
    return EvaluatedSet(text, name_of(text), images, None, None if is_url(text) else Path(text), made_by)


def _of_samples(root: Path, folder: Path, selection: ImageSelection) -> EvaluatedSet:
    """A folder of samples: the store that its files were written from, or the PNG files of a few samples."""
    record = json.loads((folder / SAMPLES_FILE).read_text())
    if "store" in record:
        store = open_store(resolve_reference(folder, record["store"], root))
        if store.content_id != record["content_id"]:
            raise StoreError(f"{store.url}: expected the store that {folder} was written from; it has changed since")
        side = _of_store(store.url, store, selection)
        return EvaluatedSet(str(folder), side.name, side.images, None, folder, side.made_by)
    # All have one size, which files of other images are cropped to where they are compared.
    first = min((folder / "images").glob("*.png"), default=None)
    if selection.size is None and first is not None:
        selection = replace(selection, size=parse_size("{}x{}".format(*upright_size(first.read_bytes()))))
    images = _read_files(root, folder / "images", selection)
    return EvaluatedSet(str(folder), folder.name, images, None, folder, record["ingredients"])


def _of_npz(path: Path, selection: ImageSelection) -> EvaluatedSet:
    statistics = read_statistics(path)
    images = NpzImages(path, selection.count) if "arr_0" in npz_arrays(path) else None
    if statistics is None and images is None:
        raise ValueError(
            f"{path}: expected arr_0 (images) or mu and sigma (statistics), as ADM's evaluation suite has them; "
            f"found {', '.join(npz_arrays(path))}"
        )
    return EvaluatedSet(str(path), _plain(path.stem), images, statistics)


def _of_files(root: Path, text: str, selection: ImageSelection) -> EvaluatedSet:
    found = image_path(DataConfig(path=text), root).path
    assert found is not None
    return EvaluatedSet(found, _plain(name_of(found).partition(".")[0]), _read_files(root, Path(found), selection))


def _read_files(root: Path, location: Path, selection: ImageSelection) -> FileImages:
    digests = root / "cache" / f"digests-{fingerprint({'root': str(location.absolute())})[:12]}.parquet"
    return file_images(
        open_source(str(location), cache=str(root / "cache" / "unpacked")),
        size=selection.size,
        split=selection.split,
        count=selection.count,
        cache=digests,
        threads=selection.threads,
    )


def _plain(name: str) -> str:
    """The name with nothing in it that a folder's name should not have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "images"
