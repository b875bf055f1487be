"""Find artifacts by name or path, and walk from one to those it was made from."""

from pathlib import Path

from jobs.runs import Models, RunError, RunFolder, newest
from stores import Store, StoreError, find_manifests, open_store
from stores.format import COMPLETE

COMMANDS = {"features": "extract", "latents": "encode", "text": "extract-text"}


def find_store(root: Path, kind: str, name: str) -> Store:
    """The store at the path `name`, or the newest complete store of that name below `root`.

    Raises:
        StoreError: there is none; the message names the command that makes one.
    """
    if (Path(name) / "manifest.json").exists():
        store = open_store(Path(name))
        if store.kind != kind:
            raise StoreError(f"{name}: expected a store of {kind}; received one of {store.kind}")
        return store
    complete = [(path, manifest) for path, manifest in find_manifests(root / kind, name) if manifest.status == COMPLETE]
    if not complete:
        raise StoreError(
            f"{root / kind}: expected a complete store named {name!r}; received none; "
            f"run `fae-pipe {COMMANDS[kind]}` first"
        )
    return open_store(complete[-1][0])


def find_run(root: Path, kind: str, name: str) -> RunFolder:
    """The finished run at the path `name`, or the newest one of that name below `root`.

    Raises:
        RunError: there is none; the message names the command that makes one.
    """
    run = newest(root, kind, name)
    if run.record.kind != kind:
        raise RunError(f"{name}: expected a run of {kind}; received one of {run.record.kind}")
    run.weights_sha256  # noqa: B018 - refuses an unfinished run
    return run


def autoencoder_of(latents: Store) -> RunFolder:
    """The autoencoder that made a latent store, its weights unchanged since.

    Raises:
        RunError: it is gone or another one lies in its place.
    """
    run = RunFolder.open(Path(latents.attributes["autoencoder"]))
    if run.weights_sha256 != latents.manifest.ingredients["autoencoder_sha256"]:
        raise RunError(f"{run.path}: expected the autoencoder that made {latents.path}; its weights have changed since")
    return run


def latents_of(generator: RunFolder) -> Store:
    """The latent store that a generator was trained on, unchanged since."""
    store = open_store(Path(generator.record.inputs["latents"]))
    if store.content_id != generator.record.ingredients["latents_content_id"]:
        raise StoreError(
            f"{store.path}: expected the latents that {generator.path} was trained on; they have changed since"
        )
    return store


def decoder_for(root: Path, autoencoder: RunFolder, features_content_id: str) -> RunFolder:
    """The newest finished pixel decoder tuned on this autoencoder; else one of the same features' noised stage.

    Raises:
        RunError: there is none.
    """
    tuned, noised = [], []
    for path in sorted((root / "decoders").glob("*/run.json")):
        run = RunFolder.open(path.parent)
        made_from = run.record.ingredients
        if run.complete and made_from.get("autoencoder_sha256") == autoencoder.weights_sha256:
            tuned.append(run)
        elif run.complete and made_from.get("features_content_id") == features_content_id:
            noised.append(run)
    if not tuned and not noised:
        raise RunError(
            f"{root / 'decoders'}: expected a pixel decoder for {autoencoder.path}; run `fae-pipe train-decoder` first"
        )
    return max(tuned or noised, key=lambda run: run.record.created_unix_seconds)


def find_models(root: Path, generator: str, decoder: str | None = None, autoguidance: str | None = None) -> Models:
    """The generator of that name or path, the models that its latents came from, and the weaker generator if named.

    Raises:
        RunError: one of them is missing, or the weaker generator is of other latents.
    """
    run = find_run(root, "generators", generator)
    guide_model = find_run(root, "generators", autoguidance) if autoguidance else None
    if (
        guide_model
        and guide_model.record.ingredients["latents_content_id"] != run.record.ingredients["latents_content_id"]
    ):
        raise RunError(f"{guide_model.path}: expected a generator of the same latents as {run.path}; it is of others")
    latents = latents_of(run)
    autoencoder = autoencoder_of(latents)
    features = latents.manifest.ingredients["features_content_id"]
    decoder_run = None
    if not autoencoder.decodes_to_pixels:
        decoder_run = find_run(root, "decoders", decoder) if decoder else decoder_for(root, autoencoder, features)
    elif decoder:
        raise RunError(f"--decoder {decoder}: expected none, since the latents of {run.path} are decoded by their VAE")
    return Models(run, autoencoder, decoder_run, latents.attributes.get("class_names"), guide_model)
