"""What a report is about: a run or store, and everything that it was made from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.runs import KINDS, RunError, RunFolder, resolve_reference
from jobs.sampling import takes_text, text_of
from pipeline.artifacts import (
    ArtifactError,
    autoencoder_of,
    decoder_for,
    is_bucket_set,
    latents_of,
    open_run,
    resolve,
    trained_on,
)
from stores import AnyStore, BucketSet, Store, StoreError, open_bucket_set, open_store
from stores.backends import is_url, name_of, path_of
from stores.core import open_any, reference_store

FINGERPRINT_CHARACTERS, SHOWN_CHARACTERS = 12, 6


def short_name(path: Path) -> str:
    """`mine · 012345` of a folder called mine-0123456789ab."""
    name, _, digest = path.name.rpartition("-")
    fits = name and len(digest) == FINGERPRINT_CHARACTERS
    return f"{name} · {digest[:SHOWN_CHARACTERS]}" if fits else path.name


@dataclass
class Subject:
    """A run or store and its ancestors, as far as they are still there; `missing` says which are not, and why."""

    path: Path
    kind: str
    name: str
    features: Store | None = None
    autoencoder: RunFolder | None = None
    decoder: RunFolder | None = None
    latents: Store | None = None
    text: Store | None = None
    generator: RunFolder | None = None
    missing: list[str] = field(default_factory=list)
    set_of: dict[str, str] = field(default_factory=dict)
    """The bucket set's folder by that of each of its stores, where models were trained on a set."""

    def shown(self, data: AnyStore) -> Store:
        """The store itself; of a bucket set that of most rows, which is remembered to be of the set."""
        if isinstance(data, BucketSet):
            self.set_of |= {name_of(store.url): name_of(data.url) for store in data.members}
        return reference_store(data)

    @property
    def title(self) -> str:
        """What it is called on the page: its name, then the beginning of its fingerprint."""
        return short_name(self.path)

    @property
    def runs(self) -> list[RunFolder]:
        """The trained models, in the order in which they were made."""
        return [run for run in (self.autoencoder, self.decoder, self.generator) if run is not None]

    @property
    def stores(self) -> list[Store]:
        """The stores, in the order in which they were made."""
        return [store for store in (self.features, self.latents, self.text) if store is not None]

    @property
    def folders(self) -> list[Path]:
        """The folders of all that is known, the oldest first."""
        parts = (self.features, self.autoencoder, self.decoder, self.latents, self.text, self.generator)
        return [path_of(one.url) if isinstance(one, Store) else one.path for one in parts if one is not None]


def open_subject(root: Path, location: str) -> Subject:
    """The run or store at a path, the store at a URL, or the newest finished generator of that name.

    Of a bucket set, and of what was trained on one, the store of most rows is shown.

    Raises:
        RunError, StoreError: there is none.
    """
    path = Path(location)
    if is_url(location) or (path / "manifest.json").exists():
        return _of_store(root, open_store(location))
    if is_bucket_set(path):
        found = open_bucket_set(path)
        subject = _of_store(root, reference_store(found))
        subject.path, subject.name = path, found.name
        return subject
    run = open_run(path if path.is_dir() else resolve(root, "generators", location))
    subject = Subject(run.path, run.record.kind, run.record.name)
    assert subject.kind in KINDS, subject.kind
    {"autoencoders": _from_autoencoder, "decoders": _from_decoder, "generators": _from_generator}[subject.kind](
        root, subject, run
    )
    return subject


def _of_store(root: Path, store: Store) -> Subject:
    subject = Subject(path_of(store.url), store.kind, store.name)
    if store.kind == "features":
        subject.features = store
    elif store.kind == "latents":
        _from_latents(root, subject, store)
    elif store.kind == "text":
        subject.text = store
        features = resolve_reference(store.url, store.attributes["aligned_with"], root)
        subject.features = _try(subject, "features", lambda: open_store(features))
    else:
        folder = resolve_reference(store.url, store.attributes["generator"], root)
        generator = _try(subject, "generator", lambda: open_run(folder))
        if generator is not None:
            _from_generator(root, subject, generator)
    return subject


def _from_generator(root: Path, subject: Subject, run: RunFolder) -> None:
    subject.generator = run
    if takes_text(run):
        subject.text = _try(subject, "text", lambda: subject.shown(text_of(run)))
    latents = _try(subject, "latents", lambda: latents_of(run))
    if latents is not None:
        _from_latents(root, subject, latents)


def _from_latents(root: Path, subject: Subject, latents: AnyStore) -> None:
    subject.latents = subject.shown(latents)
    run = _try(subject, "autoencoder", lambda: autoencoder_of(latents))
    if run is not None:
        _from_autoencoder(root, subject, run)


def _from_autoencoder(root: Path, subject: Subject, run: RunFolder) -> None:
    subject.autoencoder = run
    _find_features(subject, run)
    if run.complete and not run.decodes_to_pixels:
        subject.decoder = _try(subject, "pixel decoder", lambda: decoder_for(root, run, _features_id(run)))


def _from_decoder(root: Path, subject: Subject, run: RunFolder) -> None:
    subject.decoder = run
    _find_features(subject, run)
    if "autoencoder" in run.record.inputs:
        subject.autoencoder = _try(subject, "autoencoder", lambda: open_run(run.input("autoencoder")))


def _features_id(run: RunFolder) -> str:
    """Of the features that an autoencoder was trained on; imported ones have none."""
    known = {"features_content_id", "features_fingerprint"} & run.record.ingredients.keys()
    return trained_on(run, "features") if known else ""


def _find_features(subject: Subject, run: RunFolder) -> None:
    subject.features = _try(subject, "features", lambda: subject.shown(open_any(run.input("features"))))


def _try(subject: Subject, what: str, find: Any) -> Any:
    """What is found, or None with a line about it: a report tells what there is."""
    try:
        return find()
    except (ArtifactError, RunError, StoreError, OSError, KeyError) as error:
        subject.missing.append(f"{what}: {error}")
        return None
