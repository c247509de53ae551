"""What the rules of the workflow ask: for which jobs, with which specs, versions and resources. No torch.

The rules themselves say which files they read and write; `every` fills their patterns in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from longspec.config import specs
from longspec.config.plan import resources, schedule
from longspec.config.plan.rerun_triggers import Versions, canonical
from longspec.config.sections.method import Method
from longspec.config.sections.model import Resources
from longspec.config.sections.top_level import Config
from longspec.core import registry, revisions
from longspec.core.errors import UserError
from longspec.core.spec import Grid, baseline_of, gated_against, load_of


class Plan:
    """Answers what the rules ask about one configuration."""

    def __init__(self, complete: Config) -> None:
        self.config = complete
        self.unpinned = revisions.unpinned(complete.model_dump())
        self.results = complete.results.rstrip("/")
        self.reports = complete.reports.rstrip("/")
        grid = specs.grid(complete)
        cells = {model: sorted(datasets) for model, datasets in sorted(grid["cells"].items())}
        self.baseline = grid["baseline"]
        self.compared = sorted(set(grid["methods"]) - {self.baseline})
        """The variants beside the baseline, each by its label."""
        self.methods = [self.baseline, *self.compared]
        self.grid: Grid = {**grid, "cells": cells, "methods": self.methods}
        self.interleaved = schedule.interleaved(complete)
        self.versions = Versions(complete, self.grid, list(self._jobs(self.methods)))

    def every(self, pattern: str, methods: Sequence[str] | None = None) -> list[str]:
        """Fill a pattern in for each model, data set and method of the experiment, as far as it names them; `methods`:
        for these instead of all."""
        jobs = self._jobs(self.methods if methods is None else methods)
        named = (pattern.format(model=model, dataset=dataset, method=method) for model, dataset, method in jobs)
        return list(dict.fromkeys(named))

    def _jobs(self, methods: Sequence[str]) -> list[tuple[str, str, str]]:
        cells = self.grid["cells"].items()
        return [(model, dataset, method) for model, datasets in cells for dataset in datasets for method in methods]

    def without_noise(self) -> list[str]:
        """List the baselines that others are compared with and that no second variant repeats."""
        entries = self.config.methods
        compared = {label: baseline_of(self.grid, label) for label in self.methods}
        compared = {load_of(label)[0]: load_of(other)[0] for label, other in compared.items() if label != other}
        repeated = {other for name, other in compared.items() if entries[name] == entries[other]}
        return sorted(set(compared.values()) - repeated)

    def gated_against(self, label: str) -> str:
        """Name the variant whose output this one's must be."""
        return gated_against(self.grid, label)

    def require_engines(self) -> None:
        """Refuse, before the first job, a served engine that is not found here and whose results are not all there."""
        for name, entry in self._served().items():
            labels = [label for label in self.methods if load_of(label)[0] == name]
            if all(map(self._measured, self._jobs(labels))):
                continue
            given = entry.model_dump()
            options = {option: given[option] for option in registry.options("served", entry.method)}
            try:
                registry.load("served", entry.method).make(**options)
            except UserError as error:
                raise UserError(f"methods.{name}.{error.where}", error.found, error.expected) from None

    def _served(self) -> dict[str, Method]:
        return {name: one for name, one in self.config.methods.items() if registry.decodes(one.method) == "served"}

    def _measured(self, job: tuple[str, str, str]) -> bool:
        """Tell if a job's results are there, of the spec that it has now."""
        try:
            run = json.loads(Path(self.results, *job, "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return canonical(run.get("spec")) == self.generate_spec(*job)

    def require_gpus(self, gpus: int) -> None:
        """Refuse a model that asks for more GPUs for its served engines than a run on this machine may use."""
        for name, model in self.config.models.items():
            asked = model.resources.gpus
            if asked > max(gpus, 1) and self._served():
                expected = f"at most {gpus}, or --resources gpu={asked} where so many are free"
                raise UserError(f"models.{name}.resources.gpus", str(asked), expected)

    def tunes(self) -> bool:
        """Check whether a variant leaves an option to `auto`."""
        return any("auto" in entry.model_dump().values() for entry in self.config.methods.values())

    def model_spec(self, model: str) -> str:
        """Make --model-spec, for prepare and vocabulary."""
        return canonical(specs.model_spec(self.config, model))

    def dataset_spec(self, dataset: str) -> str:
        """Make --dataset-spec, for prepare."""
        return canonical(specs.dataset_spec(self.config, dataset))

    def generate_spec(self, model: str, dataset: str, method: str) -> str:
        """Make --spec of one method, for gate; generate takes several."""
        return canonical(specs.generate_spec(self.config, model, dataset, method))

    def generate_specs(self, model: str, dataset: str, method: str | None = None) -> list[str]:
        """Make --spec of each method of a generate job; `method`: its wildcard, if it has one."""
        return [self.generate_spec(model, dataset, name) for name in self.together(method)]

    def generate_version(self, model: str, dataset: str, method: str | None = None) -> str:
        """Make --version of a generate job."""
        return self.versions.generate(model, dataset, self.together(method))

    def together(self, method: str | None) -> list[str]:
        """List the methods that one generate job measures: that of its wildcard, or where it has none, all."""
        return schedule.together(self.config, self.methods, method)

    def answers_spec(self, drafter: str) -> str:
        """Make --spec, for answer."""
        return canonical(specs.answers_spec(self.config, drafter))

    def trained_spec(self, drafter: str) -> str:
        """Make --spec, for train."""
        return canonical(specs.trained_spec(self.config, drafter))

    def answered_for(self, drafter: str) -> str:
        """Name the drafter whose answers this one is trained on: itself, unless it names another."""
        return self.config.drafters[drafter].answers or drafter

    def begun_from(self, drafter: str) -> list[str]:
        """List the drafter of this workflow that must be trained before this one is, if there is one."""
        return [name for name in [specs.started_from(self.config, drafter)] if name]

    def answering(self) -> list[str]:
        """List the drafters for which answers are made."""
        return sorted({self.answered_for(drafter) for drafter in self.config.drafters})

    def trained_for(self, model: str, method: str | None = None) -> list[str]:
        """List the drafters of this workflow whose weights a generate job needs."""
        entries = [specs.method_entry(self.config, model, load_of(name)[0]) for name in self.together(method)]
        named = [
            specs.trained_by(self.config, files) for entry in entries for files in registry.models_in(entry).values()
        ]
        return [name for name in named if name]

    def priority(self, method: str | None) -> int:
        """Rank a generate job among those of its model and data set: the highest runs first."""
        return schedule.priority(self.config, self.grid, method)

    def resources(self, model: str, attempt: int = 1) -> Resources:
        """Say what a job that runs a model asks of a cluster."""
        return resources.of_model(self.config, model, attempt)

    def most_resources(self, attempt: int = 1) -> Resources:
        """Say what a job that runs every model asks."""
        return resources.of_every_model(self.config, attempt)

    def training_resources(self, drafter: str, attempt: int = 1) -> Resources:
        """Say what a job that runs a drafter's target asks: to answer, or to train."""
        return self.resources(self.config.drafters[drafter].model, attempt)

    def grid_json(self) -> str:
        """Make --grid, for the commands of the analysis."""
        return canonical(self.grid)

    def config_json(self) -> str:
        """Make --config, the complete configuration, for the report."""
        return canonical(self.config.model_dump())
