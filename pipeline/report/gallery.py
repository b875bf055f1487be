"""The report's sections with images: what the models of one subject make."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from jobs.config import RuntimeConfig, SampleConfig
from jobs.runs import Models
from jobs.sampling import (
    HELD_OUT,
    SamplePlan,
    Sampler,
    guidance_grid,
    nearest_images,
    plan_samples,
    rebuilt_images,
    takes_text,
)
from pipeline.artifacts import SAMPLES_FILE, SampleFolder, decode_previews
from pipeline.report import image_html, records
from pipeline.report.overview import shown_samples
from pipeline.report.page import Section, film
from pipeline.report.subjects import Subject, short_name
from stores import Store

MOST_PREVIEWS = 6
CELL_ON_PROCESSORS = 4  # nine cells of nine images are minutes without a GPU


@dataclass(frozen=True)
class ReportOptions:
    """How much is shown: held-out images, samples in a cell, guidance scales and solver steps.

    `judged` are metrics that the caller measured, with their meaning, as rows of a table of the first screen.
    """

    images: int = 16
    cell: int = 9
    scales: tuple[float, ...] = (1.0, 2.0, 4.0)
    steps: tuple[int, ...] = (5, 20, 50)
    sampling: bool = True
    judged: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Gallery:
    """Decodes and collects the images of one subject; each section is there when its models and stores are."""

    root: Path
    subject: Subject
    options: ReportOptions
    device: torch.device
    runtime: RuntimeConfig
    say: Callable[[str], None]

    def sections(self) -> list[Section]:
        """Reconstructions, samples along the training, samples, guidance and steps, copies, probe figures."""
        makers = (self._rebuilt, self._previews, self._samples, self._guidance, self._nearest, self._probe)
        return [section for make in makers if (section := make()) is not None]

    def _rebuilt(self) -> Section | None:
        features, decoder = self.subject.features, self.subject.decoder
        if features is None or decoder is None or not decoder.complete or "pixels" not in features.arrays:
            return None
        usable = (
            self.subject.autoencoder
            if self.subject.autoencoder is not None and self.subject.autoencoder.complete
            else None
        )
        self.say("report: rebuilding images")
        found = rebuilt_images(features, usable, decoder, self.options.images, self.device)
        words = "held out" if found.split == "val" else "of the training set, as none are held out"
        by = f"the pixel decoder {short_name(decoder.path)}"
        note = (
            f"{len(found.keys)} images {words}, each beside what {by} makes of it: PSNR and SSIM. "
            f"Means: {np.mean(found.psnr_db):.2f} dB, {np.mean(found.ssim):.3f}."
        )
        return Section("Reconstructions", image_html.rebuilt_grid(found), note)

    def _previews(self) -> Section | None:
        run = self.subject.generator
        if run is None:
            return None
        models = self._models()
        if models is not None:
            decode_previews(models, self.runtime)
        decoded = [file for file in sorted((run.path / "previews").glob("step-*.png")) if file.stem[5:].isdigit()]
        files = decoded or sorted((run.path / "previews").glob("step-*-latents.png"))
        if not files:
            return None
        chosen = [files[at] for at in sorted(set(np.linspace(0, len(files) - 1, MOST_PREVIEWS).round().astype(int)))]
        shown = {
            f"step {_step(file):,}": image_html.image_file(file, f"samples at step {_step(file)}") for file in chosen
        }
        note = "The same conditions and seeds at each step" + ("." if decoded else ", in the store's latent colors.")
        return Section("Samples along the training", film(shown), note)

    def _samples(self) -> Section | None:
        shown = {}
        for path in records.sample_folders(self.root, self.subject):
            if (path / SAMPLES_FILE).is_file():
                folder = SampleFolder.open(path)
                config = folder.record()["ingredients"]["sample"]
                text = f"{config['steps']} steps, guidance {config['guidance_scale']:g}, seed {config['seed']}"
                text += f", {config['size']} pixels" if "size" in config else ""
                shown[f"{short_name(path)}: {text}"] = image_html.image_file(folder.grid, f"grid of samples, {text}")
        return Section("Samples", film(shown), "Grids that were made before.") if shown else None

    def _guidance(self) -> Section | None:
        models, sampler, options = self._models(), self._sampler, self.options
        on_processors = self.device.type == "cpu"
        plan = self._plan(min(options.cell, CELL_ON_PROCESSORS) if on_processors else options.cell)
        if models is None or sampler is None or plan is None:
            return None
        self.say("report: sampling")
        scales = (1.0,) if plan.unconditional else options.scales
        found = guidance_grid(sampler, plan, SampleConfig(), scales, options.steps)
        names = plan.condition_names(models.class_names)
        note = f"{_in_words(plan, names)} with seeds 0 to {len(names) - 1} in every cell; Euler"
        note += "." if plan.unconditional else ", guided at all times."
        return Section("Guidance and steps", image_html.guidance_table(found, names), note)

    def _nearest(self) -> Section | None:
        features = self.subject.features
        if not self.options.sampling or features is None or "pixels" not in features.arrays:
            return None
        if (found := self._some_samples(features)) is None:
            return None
        (samples, words), train, held_out = found, features.rows("train"), features.rows("val")
        self.say("report: looking for copies")
        nearest = nearest_images(samples, features, train)
        keys = features.index["key"].take(nearest.rows).to_pylist()
        note = f"Root mean square difference at 32 × 32, values in [0, 1]: median {np.median(nearest.distances):.3f}"
        if len(held_out):
            real = features.read("pixels", held_out[: len(samples)], view=0)
            note += f"; real held-out images: {np.median(nearest_images(real, features, train).distances):.3f}"
        note += f". Samples {words}; a copy would be far nearer than a held-out image."
        return Section("Nearest training images", image_html.nearest_grid(samples, nearest, keys), note)

    def _some_samples(self, features: Store) -> tuple[np.ndarray, str] | None:
        """uint8 (N, H, W, 3) and what they are: of the newest folder of samples, else new ones."""
        count, side = self.options.images, features.arrays["pixels"].row_shape
        if (folder := shown_samples(self.root, self.subject)) is not None:
            images, _ = folder.read()
            if len(images) and images.shape[1:] == side:
                return images[:: -(-len(images) // count)], f"of {short_name(folder.path)}"
        sampler, plan = self._sampler, self._plan(count)
        if sampler is None or plan is None:
            return None
        scale, steps = self.options.scales[0], self.options.steps[-1]
        cells = guidance_grid(sampler, plan, SampleConfig(), [scale], [steps]).cells
        return cells[0][0], f"at guidance {scale:g}, {steps} steps"

    def _probe(self) -> Section | None:
        shown = {}
        for folder in records.probe_folders(self.subject):
            for file in sorted(folder.glob("*.png")):
                shown[f"{file.stem} ({folder.parent.name})"] = image_html.image_file(file, f"probe figure: {file.stem}")
        return Section("Preserved semantics", film(shown), "Metrics of fae-pipe probe.") if shown else None

    def _plan(self, count: int) -> SamplePlan | None:
        """The first classes or held-out captions; none where the captions are not there any more."""
        models = self._models()
        if models is None or (takes_text(models.generator) and self.subject.text is None):
            return None
        prompts = HELD_OUT if takes_text(models.generator) else None
        return plan_samples(SampleConfig(num=count, prompts=prompts), models)

    @cached_property
    def _sampler(self) -> Sampler | None:
        models = self._models() if self.options.sampling else None
        return None if models is None else Sampler.load(models, self.device)

    def _models(self) -> Models | None:
        generator, autoencoder, decoder = self.subject.generator, self.subject.autoencoder, self.subject.decoder
        if generator is None or autoencoder is None or (decoder is None and not autoencoder.decodes_to_pixels):
            return None
        if not all(run.complete for run in (generator, autoencoder, decoder) if run is not None):
            return None
        names = self.subject.latents.attributes.get("class_names") if self.subject.latents is not None else None
        return Models(generator, autoencoder, decoder, names)


def _in_words(plan: SamplePlan, names: list[str]) -> str:
    if plan.unconditional:
        return "Unconditional samples"
    return "Classes " + ", ".join(names) if plan.captions is None else f"“{'”, “'.join(names)}”"


def _step(file: Path) -> int:
    return int(file.stem.split("-")[1])
