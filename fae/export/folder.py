"""An exported folder: weights and settings as diffusers saves them, and the code and the card that belong to them."""

import hashlib
import json
import shutil
from pathlib import Path

from fae.export.model_classes import GENERATORS, MODELS

PIPELINE_FILE, INDEX_FILE, CARD_FILE, IMAGES_FILE = "pipeline.py", "model_index.json", "README.md", "samples.png"
CARD_FILES = (CARD_FILE, IMAGES_FILE)
# Beside the weights of each model: the module where diffusers looks for its class.
CLASSES = "fae_modeling"
_PIPELINE_TEXT = '''"""The pipeline of this folder; diffusers loads it with trust_remote_code=True.

The package beside this file is its code. It needs torch, diffusers and safetensors, captions transformers too.
"""

from typing import TYPE_CHECKING

{pipeline}

if TYPE_CHECKING:  # diffusers copies the files that such lines name, and no others
{copies}

__all__ = ["FAEPipeline"]
'''
_CLASSES_TEXT = '''"""Where diffusers looks for the classes of these weights: in the package beside pipeline.py."""

from . import {package} as code

{lines}
'''


def complete_folder(folder: Path) -> None:
    """Add the code to a folder that diffusers has saved a pipeline in, and name it in model_index.json.

    The package has a digest of its files in its name: Python keeps modules by name, and two exports may differ.
    """
    index = json.loads((folder / INDEX_FILE).read_text("utf-8"))
    models = {part: value[1] for part, value in index.items() if isinstance(value, list) and value[1] in MODELS}
    files = code_files(models["transformer"])
    digest = hashlib.sha256("".join(f"{name}\0{text}\0" for name, text in sorted(files.items())).encode())
    package = f"fae_code_{digest.hexdigest()[:8]}"
    for old in folder.glob("fae_code_????????"):
        shutil.rmtree(old)
    _write(folder / package, files)
    copies = "\n".join("    " + _import(package, name.removesuffix(".py"), "*") for name in sorted(files))
    pipeline = _import(package, "pipeline_fae", "FAEPipeline")
    lines = "\n".join(f"{name} = code.{name}" for name in sorted(models.values()))
    _write(folder, {PIPELINE_FILE: _PIPELINE_TEXT.format(pipeline=pipeline, copies=copies)})
    for part in models:
        _write(folder / part, {f"{CLASSES}.py": _CLASSES_TEXT.format(package=package, lines=lines)})
    index |= {part: [CLASSES, name] for part, name in models.items()}
    index.pop("_name_or_path", None)  # a path of this machine
    index["_class_name"] = [PIPELINE_FILE.removesuffix(".py"), "FAEPipeline"]
    _write(folder, {INDEX_FILE: json.dumps(index, indent=2) + "\n"})


def code_files(generator: str) -> dict[str, str]:
    """The text of each file of the code's package: this very package's in an exported folder, else made of fae's.

    Args:
        generator: name of the generator's class, one of `GENERATORS`.
    """
    if __name__ != "fae.export.folder":
        return {file.name: file.read_text("utf-8") for file in Path(__file__).parent.glob("*.py")}
    from fae.export.bundle import bundle

    assert generator in GENERATORS, generator
    return bundle(generator)


def copy_card(source: Path, folder: Path) -> None:
    """Copy the card and its images from one exported folder to another, as far as they are there."""
    for name in CARD_FILES:
        if (source / name).is_file() and source.resolve() != folder.resolve():
            shutil.copyfile(source / name, folder / name)


def _import(package: str, module: str, names: str) -> str:
    # Not as a line of its own here: diffusers searches the text of these files for such lines.
    return f"from .{package}.{module} import {names}"


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
