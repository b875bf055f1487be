"""The report's sections on lineage, metrics, curves and settings; those with images come from galleries."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from html import unescape
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup

from jobs.config import RuntimeConfig
from pipeline.evaluation import average_rows, latent_predictors, measured_averages
from pipeline.report import curves, records
from pipeline.report.gallery import Gallery, ReportOptions
from pipeline.report.image_html import image_tag
from pipeline.report.lineage_graph import lineage_graph
from pipeline.report.lineage_image import lineage_image
from pipeline.report.metrics import comparison, metric_tables
from pipeline.report.overview import overview
from pipeline.report.page import Section, fold, folded, page_table, plots, wide
from pipeline.report.subjects import Subject, short_name
from stores import Store, explain_difference
from stores.backends import path_of
from stores.care import StatsConfig, compute_stats, read_stats

STATS_ROWS = 2048


@dataclass
class Sections:
    """Makes the sections of a report on some subjects; `plots` are those that the page's script draws."""

    root: Path
    subjects: Sequence[Subject]
    options: ReportOptions
    device: torch.device
    runtime: RuntimeConfig
    say: Callable[[str], None]
    drawn: dict[str, Any] = field(default_factory=dict)

    def all(self) -> list[Section]:
        """The sections that have something to show, in the page's order; texts of plots come with `embed`."""
        made = self._beside()
        made += [self._named(subject, section) for subject in self.subjects for section in self._first(subject)]
        made += [self._lineage(), self._merit(), *self._curves(), *self._averages(), *self._latents()]
        for subject in self.subjects:
            gallery = Gallery(self.root, subject, self.options, self.device, self.runtime, self.say)
            made += [self._named(subject, section) for section in gallery.sections()]
        return [*made, *self._comparison(), *self._hosts(), self._settings()]

    def _first(self, subject: Subject) -> list[Section]:
        """What a reader sees first, and the way of some images through all models."""
        found = [Section("Overview", overview(self.root, subject, self.options.judged))]
        if self.options.sampling and (image := lineage_image(self.root, subject, self.device)) is not None:
            note = (
                "Held-out images on their way: the frozen encoder's features and the latents, each token a square in "
                "the colors of the three strongest principal components (equal colors = tokens that the model takes "
                "for alike); what the decoder rebuilds of the latents; and samples of the same classes."
            )
            text = "columns of images: original, features, latent, rebuilt, generated"
            shown = wide(f"{text} of {subject.title}", image_tag(image, text, "first"))
            found.append(Section("From image to latent and back", shown, note))
        return found

    def _beside(self) -> list[Section]:
        """Several subjects by their metrics."""
        if len(self.subjects) < 2:
            return []
        note = "The best value of each column is marked; a click on its head sorts by it, a second one turns the order."
        return [Section("Comparison", comparison(self.root, self.subjects), note)]

    def _named(self, subject: Subject, section: Section) -> Section:
        several = len(self.subjects) > 1
        return replace(section, title=f"{section.title}: {subject.title}") if several else section

    def _lineage(self) -> Section:
        missing = [line for subject in self.subjects for line in subject.missing]
        warnings = Markup("").join(Markup('<p class="warn">{}</p>').format(line) for line in missing)
        drawing = wide("graph of the lineage", lineage_graph(self.subjects))
        return Section("Lineage", drawing + warnings, "What was made from what, left to right.")

    def _merit(self) -> Section:
        return Section(
            "Metrics",
            metric_tables(records.recorded_metrics(self.root, self.subjects)),
            "Of averaged weights, beside those of the raw ones; fae-pipe eval and fae-pipe probe add theirs here.",
        )

    def _curves(self) -> list[Section]:
        kinds: dict[str, dict[str, Path]] = {}
        for subject in self.subjects:
            for run in subject.runs:
                kinds.setdefault(run.record.kind, {})[run.path.name] = run.path
        made = []
        for kind, runs in kinds.items():
            labeled = [(short_name(path), path) for path in runs.values()]
            main = {f"{kind}: {name}": plot for name, plot in curves.main_curves(kind, labeled).items()}
            found = {f"{kind} {name}": plot for name, plot in curves.training_curves(labeled).items()}
            if found:
                self.drawn |= main | found
                body = _marks(main) + (fold("All curves", _marks(found)) if main else _marks(found))
                made.append(Section(f"Training of {kind}", body, "Drag to move, wheel or box to zoom."))
        return made

    def _averages(self) -> list[Section]:
        """Metrics over the averages of a generator's weights, where samples of several were evaluated."""
        made = []
        known = [one for one in self.subjects if one.generator is not None and one.latents is not None]
        for run in {one.generator.path: one.generator for one in known if one.generator is not None}.values():
            found = measured_averages(self.root, run) if run.complete else []
            if len(found) > 1:
                title = short_name(run.path)
                named = {f"{title}: {name}": plot for name, plot in curves.average_curves(found).items()}
                note = (
                    "Samples of each average, made and evaluated alike (fae-pipe eval --averages all). The age is how "
                    "long ago averaged weights were current: about 1/(1 - d) steps of a decay d, 0 of raw weights."
                )
                self.drawn |= named
                body = _marks(named) + page_table(average_rows(found), f"averages of {title}")
                made.append(Section(f"Averages of {title}", body, note))
        return made

    def _latents(self) -> list[Section]:
        made = []
        for store in {store.url: store for s in self.subjects if (store := s.latents) is not None}.values():
            found = self._stats(store, "latents")
            note = (
                f"{found['rows']:,} rows, {found['tokens']:,} tokens; effective rank {found['effective_rank']:.2f} of "
                f"{found['channels']} channels; 99 % of the variance in {found['channels_for_99_percent']}."
            )
            title = short_name(path_of(store.url))
            named = {f"{title}: {name}": plot for name, plot in curves.channel_curves(found).items()}
            section = self._plotted(f"Latents of {title}", named, note)
            predictors = [_predictor_row(row) for row in latent_predictors(store)]
            made.append(
                replace(section, body=section.body + page_table(predictors, f"predictors of {title}"))
                if predictors
                else section
            )
        return made

    def _stats(self, store: Store, name: str) -> dict[str, Any]:
        return read_stats(store, name) or compute_stats(store, name, StatsConfig(rows=STATS_ROWS))

    def _plotted(self, title: str, found: dict[str, Any], note: str) -> Section:
        """A section whose plots are put in when the page is made; their names stand in for them until then."""
        self.drawn |= found
        return Section(title, _marks(found), note)

    def _comparison(self) -> list[Section]:
        if len(self.subjects) < 2:
            return []
        first, rows = self.subjects[0], []
        for other in self.subjects[1:]:
            for one, two in ((first.generator, other.generator), (first.autoencoder, other.autoencoder)):
                if one is not None and two is not None and one.path != two.path:
                    lines = explain_difference(one.record.ingredients, two.record.ingredients)
                    names = {"from": short_name(one.path), "to": short_name(two.path)}
                    rows += [{**names, "changed": line} for line in lines]
        return [
            Section(
                "Differences", page_table(rows, "changed ingredients"), "What decided the weights and is not the same."
            )
        ]

    def _hosts(self) -> list[Section]:
        """What several hosts made."""
        rows = records.hosts_of(self.subjects)
        note = (
            "Rows and rates are of the command that finished a store, the rate from a host's first shard on; workers "
            "are those of the last group of a training."
        )
        return [Section("Hosts", page_table(rows, "rows and rates of hosts"), note)] if rows else []

    def _settings(self) -> Section:
        parts = {run.path: records.recipe_text(run) for subject in self.subjects for run in subject.runs}
        parts |= {path_of(s.url): records.store_text(s) for subject in self.subjects for s in subject.stores}
        folds = Markup("").join(
            folded(records.titled(path), f"# {path.parent.name}/{path.name}\n{text}") for path, text in parts.items()
        )
        return Section("Settings", folds, "The resolved settings of each run and the ingredients of each store.")


def _predictor_row(row: dict[str, Any]) -> dict[str, Any]:
    """A predictor as the page's table has it."""
    interval = {"95 % interval from": row["low"], "to": row["high"]}
    return {"predictor": row["predictor"].replace("_", " "), "value": row["value"], **interval, "rows": row["rows"]}


def _marks(names: Iterable[str]) -> Markup:
    """Marks that plots take the place of once the page is made."""
    return Markup("").join(Markup("<!--plot {}-->").format(name) for name in names)


def with_plots(sections: Sequence[Section], elements: dict[str, Markup]) -> list[Section]:
    """The sections with their plots in place of the names."""
    made = []
    for section in sections:
        body = str(section.body)
        for marks in re.findall(r"(?:<!--plot [^>]*-->)+", body):
            own = {name: elements[unescape(name)] for name in re.findall(r"<!--plot ([^>]*)-->", marks)}
            body = body.replace(marks, str(plots({unescape(name): element for name, element in own.items()})), 1)
        made.append(replace(section, body=Markup(body)))
    return made
