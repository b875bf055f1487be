"""The report's pages for everybody: without a browser, in Chromium with the keyboard, and by axe-core."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from accessibility import contrast, page_problems

TAB, ENTER = "\ue004", "\ue007"  # as WebDriver writes these keys
PAGE = """<html lang="en"><head>
<style>:root { --paper: #ffffff; --ink: #000000; } :root { --paper: #000000; --ink: #ffffff; }</style>
</head><body><main><h1>a</h1>%s</main></body></html>"""
MISTAKES = {
    "<img src='data:,'>": "img: no alternative text",
    "<input name='x'>": "input: no label",
    "<main></main>": "main: expected one",
    "<h3>skipped</h3>": "headings: h3 after h1",
    "<table><tr><th></th></tr></table>": "th: no text",
    "<div role='region' aria-label='A'></div><section aria-labelledby='t'><h2 id='t'>a</h2></section>": "region twice",
    "<style>:root { --paper: #ffffff; --ink: #999999; }</style>": "palettes",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_of_pages_are_found(mistake):
    assert page_problems(PAGE % "") == []
    assert any(problem.startswith(MISTAKES[mistake]) for problem in page_problems(PAGE % mistake))


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("name", ["page", "both"])
def test_everybody_can_read_the_pages(name, request):
    assert page_problems(request.getfixturevalue(name)[0].read_text()) == []


def test_a_browser_draws_the_page_without_complaint(browser, page):
    browser.get(page[0].as_uri())
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []
    images = browser.execute_script("return [...document.images].map(i => [i.naturalWidth, i.alt])")
    assert len(images) > 10
    assert all(width > 0 and text for width, text in images)
    plots = browser.execute_script("return Bokeh.documents.flatMap(d => d.roots()).length")
    assert plots == browser.execute_script("return document.querySelectorAll('.curves figure').length") > 10
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []


def test_the_keyboard_reaches_everything(browser, page):
    browser.get(page[0].as_uri())
    body = browser.find_element("tag name", "body")
    body.send_keys(TAB)
    assert browser.switch_to.active_element.get_attribute("class") == "skip"
    targets = browser.execute_script(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].map(a => !!document.querySelector(a.hash))"
    )
    assert targets
    assert all(targets)
    scrolled = browser.execute_script("return [...document.querySelectorAll('.wide, pre')].map(e => e.tabIndex)")
    assert set(scrolled) == {0}


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_a_phone_and_a_laptop_in_light_and_dark(browser, page, width):
    browser.get(page[0].as_uri())
    inks = {}
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        inks[scheme] = browser.execute_script(
            "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        )
    assert inks["light"] != inks["dark"]


def test_a_click_or_a_key_sorts_the_comparison(browser, both):
    browser.get(both[0].as_uri())
    names = "return [...document.querySelectorAll('.sortable tbody th')].map(th => th.dataset.value.split(' ')[0])"
    columns = browser.execute_script(
        "return [...document.querySelectorAll('.sortable th button')].map(b => b.textContent)"
    )
    assert browser.execute_script(names) == ["tiny", "other"]
    button = browser.find_elements("css selector", ".sortable th button")[columns.index("val velocity MSE")]
    button.click()
    assert browser.execute_script(names) == ["other", "tiny"]
    button.send_keys(ENTER)
    assert browser.execute_script(names) == ["tiny", "other"]
    sorts = "return [...document.querySelectorAll('.sortable th')].map(th => th.ariaSort).filter(Boolean)"
    assert browser.execute_script(sorts) == ["descending"]


def axe_file():
    """axe.min.js of npm's axe-core: of the folder AXE_CORE, or installed globally; None without it."""
    folders = [Path(os.environ["AXE_CORE"])] if "AXE_CORE" in os.environ else []
    if not folders and (npm := shutil.which("npm")) is not None:
        done = subprocess.run([npm, "root", "--global"], capture_output=True, text=True, check=False)
        folders.append(Path(done.stdout.strip()) / "axe-core")
    return next((folder / "axe.min.js" for folder in folders if (folder / "axe.min.js").is_file()), None)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["page", "both"])
def test_axe_finds_nothing(browser, name, scheme, request):
    axe = axe_file()
    if axe is None:
        pytest.skip("needs axe-core: npm install --global axe-core, or AXE_CORE=its folder")
    browser.get(request.getfixturevalue(name)[0].as_uri())
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.execute_script(axe.read_text())
    done = (
        "const end = arguments[0]; axe.run().then(found => end(found.violations.map(one => one.id + ': ' + one.help)))"
    )
    assert browser.execute_async_script(done) == []
