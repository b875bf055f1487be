"""An exported folder alone: its code in processes that have no other of ours, and every example of its card."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from diffusers import DiffusionPipeline
from PIL import Image

from fae.export.assemble import export_pipeline
from fae.export.bundle import bundle
from fae.export.card import CardFacts, model_card
from fae.export.folder import complete_folder
from fae.export.model_classes import GENERATORS, model_class
from fae.export.pipeline_fae import FAEPipeline

FAMILIES = ("lightning-dit", "dit", "starflow", "unconditional", "text-lightning-dit", "mmdit", "text-starflow")
# What a card says, and what these bring with them.
PACKAGES_NEEDED = {"torch", "diffusers", "safetensors", "huggingface_hub", "numpy"}
# Our packages are installed here for development: a process without them has this in front of every other finder.
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("fae", "stores", "jobs", "pipeline"):
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)
sys.meta_path.insert(0, Blocker())
"""


def export(pipe: FAEPipeline, folder: Path) -> Path:
    captions = pipe.text_encoder is not None
    facts = CardFacts(
        folder.name,
        {"name": "dinov2-b"},
        "name: x",
        [],
        class_names=list(pipe.class_ids),
        unconditional=pipe._unconditional,
        text_encoder={"text_encoder": "words"} if captions else {},
        prompt="a red car",
        guidance_scale=1.0 if pipe._unconditional else 1.5,
        steps=None if pipe.scheduler is None else 3,
    )
    return export_pipeline(pipe, folder, model_card(facts))


def examples(folder: Path) -> list[str]:
    found = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(found) == 2
    return found


def image_of_a_process(code: str, folder: Path, cache: Path, python: str = sys.executable) -> np.ndarray:
    """What a process of its own writes as image.png, in the folder that holds the exported one.

    Of this Python it has this checkout, unless the code blocks it; of another one nothing of ours.
    """
    paths = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    checkout = str(Path(__file__).parents[3])
    alone = code.startswith(BLOCKER) or python != sys.executable
    start = code if alone else f"import sys; sys.path.insert(0, {checkout!r})\n{code}"
    ended = subprocess.run(
        [python, "-I", "-c", start], cwd=folder.parent, env=os.environ | paths, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    with Image.open(folder.parent / "image.png") as image:
        return np.asarray(image)


def image_here(pipe: FAEPipeline, code: str) -> np.ndarray:
    """What the example's call makes of this process's pipeline."""
    call = next(line for line in code.splitlines() if line.startswith("pipe("))
    scope = {"pipe": pipe}
    exec(f"image = {call}".removesuffix('.save("image.png")'), scope)
    return np.asarray(scope["image"])


def test_the_cards_example_needs_no_code_but_the_folders(pipe_of, tmp_path):
    pipe = pipe_of("lightning-dit")
    folder = export(pipe, tmp_path / "digits")
    code = examples(folder)[0]
    found = image_of_a_process(BLOCKER + code, folder, tmp_path / "cache")
    np.testing.assert_array_equal(found, image_here(pipe, code))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_example_of_every_familys_card_makes_the_same_image(family, pipe_of, tmp_path):
    pipe = pipe_of(family)
    folder = export(pipe, tmp_path / "digits")
    without, installed = examples(folder)
    both = without.replace("trust_remote_code=True)", f"custom_pipeline={str(folder)!r}, trust_remote_code=True)")
    for code in (BLOCKER + without, BLOCKER + both, installed):
        found = image_of_a_process(code, folder, tmp_path / "cache")
        np.testing.assert_array_equal(found, image_here(pipe, without))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_loads_without_its_code_where_ours_is(family, pipe_of, tmp_path, monkeypatch):
    pipe = pipe_of(family)
    folder = export(pipe, tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(examples(folder)[1].replace("pipe(", "image = pipe(").replace('.save("image.png")', ""), scope)
    assert type(scope["pipe"]) is FAEPipeline
    np.testing.assert_array_equal(np.asarray(scope["image"]), image_here(pipe, examples(folder)[0]))


def test_folders_of_the_layout_before_still_load(pipe_of, tmp_path):
    pipe = pipe_of("lightning-dit")
    DiffusionPipeline.save_pretrained(pipe, tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["transformer"] == ["fae.models.lightning_dit", "LightningDiT"]
    assert isinstance(FAEPipeline.from_pretrained(tmp_path), FAEPipeline)


def imported_with(tree: ast.AST) -> Iterator[str]:
    """The modules that are imported with this one, not in its functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imported_with(node)


@pytest.mark.parametrize("generator", GENERATORS)
def test_the_code_of_each_family_is_whole_and_relative(generator):
    files = bundle(generator)
    assert files.keys() >= {"__init__.py", "pipeline_fae.py", f"{GENERATORS[generator]}.py"}
    others = {f"{file}.py" for name, file in GENERATORS.items() if name != generator}
    # TextLightningDiT is made of LightningDiT's blocks.
    assert not files.keys() & (others - {"lightning_dit.py"})
    for name, text in files.items():
        compile(text, name, "exec")
        assert not re.search(r"^\s*(from|import) (fae|stores|jobs|pipeline)\b", text, re.MULTILINE), name
        needed = {name.partition(".")[0] for name in imported_with(ast.parse(text))}
        assert needed - sys.stdlib_module_names <= PACKAGES_NEEDED, name
        # diffusers would search the hub for the files of such lines, beside pipeline.py.
        assert not re.search(r"^\s*from\s+\.(\S+)\s+import", text, re.MULTILINE), name


def test_another_code_has_another_package_name_and_takes_the_place_of_the_old_one(pipe_of, tmp_path, monkeypatch):
    pipe_of("lightning-dit").save_pretrained(tmp_path)
    (before,) = tmp_path.glob("fae_code_*")
    complete_folder(tmp_path)
    assert list(tmp_path.glob("fae_code_*")) == [before]
    monkeypatch.setattr("fae.export.bundle._HEAD", "# {file} of another version\n")
    complete_folder(tmp_path)
    (after,) = tmp_path.glob("fae_code_*")
    assert after != before
    assert after.name in (tmp_path / "pipeline.py").read_text()
    assert after.name in (tmp_path / "transformer" / "fae_modeling.py").read_text()


def test_an_unknown_model_class_is_refused():
    with pytest.raises(ValueError, match=r"model class: expected one of DiT, .* received 'UNet2DModel'"):
        model_class("UNet2DModel")


def test_a_part_of_the_folders_own_code_is_refused(pipe_of, tmp_path):
    pipe_of("lightning-dit").save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "scheduler": ["fae_modeling", "Evil"]}))
    for options in ({}, {"trust_remote_code": True}):
        with pytest.raises(ValueError, match=r"scheduler: expected .* received 'Evil' of 'fae_modeling', code of the"):
            FAEPipeline.from_pretrained(tmp_path, **options)
