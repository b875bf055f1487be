"""A pipeline whose folders hold its code and its card, wherever diffusers writes or reads them."""

from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from huggingface_hub import snapshot_download, try_to_load_from_cache

from fae.export.folder import CARD_FILE, complete_folder, copy_card
from fae.export.model_classes import MODELS, model_class

# What parts other than the models may be of.
_LIBRARIES = ("diffusers", "transformers")
_DOWNLOAD_SETTINGS = ("revision", "cache_dir", "force_download", "local_files_only", "token")


class FolderPipeline(DiffusionPipeline):
    """Loads folders by the classes of this package, without their code, and saves folders with it."""

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """A folder's model_index.json, with the classes of this package in the place of those in the folder."""
        found = super().load_config(*args, **kwargs)
        return (_own_classes(found[0]), *found[1:]) if isinstance(found, tuple) else _own_classes(found)

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> Any:
        """The folder of a repository of the hub; without `trust_remote_code` its code is left there."""
        if kwargs.get("trust_remote_code"):
            return super().download(pretrained_model_name, **kwargs)
        settings = {name: kwargs[name] for name in _DOWNLOAD_SETTINGS if name in kwargs}
        return snapshot_download(pretrained_model_name, ignore_patterns=["*.py"], **settings)

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> Any:
        """A pipeline of the same parts, of which those in `kwargs` are replaced."""
        return super().from_pipe(pipeline, **{"transformer": pipeline.transformer, **kwargs})

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save the parts with this package's code, and the card of the folder that they were loaded from."""
        super().save_pretrained(save_directory, *args, **kwargs)
        self._complete(Path(save_directory))

    def _upload_folder(self, working_dir: str | Path, *args: Any, **kwargs: Any) -> Any:
        # diffusers has written an empty card here.
        self._complete(Path(working_dir))
        return super()._upload_folder(working_dir, *args, **kwargs)

    def _complete(self, folder: Path) -> None:
        complete_folder(folder)
        source = self.config.get("_name_or_path")
        if source:
            copy_card(_local_folder(str(source)), folder)


def _own_classes(index: dict[str, Any]) -> dict[str, Any]:
    """Names the module and the class of each model as they are here, so that a folder's own code is not needed.

    Raises:
        ValueError: a part is of the folder's own code.
    """
    parts = {part: value[1] for part, value in index.items() if isinstance(value, list) and value[1] in MODELS}
    for part, value in index.items():
        is_part = isinstance(value, list) and len(value) == 2 and not part.startswith("_") and part not in parts
        if is_part and isinstance(value[0], str) and value[0] not in _LIBRARIES:
            raise ValueError(
                f"model_index.json: {part}: expected a model of fae-pipe, or a class of {' or '.join(_LIBRARIES)}; "
                f"received {value[1]!r} of {value[0]!r}, code of the folder itself (trust_remote_code), which is never "
                "run here; export the model again, or load the folder by diffusers' DiffusionPipeline"
            )
    own = {part: [model_class(name).__module__, name] for part, name in parts.items()}
    return {**index, **own, "_class_name": "FAEPipeline"}


def _local_folder(source: str) -> Path:
    """The folder that a pipeline was loaded from, or where the hub's cache keeps the card of a repository."""
    if Path(source).is_dir():
        return Path(source)
    cached = try_to_load_from_cache(source, CARD_FILE)
    return Path(cached).parent if isinstance(cached, str) else Path(source)
