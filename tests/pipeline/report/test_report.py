"""The report: one page that shows a run, loads nothing, and can be read by everybody."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from bokeh.document.models import DocumentModelManager
from click.testing import CliRunner
from markupsafe import Markup
from PIL import Image

from jobs.runs import RunFolder
from jobs.sampling.report_images import nearest_images
from pipeline.cli import main
from pipeline.report import image_html, records
from pipeline.report.curves import HELD_OUT, TRAIN, channel_curves, curve, embed, main_curves, training_curves
from pipeline.report.headlines import training_seconds
from pipeline.report.lineage_graph import lineage_graph
from pipeline.report.metrics import metric_tables
from pipeline.report.overview import by_column, real_rows
from pipeline.report.page import Section, page_table, render_page
from pipeline.report.subjects import open_subject


def test_every_section_is_there(page):
    file, record = page
    assert [title.split(" of ")[0] for title in record["sections"]] == [
        "Overview", "From image to latent and back",
        "Lineage", "Metrics", "Training", "Training", "Training", "Latents", "Reconstructions",
        "Samples along the training", "Samples", "Guidance and steps", "Nearest training images", "Settings",
    ]  # fmt: skip
    assert record["num_bytes"] == file.stat().st_size < 10e6


def test_the_picture_shows_images_on_their_way(page, world):
    with Image.open(page[1]["lineage_image"]) as image:
        side, classes = 2 * 32, len(set(world.made.features.labels.tolist()))
        assert image.width > min(6, classes) * side
        assert image.height > 5 * side


def test_nothing_is_loaded_from_anywhere(page):
    text = page[0].read_text()
    own = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", own)
    assert not re.search(r"<script[^>]*\bsrc=", text)
    assert "@import" not in own
    assert "url(http" not in own


def test_subjects_find_what_they_were_made_from(world):
    made, root = world.made, world.root
    of_generator = open_subject(root, str(made.models.generator.path))
    assert [run.path for run in of_generator.runs] == [
        made.autoencoder.path,
        made.decoder.path,
        made.models.generator.path,
    ]
    assert [store.content_id for store in of_generator.stores] == [made.features.content_id, made.latents.content_id]
    assert open_subject(root, made.models.generator.record.name).path == made.models.generator.path
    assert open_subject(root, str(made.latents.path)).generator is None
    assert open_subject(root, str(made.features.path)).runs == []
    assert open_subject(root, str(made.decoder.path)).autoencoder.path == made.autoencoder.path


def test_what_is_gone_is_named_and_the_rest_is_shown(world, tmp_path):
    run = tmp_path / "lonely"
    shutil.copytree(world.made.models.generator.path, run)
    record = json.loads((run / "run.json").read_text())
    record["inputs"]["latents"] = str(tmp_path / "gone")
    del record["record_sha256"]
    (run / "run.json").write_text(json.dumps(record))
    result = CliRunner().invoke(main, ["report", str(run), "--root", str(tmp_path), "-o", str(tmp_path / "r.html")])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "r.html").read_text()
    assert "latents: " in text
    assert str(tmp_path / "gone") in text


def test_a_place_without_a_run_is_refused(tmp_path):
    result = CliRunner().invoke(main, ["report", str(tmp_path), "-o", str(tmp_path / "r.html")])
    assert result.exit_code != 0
    assert "run.json" in result.output
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("option", [["--scales", "1,x"], ["--grid-steps", "0"], ["--scales", ""]])
def test_wrong_numbers_are_named(world, option):
    result = CliRunner().invoke(main, ["report", str(world.made.models.generator.path), *option])
    assert result.exit_code == 2
    assert "expected numbers above 0" in result.output


def test_two_runs_stand_side_by_side(both, world):
    file, record = both
    text = file.read_text()
    assert "Differences" in record["sections"]
    assert "seed" in text[text.index("What decided the weights") :]
    assert text.count('class="asked"') == 2


def test_the_hosts_of_what_several_made_stand_in_a_table(both, page):
    assert "Hosts" in both[1]["sections"]
    assert "Hosts" not in page[1]["sections"]
    table = both[0].read_text().partition('aria-label="rows and rates of hosts"')[2].partition("</table>")[0]
    assert re.findall(r"<td>(h\d)</td>.*?<td class=\"number\">(\d)</td>", table) == [("h1", "1"), ("h2", "2")]


def test_the_runs_metrics_stand_in_one_table_with_the_best_of_each_column_marked(both):
    text = both[0].read_text()
    table = text[text.index('id="comparison"') :]
    table = table[: table.index("</table>")]
    assert re.findall(r'<th scope="row" data-value="[^"]*">([^<]*)', table)[1] == "other · 000000"
    assert re.search(r'data-first="descending"><button type="button">PSNR dB<', table)
    assert re.search(r'data-first="ascending"><button type="button">val velocity MSE<', table)
    assert re.findall(r'data-value="([^"]*)">[^<]* <span class="best">', table) == ["-1.0"]


def test_values_of_raw_weights_stand_beside_those_of_averaged_ones():
    rows = [
        {"of": "a", "metric": name, "value": value, "how": how}
        for name, value, how in (("psnr db raw", 1, "x"), ("psnr db", 2, "x"), ("FD", 3, "y"), ("FD at 20", 4, "z"))
    ]
    html = metric_tables(rows)
    assert re.findall(r"<td[^>]*>([^<]*)</td>", html[: html.index("At fewer samples")]) == [
        "PSNR dB", "2", "1", "x", "FD", "3", "", "y",
    ]  # fmt: skip
    assert "At fewer samples" in html
    assert "<p>X.</p>" in metric_tables(rows[:2])
    assert metric_tables([]) == "<p>Nothing yet.</p>"


def test_names_are_text_and_never_markup(world):
    section = Section("<b>", Markup("<i>body</i>"), "<u>")
    page = render_page("<script>", "", [section], Markup(""), Markup(""), "")
    assert "<title>&lt;script&gt;" in page
    assert "&lt;b&gt;" in page
    assert "&lt;u&gt;" in page
    assert "<i>body</i>" in page
    assert "&lt;img" in page_table([{"name": "<img src=x>"}], "x")
    subject = open_subject(world.root, str(world.made.models.generator.path))
    subject.generator.path = Path("<script>alert(1)</script>")
    assert "<script" not in lineage_graph([subject])


def test_a_copy_is_found(world):
    features = world.made.features
    rows = features.rows("train")
    copies = features.read("pixels", rows[[3, 5]], view=0)
    found = nearest_images(copies, features, rows)
    assert found.rows.tolist() == rows[[3, 5]].tolist()
    np.testing.assert_allclose(found.distances, 0, atol=1e-6)
    np.testing.assert_array_equal(found.images, copies)


def test_curves_are_those_of_the_metrics(world):
    run = world.made.models.generator
    plots = training_curves([(run.path.name, run.path)])
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    source = plots["loss"].renderers[0].data_source.data
    assert source["x"] == [line["step"] for line in lines]
    assert source["y"] == [line["loss"] for line in lines]
    assert {"rows per second", "wait share", "gradient norm"} <= plots.keys()
    drawn = channel_curves({"channels": 2, "std": [1.0, 2.0], "mean": [0.0, 0.5], "spectrum": [2.0, 0.0]})
    assert drawn["spectrum of the covariance over channels"].renderers[0].data_source.data["y"] == [2.0, 1e-12]


def test_logarithmic_axes_have_numbers_at_each_part_of_a_decade():
    values = ([1, 2, 3], [0.4, 3.0, 14.0])
    few = curve({"a": values}, "component", "eigenvalue", log=True).yaxis[0].ticker.ticks
    assert [round(tick, 6) for tick in few if 0.4 <= tick <= 14] == [0.5, 1, 2, 5, 10]
    many = curve({"a": (values[1], [1, 2, 3])}, "age", "KID", x_log=True).xaxis[0].ticker.ticks
    assert [round(tick, 6) for tick in many if 0.4 <= tick <= 14] == [0.5, 1, 2, 5, 10]
    assert len(curve({"a": ([1, 2], [1e-9, 1.0])}, "x", "y", log=True).yaxis[0].ticker.ticks) == 10


def test_an_absent_number_is_as_narrow_as_the_others():
    table = page_table([{"metric": "classes", "raw": ""}, {"metric": "error", "raw": 0.5}], "metrics")
    assert table.count('<td class="number">') == 2
    assert '<td class="number">' not in page_table([{"metric": "a", "text": "b"}], "metrics")


def test_the_first_screen_has_samples_metrics_with_their_meaning_and_what_next(page):
    text = page[0].read_text()
    first = text[text.index('id="overview"') : text.index('id="from-image-to-latent-and-back"')]
    assert 'alt="a row of real images above rows of generated ones"' in first
    assert "PSNR dB" in first
    assert "↑\N{NO-BREAK SPACE}higher" in first
    assert "↓\N{NO-BREAK SPACE}lower" in first
    assert "What next" in first
    assert "training and" in first
    assert "held-out images" in first
    (command,) = re.findall(r"<dt>command</dt><dd>(.*?)</dd>", first)
    assert re.fullmatch(
        r"fae-pipe sample --name tiny --num \d+ --steps \d+ --solver euler --guidance-scale [\d.]+", command
    )


def test_the_time_of_a_fine_tuned_decoder_is_that_of_both_parts(world):
    runs = [RunFolder.open(path) for path in (world.root / "decoders").iterdir()]
    (tuned,) = [run for run in runs if "decoder" in run.record.inputs]
    first, both = training_seconds(RunFolder.open(tuned.input("decoder"))), training_seconds(tuned)
    tuned.record.inputs["decoder"] = "decoders/gone-0123456789ab"
    assert both == pytest.approx(first + training_seconds(tuned))
    assert first > 0


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 2, 0, 1, 2, 0], ([0, 1, 2, 3, 4, 5], 3)),
        ([0, 1, 0], ([0, 1], 2)),
        (list(range(10)) * 2, ([*range(8), *range(10, 18)], 8)),
        ([-1] * 20, (list(range(16)), 8)),
        ([4] * 3, ([0, 1, 2], 3)),
    ],
)
def test_each_class_of_the_samples_has_a_column(labels, expected):
    assert by_column(labels) == expected


def test_all_plots_are_walked_through_once(monkeypatch):
    walks, recompute = [], DocumentModelManager.recompute
    monkeypatch.setattr(DocumentModelManager, "recompute", lambda self: walks.append(len(self)) or recompute(self))
    script, elements = embed({name: curve({"a": ([1, 2], [3, 4])}, "x", "y") for name in "abc"})
    assert len(walks) == 1
    assert list(elements) == ["a", "b", "c"]
    assert "root_ids" in script


def test_main_curves_show_training_and_held_out_rows_together_and_the_rest_is_folded(page, world):
    run = world.made.models.generator
    plot = main_curves("generators", [("tiny", run.path)])["error of the velocity"]
    assert [line.name for line in plot.renderers][:2] == [TRAIN, HELD_OUT]
    assert page[0].read_text().count("<summary>All curves</summary>") == 3


def test_a_real_image_is_found_for_every_label_held_out_ones_first(world):
    features = world.made.features
    labels = features.labels[features.rows("val")][:3].tolist()
    rows = real_rows(features, [*labels, -1])
    assert features.labels[rows[:3]].tolist() == labels
    assert len(set(rows.tolist())) == 4
    assert set(rows[:3].tolist()) <= set(features.rows("val").tolist())


def test_metrics_say_how_they_were_made(world):
    subject = open_subject(world.root, str(world.made.models.generator.path))
    rows = records.recorded_metrics(world.root, [subject])
    assert rows
    assert all(row["how"] for row in rows)
    assert {"psnr db", "relative squared error"} <= {row["metric"] for row in rows}


def test_large_images_become_jpeg_and_small_ones_stay_as_they_are():
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    assert "data:image/jpeg" in image_html.image_tag(noise, "noise")
    small = image_html.image_tag(noise[:8, :8], "a corner")
    assert "data:image/png" in small
    assert 'alt="a corner"' in small
    assert "pixelated" in small
    assert 'alt="&#34;x"' in image_html.image_tag(Image.new("RGB", (4, 4)), '"x')
