"""The probe on real photographs and real features: what the paper's encoder keeps, shrunk to minutes."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.config.recipe import load_recipe, override
from pipeline.console.output import Output
from pipeline.stages import EXTRACT, TRAIN_AE
from pipeline.workflow.stage_runner import StageRunner

IMAGENETTE = Path(__file__).parents[4] / "shared/data/imagenette_64.tar.gz"
SETTINGS = {
    "data.limit": "800",
    "extract.flip": "false",
    "runtime.executor": "local",
    "runtime.threads": "1",
    "autoencoder.encoder": "linear",
    "autoencoder.decoder_depth": "2",
    "autoencoder.steps": "120",
    "autoencoder.batch_size": "32",
    "autoencoder.learning_rate": "1e-3",
    "autoencoder.warmup_steps": "10",
    "autoencoder.ema_decay": "0.9",
}


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(not IMAGENETTE.is_file(), reason="needs Imagenette at 64 pixels in ../shared/data")
def test_rebuilt_features_of_photographs_keep_their_classes(tmp_path: Path) -> None:
    recipe = override(load_recipe("imagenette64"), {**SETTINGS, "data.path": str(IMAGENETTE)})
    stages = StageRunner(tmp_path, recipe, Output(json=True))
    features = stages.do(EXTRACT)
    assert features is not None
    assert stages.do(TRAIN_AE, features) is not None
    outcome = CliRunner().invoke(main, ["probe", "imagenette64", "--root", str(tmp_path), "--pairs", "20", "--json"])
    assert outcome.exit_code == 0, outcome.output
    record: dict[str, Any] = json.loads(outcome.stdout)
    scores = {kind: found["linear_top1"] for kind, found in record["classification"].items()}
    assert scores["x"] > 0.7  # a tenth by chance
    assert scores["x_hat"] > 0.85 * scores["x"]
    assert scores["z"] > 0.5
    matching = record["matching"]["x_hat"]
    assert matching["in_foreground_of_first"] > matching["in_foreground_by_chance"]
    assert matching["match_within_1"] > 0.2
