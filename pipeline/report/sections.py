"""The report's sections on lineage, metrics, curves and settings; those with images come from galleries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup

from jobs.config import RuntimeConfig
from pipeline.report import curves, records
from pipeline.report.gallery import Gallery, ReportOptions
from pipeline.report.lineage_graph import lineage_graph
from pipeline.report.page import Section, folded, page_table, plots, wide
from pipeline.report.subjects import Subject
from stores import Store, explain_difference
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
        made: list[Section] = [self._lineage(), self._merit(), *self._curves(), *self._latents()]
        for subject in self.subjects:
            gallery = Gallery(self.root, subject, self.options, self.device, self.runtime, self.say)
            made += [self._named(subject, section) for section in gallery.sections()]
        return [*made, *self._comparison(), self._settings()]

    def _named(self, subject: Subject, section: Section) -> Section:
        several = len(self.subjects) > 1
        return replace(section, title=f"{section.title}: {subject.title}") if several else section

    def _lineage(self) -> Section:
        missing = [line for subject in self.subjects for line in subject.missing]
        warnings = Markup("").join(Markup('<p class="warn">{}</p>').format(line) for line in missing)
        drawing = wide("lineage", lineage_graph(self.subjects))
        return Section("Lineage", drawing + warnings, "What was made from what, left to right.")

    def _merit(self) -> Section:
        return Section(
            "Metrics",
            page_table(records.recorded_metrics(self.root, self.subjects)),
            "Each with how it was made; fae-pipe eval and fae-pipe probe add theirs here.",
        )

    def _curves(self) -> list[Section]:
        kinds: dict[str, dict[str, Path]] = {}
        for subject in self.subjects:
            for run in subject.runs:
                kinds.setdefault(run.record.kind, {})[run.path.name] = run.path
        made = []
        for kind, runs in kinds.items():
            found = {f"{kind} {name}": plot for name, plot in curves.training_curves(list(runs.items())).items()}
            if found:
                made.append(self._plotted(f"Training of {kind}", found, "Drag to move, wheel or box to zoom."))
        return made

    def _latents(self) -> list[Section]:
        made = []
        for store in {store.path: store for s in self.subjects if (store := s.latents) is not None}.values():
            found = self._stats(store, "latents")
            note = (
                f"{found['rows']:,} rows, {found['tokens']:,} tokens; effective rank {found['effective_rank']:.2f} of "
                f"{found['channels']} channels; 99 % of the variance in {found['channels_for_99_percent']}."
            )
            named = {f"{name} ({Path(store.path).name})": plot for name, plot in curves.channel_curves(found).items()}
            made.append(self._plotted(f"Latents of {Path(store.path).name}", named, note))
        return made

    def _stats(self, store: Store, name: str) -> dict[str, Any]:
        return read_stats(store, name) or compute_stats(store, name, StatsConfig(rows=STATS_ROWS))

    def _plotted(self, title: str, found: dict[str, Any], note: str) -> Section:
        """A section whose plots are put in when the page is made; their names stand in for them until then."""
        self.drawn |= found
        return Section(title, Markup("").join(Markup("<!--plot {}-->").format(name) for name in found), note)

    def _comparison(self) -> list[Section]:
        if len(self.subjects) < 2:
            return []
        first, rows = self.subjects[0], []
        for other in self.subjects[1:]:
            for one, two in ((first.generator, other.generator), (first.autoencoder, other.autoencoder)):
                if one is not None and two is not None and one.path != two.path:
                    lines = explain_difference(one.record.ingredients, two.record.ingredients)
                    rows += [{"from": one.path.name, "to": two.path.name, "changed": line} for line in lines]
        return [Section("Differences", page_table(rows), "What decided the weights and is not the same.")]

    def _settings(self) -> Section:
        parts = {run.path.name: records.recipe_text(run) for subject in self.subjects for run in subject.runs}
        parts |= {Path(s.path).name: records.store_text(s) for subject in self.subjects for s in subject.stores}
        folds = Markup("").join(folded(name, text) for name, text in parts.items())
        return Section("Settings", folds, "The resolved settings of each run and the ingredients of each store.")


def with_plots(sections: Sequence[Section], elements: dict[str, Markup]) -> list[Section]:
    """The sections with their plots in place of the names."""
    made = []
    for section in sections:
        own = {name: element for name, element in elements.items() if f"<!--plot {name}-->" in section.body}
        made.append(Section(section.title, plots(own), section.note) if own else section)
    return made
