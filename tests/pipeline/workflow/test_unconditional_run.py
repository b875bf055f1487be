"""Unlabeled images through every stage, the report and the export."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fae.export.pipeline_fae import FAEPipeline
from jobs.config.runtime import RuntimeConfig
from pipeline.config.recipe import override
from pipeline.console.output import Output
from pipeline.report.gallery import Gallery, ReportOptions
from pipeline.report.subjects import open_subject
from pipeline.workflow.exporting import export
from pipeline.workflow.recipe_workflow import run_workflow
from pipeline.workflow.stage_runner import StageRunner


@pytest.mark.slow
def test_unlabeled_images_become_samples_a_report_and_a_pipeline(
    tiny_recipe: Any, digit_pngs: list[tuple[str, int, bytes]], tmp_path: Path, capsys: Any
) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    for name, digit, data in digit_pngs:
        (folder / f"{digit}-{name}.png").write_bytes(data)
    settings = {"data.path": str(folder), "data.holdout": "0", "data.limit": "null", "sample.guidance_scale": "2"}
    recipe = override(tiny_recipe, settings)
    stages = StageRunner(tmp_path / "runs", recipe, Output())
    made = run_workflow(stages)
    said = capsys.readouterr().out
    assert made is not None
    assert "has a label: the generator is unconditional" in said
    assert "is unconditional: guidance is off" in said
    assert "no held-out rows" in said
    record = made.samples.record()
    assert {entry["label"] for entry in record["images"]} == {-1}
    assert record["images"][3]["file"] == "000003-seed3.png"
    assert record["ingredients"]["sample"]["guidance_scale"] == 1.0
    assert list((made.models.generator.path / "previews").glob("step-*.png"))

    subject = open_subject(tmp_path / "runs", str(made.models.generator.path))
    gallery = Gallery(
        tmp_path / "runs", subject, ReportOptions(steps=(2,), cell=4), torch.device("cpu"), RuntimeConfig(), print
    )
    notes = {section.title: section.note for section in gallery.sections()}
    assert notes["Guidance and steps"].startswith("Unconditional samples with seeds 0 to 3")

    target = export(made.models, tmp_path / "exported", "digits")
    assert "unconditional-image-generation" in (target / "README.md").read_text()
    pipe = FAEPipeline.from_pretrained(target)
    assert len(pipe(batch_size=2, num_inference_steps=2, output_type="latent").images) == 2
