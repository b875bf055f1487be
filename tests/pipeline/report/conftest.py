"""The pages of reports, made once for all tests of this folder, and a browser."""

import json
import shutil

import pytest
from click.testing import CliRunner

from pipeline.cli import main

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
QUICK = ["--scales", "1,2", "--grid-steps", "2,3", "--images", "4"]


@pytest.fixture(scope="session")
def page(world, tmp_path_factory):
    """(the page's file, what the command printed as JSON) of the tiny run's generator."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    arguments = [
        "report",
        str(world.made.models.generator.path),
        "--root",
        str(world.root),
        "-o",
        str(file),
        "--lineage-image",
        str(file.with_name("way.png")),
        *QUICK,
        "--json",
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return file, json.loads(result.stdout)


@pytest.fixture(scope="session")
def both(world, tmp_path_factory):
    """(file, record) of a report on the tiny run's generator and on another one, whose held-out error is -1.

    Three workers on two hosts trained the other one.
    """
    folder = tmp_path_factory.mktemp("both")
    other = folder / "generators" / "other-000000000000"
    shutil.copytree(world.made.models.generator.path, other)
    record = json.loads((other / "run.json").read_text())
    record["ingredients"]["generator"]["seed"] = 7
    record["metrics"]["val_velocity_mse"] = -1.0
    record["hosts"] = ["h1", "h2", "h2"]
    record["inputs"] = {role: str(world.root / reference) for role, reference in record["inputs"].items()}
    del record["record_sha256"]
    (other / "run.json").write_text(json.dumps(record))
    locations = [str(world.made.models.generator.path), str(other)]
    file = folder / "both.html"
    result = CliRunner().invoke(
        main, ["report", *locations, "--root", str(world.root), "-o", str(file), "--no-sampling", "--json"]
    )
    assert result.exit_code == 0, result.output
    return file, json.loads(result.stdout)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("chromium")
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
                 "disable-background-networking", "disable-component-update", f"user-data-dir={profile}"):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        driver.set_window_size(1280, 900)
        yield driver
    finally:
        driver.quit()
