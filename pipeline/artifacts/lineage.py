"""Find artifacts by name or path, and walk from one to those it was made from."""

from pathlib import Path

from jobs.remote import fetch_run, fetch_samples
from jobs.runs import RUN_FILE, Models, RunError, RunFolder, resolve_reference
from pipeline.artifacts.resolver import SAMPLES_FILE, find_location, resolve, runs_of
from stores import AnyStore, Store, StoreError, open_store
from stores.backends import Location, is_url, open_bytestore, path_of
from stores.core import member_stores, open_any


def find_store(root: Location, kind: str, text: str) -> Store:
    """Open the complete store of a kind that a name, prefix, path or URL means (see `resolve` and `find_location`).

    Raises:
        ArtifactError: There is none; the message names the command that makes one.
        StoreError: It is unfinished, damaged or of another kind.
    """
    if is_url(text) or is_url(root):
        store = open_store(find_location(root, text, (kind,), complete=True))
    else:
        store = open_store(resolve(Path(root), kind, text))
    if store.kind != kind:
        raise StoreError(f"{text}: expected a store of {kind}; received one of {store.kind}")
    return store


def open_run(location: Location) -> RunFolder:
    """Open the run in a folder or at a URL; the model of a finished one at a URL is fetched.

    Raises:
        RunError: There is none, or its model is damaged.
    """
    return fetch_run(path_of(location))


def at_hand(location: Location) -> Location:
    """A store where it lies; a run or a few samples at a URL in the folder of this machine to which they are fetched.

    Raises:
        RunError: The run's model is damaged.
    """
    blobs = open_bytestore(location)
    if is_url(location) and blobs.exists(RUN_FILE):
        return open_run(location).path
    if is_url(location) and blobs.exists(SAMPLES_FILE):
        fetch_samples(path_of(location), SAMPLES_FILE)
        return path_of(location)
    return location


def find_run(root: Path, kind: str, text: str) -> RunFolder:
    """Open the finished run of a kind that a name, prefix, path or URL means (see `resolve` and `open_run`).

    Raises:
        ArtifactError: There is none; the message names the command that makes one.
        RunError: It is unfinished or of another kind.
    """
    run = open_run(resolve(root, kind, text))
    if run.record.kind != kind:
        raise RunError(f"{text}: expected a run of {kind}; received one of {run.record.kind}")
    run.weights_sha256  # noqa: B018 - refuses an unfinished run
    return run


def autoencoder_of(latents: AnyStore) -> RunFolder:
    """The autoencoder that made a latent store, its weights unchanged since.

    Raises:
        RunError: it is gone or another one lies in its place, or imported latents name none.
    """
    if "autoencoder" not in latents.attributes:
        raise RunError(
            f"{latents.url}: expected latents with the autoencoder that decodes them; received imported ones that name "
            "none; import them again with --autoencoder NAME"
        )
    run = open_run(resolve_reference(latents.url, latents.attributes["autoencoder"]))
    if run.weights_sha256 != member_stores(latents)[0].manifest.ingredients["autoencoder_sha256"]:
        raise RunError(f"{run.path}: expected the autoencoder that made {latents.url}; its weights have changed since")
    return run


def latents_of(generator: RunFolder) -> AnyStore:
    """The latent store, or the bucket set of them, that a generator was trained on, unchanged since."""
    store = open_any(generator.input("latents"))
    if store.content_id != trained_on(generator, "latents"):
        raise StoreError(
            f"{store.url}: expected the latents that {generator.path} was trained on; they have changed since"
        )
    return store


def trained_on(run: RunFolder, role: str) -> str:
    """The content id of a store that a run was trained on.

    A run that followed a store while it was written knows its fingerprint alone.

    Raises:
        StoreError: That store is unfinished still, or another one lies in its place.
    """
    known = run.record.ingredients.get(f"{role}_content_id")
    if known is not None:
        return str(known)
    store = open_any(run.input(role))
    if store.fingerprint != run.record.ingredients[f"{role}_fingerprint"]:
        raise StoreError(f"{store.url}: expected the {role} that {run.path} was trained on; received other ones")
    return store.content_id


def decoder_for(root: Path, autoencoder: RunFolder, *features_content_ids: str) -> RunFolder:
    """The newest finished pixel decoder tuned on this autoencoder; else one of the same features' noised stage.

    The features may have several content ids: that of a bucket set, and those of its stores.

    Raises:
        RunError: there is none.
    """
    tuned, noised = [], []
    for run in runs_of(root, "decoders"):
        ingredients = run.record.ingredients
        if ingredients.get("autoencoder_sha256") == autoencoder.weights_sha256:
            tuned.append(run)
        elif "autoencoder_sha256" not in ingredients and is_trained_on(run, "features", *features_content_ids):
            noised.append(run)
    if not tuned and not noised:
        raise RunError(
            f"{root / 'decoders'}: expected a pixel decoder for {autoencoder.path}; run `fae-pipe train-decoder` first"
        )
    return open_run((tuned or noised)[-1].path)


def is_trained_on(run: RunFolder, role: str, *content_ids: str) -> bool:
    """Whether a run was trained on a store of one of these content ids; not, where a followed store is gone."""
    try:
        return trained_on(run, role) in content_ids
    except (StoreError, OSError, KeyError):
        return False


def find_models(root: Path, generator: str, decoder: str | None = None, autoguidance: str | None = None) -> Models:
    """The generator of that name or path, the models that its latents came from, and the weaker generator if named.

    Raises:
        RunError: one of them is missing, or the weaker generator is of other latents.
    """
    run = find_run(root, "generators", generator)
    guide_model = find_run(root, "generators", autoguidance) if autoguidance else None
    if guide_model and trained_on(guide_model, "latents") != trained_on(run, "latents"):
        raise RunError(f"{guide_model.path}: expected a generator of the same latents as {run.path}; it is of others")
    latents = latents_of(run)
    autoencoder = autoencoder_of(latents)
    ids = [store.manifest.ingredients.get("features_content_id") for store in member_stores(latents)]
    features = [one for one in [*ids, trained_on(autoencoder, "features")] if one]
    decoder_run = None
    if not autoencoder.decodes_to_pixels:
        decoder_run = find_run(root, "decoders", decoder) if decoder else decoder_for(root, autoencoder, *features)
    elif decoder:
        raise RunError(f"--decoder {decoder}: expected none, since the latents of {run.path} are decoded by their VAE")
    return Models(run, autoencoder, decoder_run, latents.attributes.get("class_names"), guide_model)
