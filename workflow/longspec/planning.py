"""What each rule of the workflow passes to its jobs, as strings that change exactly when the job must rerun.

Contract: code, templates and local data enter as hashes, never as input files, so that a fresh checkout
reruns nothing; a generate job's version contains its prompts' version, so that no interruption between the
two can leave results that look fresh. Order and comments of the configuration never enter. No torch.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from longspec import config, scheduling
from longspec.core import fingerprint, registry, revisions
from longspec.locations import REPORT_FILES, SUMMARY_SCHEMA
from longspec.models import model_files

TABLES = ("timings", "repeats", "throughput", "acceptance", "acceptance_by_position", "acceptance_curves")


def canonical(value: Any) -> str:
    """One JSON text for one meaning."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


class Plan:
    """The workflow's questions about one configuration."""

    def __init__(self, complete: config.Config) -> None:
        self.config = complete
        self.unpinned = revisions.unpinned(complete)
        self.results: str = complete["results"].rstrip("/")
        self.lossless = f"{self.results}/lossless.csv"
        self.speedup = f"{self.results}/speedup.csv"
        self.costs = f"{self.results}/costs.csv"
        self.tuning = f"{self.results}/tuning.csv"
        self.symmetry = f"{self.results}/audit.csv"
        self.reports: str = complete["reports"].rstrip("/")
        self.report = f"{self.reports}/index.html"
        grid = config.grid(complete)
        cells = {model: sorted(datasets) for model, datasets in sorted(grid["cells"].items())}
        methods = [grid["baseline"], *sorted(set(grid["methods"]) - {grid["baseline"]})]
        self.grid = {**grid, "cells": cells, "methods": methods}
        self.generate_versions = {
            (model, dataset, method): self._generate_version(model, dataset, method)
            for model, dataset in self._cells()
            for method in methods
        }
        """By model, data set and method. Made at once, so that data or a model that is missing stops the planning."""

    def targets(self) -> list[str]:
        """Every file that the experiment makes. Intermediates are listed too: Snakemake does not make a
        deleted one again while the files made from it exist."""
        made = [
            *self.tables(),
            self.lossless,
            self.speedup,
            self.costs,
            *self.choices(),
            self.symmetry,
            *self.summary(),
        ]
        prompts = [*self.prompts(), *self.prompts("prompts_tuning.jsonl"), *self.vocabularies()]
        return [*prompts, *self.trained(), *self.runs(), *self.gates(), *made, *self.pages()]

    def summary(self) -> list[str]:
        """What may be claimed: for programs and for papers."""
        return [f"{self.results}/summary.json", f"{self.reports}/tables.md", f"{self.reports}/tables.tex"]

    def pages(self) -> list[str]:
        """The report, and the page beside LongSpec's figures."""
        return [self.report, f"{self.reports}/paper.html"]

    def vocabularies(self) -> list[str]:
        """Each model's tokens as text, so that the report can show them without a tokenizer."""
        return [f"{self.results}/{model}/tokens.json" for model in self.grid["cells"]]

    def prompts(self, file: str = "prompts.jsonl") -> list[str]:
        """The prompts of every model and data set."""
        return [f"{self.results}/{m}/{d}/{file}" for m, d in self._cells()]

    def choices(self) -> list[str]:
        """The table of what was chosen, where a variant leaves an option to `auto`."""
        entries = self.config["methods"].values()
        return [self.tuning] if any("auto" in entry.values() for entry in entries) else []

    def tables(self) -> list[str]:
        """What the metrics stage writes."""
        return [f"{self.results}/{table}.csv" for table in TABLES]

    def runs(self) -> list[str]:
        """samples.jsonl and run.json of every job."""
        return [
            f"{self.results}/{model}/{dataset}/{method}/{file}"
            for model, dataset in self._cells()
            for method in self.grid["methods"]
            for file in ("samples.jsonl", "run.json")
        ]

    def gates(self) -> list[str]:
        """Each job's outputs beside the baseline's."""
        return [
            f"{self.results}/{model}/{dataset}/{method}/gate.jsonl"
            for model, dataset in self._cells()
            for method in self.grid["methods"]
            if method != self.grid["baseline"]
        ]

    def _cells(self) -> list[tuple[str, str]]:
        return [(model, dataset) for model, datasets in self.grid["cells"].items() for dataset in datasets]

    def model_spec(self, model: str) -> str:
        """For prepare: --model-spec."""
        return canonical(config.model_spec(self.config, model))

    def dataset_spec(self, dataset: str) -> str:
        """For prepare: --dataset-spec."""
        return canonical(config.dataset_spec(self.config, dataset))

    def prepare_version(self, model: str, dataset: str) -> str:
        """Code of the stage and its source, content of the data and of the model's tokenizer."""
        entry = self.config["datasets"][dataset]
        return canonical(
            {
                "code": _code("stages.prepare", registry.module("sources", entry["source"])),
                "data": _data(canonical(entry)),
                "templates": _content(self.config["prompt_templates"]),
                "model": _model(canonical(self.config["models"][model])),
            }
        )

    def vocabulary_version(self, model: str) -> str:
        """Code of the stage and content of the model's tokenizer."""
        return canonical({"code": _code("stages.vocabulary"), "model": _model(canonical(self.config["models"][model]))})

    def generate_spec(self, model: str, dataset: str, method: str) -> str:
        """For gate: --spec; and one of those for generate."""
        return canonical(config.generate_spec(self.config, model, dataset, method))

    def generate_output(self, file: str) -> list[str]:
        """What a generate job makes for each of its methods, with the job's wildcards: without {method} where one job
        measures all of them."""
        methods = self._together(None if scheduling.interleaved(self.config) else "{method}")
        return [f"{self.results}/{{model}}/{{dataset}}/{method}/{file}" for method in methods]

    def generate_log(self) -> str:
        """Where such a job tells what it does, with the same wildcards."""
        return f"{scheduling.place(self.config, self.results, '{model}', '{dataset}', '{method}')}/generate.log"

    def generate_specs(self, model: str, dataset: str, method: str | None = None) -> list[str]:
        """For generate: --spec of each method of the job; `method`: its wildcard, if it has one."""
        return [self.generate_spec(model, dataset, name) for name in self._together(method)]

    def generate_version(self, model: str, dataset: str, method: str | None = None) -> str:
        """For generate: --version."""
        versions = [self.generate_versions[model, dataset, name] for name in self._together(method)]
        return versions[0] if len(versions) == 1 else canonical(versions)

    def _together(self, method: str | None) -> list[str]:
        return scheduling.together(self.config, self.grid["methods"], method)

    def _generate_version(self, model: str, dataset: str, method: str) -> str:
        """Code of the loop and of this variant's own method and drafter; its prompts' spec and version; its models."""
        entry = config.method_entry(self.config, model, method)
        own_models = {
            option: self._drafter_model(entry[option])
            for option in config.own_models(entry)
            if entry[option] is not None
        }
        return canonical(
            {
                "code": _code(
                    "stages.generate",
                    registry.module("verification", self.config["verification"]),
                    *(registry.module(kind, name) for kind, name in config.plugged(entry)),
                ),
                "prompts": [self.dataset_spec(dataset), self.prepare_version(model, dataset)],
                "model": _model(canonical(self.config["models"][model])),
                **({"own_models": own_models} if own_models else {}),
            }
        )

    def _drafter_model(self, entry: dict[str, Any]) -> str:
        """What identifies the drafter model of a variant: how it is trained, if this workflow does that."""
        trained = self._trained(entry)
        return _model(canonical(entry)) if trained is None else self.train_version(trained)

    def _trained(self, entry: dict[str, Any] | None) -> str | None:
        """The drafter that the workflow trains into the folder that a variant's entry names."""
        path = (entry or {}).get("path")
        return next((name for name in self.config["drafters"] if path == self.drafter_folder(name)), None)

    def drafter_folder(self, drafter: str) -> str:
        """Where a trained drafter ends up; a variant's `weights: {path: ...}` or a model's `drafter:` names it."""
        return f"{self.results}/drafters/{drafter}"

    def drafter_files(self, drafter: str) -> list[str]:
        """What training makes: the answers' list and the checkpoint with its log."""
        files = ("model.safetensors", "config.json", "training.csv")
        return [self.answers_file(drafter), *(f"{self.drafter_folder(drafter)}/{file}" for file in files)]

    def trained(self) -> list[str]:
        """All that training makes."""
        return [file for name in self.config["drafters"] for file in self.drafter_files(name)]

    def answers_file(self, drafter: str) -> str:
        """The list of what a drafter is trained on."""
        return f"{self.drafter_folder(self.config['drafters'][drafter]['answers'] or drafter)}/answers.json"

    def trained_weights(self, model: str, method: str | None = None) -> list[str]:
        """The checkpoints of this workflow that a generate job needs."""
        entries = [config.method_entry(self.config, model, name) for name in self._together(method)]
        trained = [self._trained(entry[option]) for entry in entries for option in config.own_models(entry)]
        return [f"{self.drafter_folder(name)}/model.safetensors" for name in trained if name]

    def answers_spec(self, drafter: str) -> str:
        """For answer: --spec."""
        return canonical(config.answers_spec(self.config, drafter))

    def trained_spec(self, drafter: str) -> str:
        """For train: --spec."""
        return canonical(config.trained_spec(self.config, drafter))

    def answers_version(self, drafter: str) -> str:
        """Code of the stage, content of the questions and texts, the target."""
        entry = self.config["drafters"][drafter]
        files = tuple(entry[key] for key in ("questions", "texts") if entry[key])
        model = _model(canonical(self.config["models"][entry["model"]]))
        return canonical({"code": _code("stages.answer"), "files": [_content(f) for f in files], "model": model})

    def train_version(self, drafter: str) -> str:
        """Code of training, the answers' version, what training starts from."""
        start = self.config["drafters"][drafter].get("start")
        started = {"start": self._drafter_model(start)} if start else {}
        source = self.config["drafters"][drafter]["answers"] or drafter
        answers = [self.answers_version(source), self.answers_spec(source)]
        versions = {"answers": answers, "spec": self.trained_spec(drafter), **started}
        return canonical({"code": _code("stages.train"), **versions})

    def gate_version(self, model: str, dataset: str, method: str) -> str:
        """Code of the gate, which knows no method and no drafter; the versions of the two jobs that it compares."""
        compared = [self.generate_versions[model, dataset, name] for name in (method, self.grid["baseline"])]
        return canonical(
            {"code": _code("stages.gate", registry.module("verification", self.config["verification"])), "of": compared}
        )

    def priority(self, method: str | None) -> int:
        """Which job of a cell runs first, where several could."""
        return scheduling.priority(self.config, self.grid["baseline"], method)

    def resources(self, model: str, attempt: int = 1) -> dict[str, Any]:
        """What a job that runs a model asks of a cluster; more memory and time the oftener it has failed."""
        asked = self.config["models"][model]["resources"]
        return {**asked, "mem_mb": attempt * asked["mem_mb"], "runtime": attempt * asked["runtime"]}

    def most_resources(self, attempt: int = 1) -> dict[str, Any]:
        """The same for a job that runs every model: the most that one of them asks."""
        asked = [self.resources(model, attempt) for model in self.config["models"]]
        return {**asked[0], **{name: max(one[name] for one in asked) for name in ("gpus", "mem_mb", "runtime")}}

    def grid_json(self) -> str:
        """For the analysis stages: --grid."""
        return canonical(self.grid)

    def analysis_version(self, stage: str) -> str:
        """Code of one analysis stage; with the files that it reads as data."""
        files = {"report": REPORT_FILES, "summary": (SUMMARY_SCHEMA,)}.get(stage, ())
        return fingerprint.digest(f"stages.{stage}", files=files)

    def config_json(self) -> str:
        """The complete configuration, for the report."""
        return canonical(self.config)


# Each is asked for once a job and answered once a run of Snakemake.
@functools.cache
def _code(*modules: str) -> str:
    return fingerprint.digest(*modules)


@functools.cache
def _data(entry: str) -> str:
    options = json.loads(entry)
    return str(registry.load("sources", options["source"]).fingerprint(options))


@functools.cache
def _model(entry: str) -> str:
    return model_files.fingerprint(json.loads(entry))


@functools.cache
def _content(path: str | None) -> str | None:
    return None if path is None else fingerprint.digest(files=(Path(path),))
