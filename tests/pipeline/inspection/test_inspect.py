"""The inspect command: what is said, the grid and the page, and that nothing heavy is loaded for it."""

import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from accessibility import page_problems
from click.testing import CliRunner, Result
from PIL import Image

from jobs.config.data import DataConfig
from pipeline.cli import main
from pipeline.inspection.look import SIDE_PIXELS, inspect_data


def inspect(*words: object) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, words)], prog_name="fae-pipe")


@pytest.fixture
def folder(tmp_path: Path, digit_pngs: list[tuple[str, int, bytes]]) -> Path:
    """Twelve digits in three class folders, one of whose files is no image, and <script> in a name."""
    for name, digit, data in digit_pngs:
        file = tmp_path / "in" / f"class {digit}" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (tmp_path / "in" / "class 0" / "<script>alert(1)<_script>.png").write_text("<html>gone</html>")
    return tmp_path / "in"


class Tags(HTMLParser):
    """Names of the elements of a page, and the addresses that it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.sources += [value or "" for name, value in attrs if name == "src"]


def test_what_is_understood_is_said_and_drawn(folder: Path, tmp_path: Path) -> None:
    done = inspect(folder, "--root", tmp_path / "runs", "-o", tmp_path / "out", "--columns", 5)
    assert done.exit_code == 0, done.output
    assert "  classes   3: 0 class 0 (5), 1 class 1 (4), 2 class 2 (4)" in done.output
    assert "  labels    13 labeled, 0 unlabeled" in done.output
    assert "warning: 1 of 13 images that were looked at cannot be read" in done.output
    assert "no held-out rows: metrics will be of training rows; --holdout 0.1" in done.output
    with Image.open(tmp_path / "out" / "grid.png") as grid:
        assert grid.width == 5 * (SIDE_PIXELS + 6) - 6
        assert grid.height > 3 * SIDE_PIXELS
    tags = Tags()
    page = (tmp_path / "out" / "index.html").read_text()
    tags.feed(page)
    assert "3: 0\N{NO-BREAK SPACE}class 0 (5), 1\N{NO-BREAK SPACE}class 1 (4)" in page
    assert tags.names.count("img") == 12
    assert all(source.startswith("data:image/jpeg;base64,") for source in tags.sources)
    assert page_problems(page) == []
    assert "script" not in tags.names
    assert "&lt;script&gt;alert(1)" in page
    assert "received an HTML or XML page" in page


def test_a_program_gets_one_record(folder: Path, tmp_path: Path) -> None:
    done = inspect(folder, "--root", tmp_path / "runs", "--holdout", "0.2", "--images", 3, "--json")
    record = json.loads(done.stdout)
    assert record["data"]["images"] == 13
    assert [one["images"] for one in record["data"]["classes"]] == [5, 4, 4]
    assert [warning["option"] for warning in record["data"]["warnings"]] == ["max_rejected"]
    for name in ("grid", "page"):
        assert Path(record[name]).is_relative_to(tmp_path / "runs" / "inspections")


def test_the_folder_has_a_plain_name_whatever_the_path(folder: Path, tmp_path: Path) -> None:
    for name in ("a$(b) 'c'", "*"):
        shutil.copytree(folder / "class 1", tmp_path / "odd" / name)
        done = inspect(tmp_path / "odd" / name, "--root", tmp_path / "runs", "--images", 1)
        assert done.exit_code == 0, done.output
    found = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "runs/inspections").iterdir())
    assert found == ["a-b-c", "data"]


def test_images_are_spread_over_classes(folder: Path, tmp_path: Path) -> None:
    found = inspect_data(DataConfig(path=str(folder)), tmp_path / "cache", 3)
    assert [sample.label for sample in found.samples] == ["0 class 0", "0 class 0", "1 class 1"]
    assert found.samples[1].pixels is None
    assert inspect_data(DataConfig(path=str(folder)), tmp_path / "cache", 0).samples == []


def test_a_path_without_images_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    done = inspect(tmp_path, "--root", tmp_path / "runs")
    assert done.exit_code == 2
    assert str(tmp_path) in done.output
    assert not (tmp_path / "runs" / "inspections").exists()


LIGHT = """
import sys
from pipeline.cli import main
try:
    main(sys.argv[1:])
finally:
    print("imported:", *sorted({"torch", "timm", "ray", "diffusers"} & sys.modules.keys()))
"""


def test_torch_is_not_loaded(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIGHT, "inspect", str(folder), "--root", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported:"
