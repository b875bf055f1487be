"""Frozen models of transformers folders: loaded from safetensors, whole or a part, without a word on the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fae.weights.files import WeightsError
from fae.weights.memory import align_module


def import_transformers() -> Any:
    """The library; it comes with an extra.

    Raises:
        WeightsError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise WeightsError("expected the package transformers; run: pip install 'fae-pipe[text]'") from error
    return transformers


def read_part(kind: Any, place: Path | str, **options: Any) -> Any:
    """What a class of transformers reads of a folder or repository, by the code of transformers alone.

    Args:
        kind: a class with `from_pretrained`.
        place: a folder or a repository of the hub.
        options: others of `from_pretrained`.

    Raises:
        OSError, ValueError, KeyError: transformers cannot read it.
        WeightsError: it asks to run code of its own.
    """
    try:
        # Where this is not said, transformers asks at the terminal whether to run the folder's code.
        return kind.from_pretrained(place, trust_remote_code=False, **options)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise WeightsError(
            f"{place}: expected a model whose code is part of transformers; received one that asks to run code of its "
            "own (trust_remote_code), which is never done; take a model of another kind, or a release of transformers "
            "that has this one"
        ) from error


def load_frozen(model_class: Any, folder: Path, device: torch.device, **options: Any) -> Any:
    """The model in float32 and eval mode on a device, without gradients; what else the folder holds is left there.

    `options` are those of `from_pretrained`.

    Raises:
        OSError, ValueError, KeyError: a folder that transformers cannot read.
        WeightsError: weights of the model are missing there, or it asks to run code of its own.
    """
    with _quietly():
        model, found = read_part(
            model_class,
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    # BERT's pooler is often left out, and none of ours uses it.
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise WeightsError(
            f"{folder}: expected all weights of a {model_class.__name__}; {len(missing)} are missing, {missing[0]} "
            "among them; give the folder of a model that has this part"
        )
    return align_module(model.to(device).eval().requires_grad_(False))


@contextmanager
def _quietly() -> Iterator[None]:
    """No bars and no list of the weights that are another part's; what is missing is an error anyway."""
    logging = import_transformers().utils.logging
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
