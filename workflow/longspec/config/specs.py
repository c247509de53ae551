"""What each job may see of a complete configuration: its spec.

Contract: a job's spec holds nothing that cannot change its result, so that a rerun follows from a changed spec alone.
No torch; it does not know what methods or drafters do.
"""

from __future__ import annotations

from typing import Any, cast

from longspec.config.sections.top_level import Config
from longspec.core import registry
from longspec.core.errors import UserError
from longspec.core.spec import (
    AnswersSpec,
    DatasetSpec,
    GenerateSpec,
    Grid,
    MethodEntry,
    ModelSpec,
    TrainedSpec,
    labelled,
    load_of,
)

RUN_KEYS = {
    *("seed", "sampling", "verification", "device", "dtype", "engine", "numerics", "threads"),
    *("repeats", "warmup", "schedule"),
}
"""Top-level keys that every generation depends on."""
ANSWER_KEYS = {"questions", "texts", "train_tokens", "answer_tokens", "slots"}
"""Keys of a trained drafter that decide its answers, beside `model` and `seed`."""


def baseline(config: Config) -> str:
    """Name the variant that others are compared with: the first of our loop that drafts nothing."""
    if name := _undrafted(config, "methods"):
        return name
    raise UserError(
        "methods",
        f"{', '.join(config.methods)}: none is vanilla, so nothing can be paired",
        "an entry such as `vanilla: {method: vanilla}`",
    )


def reference(config: Config) -> str | None:
    """Name the variant that shows whether our baseline is weak: the first peer that drafts nothing, if there is one."""
    return _undrafted(config, "peers")


def _undrafted(config: Config, kind: str) -> str | None:
    named = ((name, entry.method) for name, entry in config.methods.items())
    return next(
        (name for name, method in named if registry.decodes(method) == kind and not registry.drafts(method)), None
    )


def labels(config: Config) -> list[str]:
    """List the variants at each load that they run at: served engines at every one, the others at one request."""
    return [
        labelled(name, load)
        for name, entry in config.methods.items()
        for load in (config.concurrency if registry.decodes(entry.method) == "served" else [1])
    ]


def baselines(config: Config) -> dict[str, str]:
    """Map each label of a served engine to that of the same engine without speculation, at the same load.

    Raises UserError where there is none, or where something else differs too."""
    served = {
        name: entry.model_dump() for name, entry in config.methods.items() if registry.decodes(entry.method) == "served"
    }
    plain = {name: entry for name, entry in served.items() if not entry["speculation"]}
    found: dict[str, str] = {}
    for name, entry in served.items():
        same_engine = [other for other in plain if plain[other]["method"] == entry["method"]]
        mine = next((other for other in same_engine if not _apart(entry, plain[other])), None)
        if mine is None:
            raise _no_baseline(name, entry, {other: plain[other] for other in same_engine})
        found |= {labelled(name, load): labelled(mine, load) for load in config.concurrency}
    return found


SPECULATION = ("speculation", "url")
"""Keys in which a served engine's variant may differ from its baseline."""


def _apart(entry: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [key for key in entry if entry[key] != other.get(key) and key not in SPECULATION]


def _no_baseline(name: str, entry: dict[str, Any], plain: dict[str, dict[str, Any]]) -> UserError:
    method = entry["method"]
    if not plain:
        expected = f"an entry such as `{method}: {{method: {method}}}`, without `speculation`, as its baseline"
        return UserError(f"methods.{name}", "there is nothing that it can be compared with", expected)
    other, theirs = min(plain.items(), key=lambda named: len(_apart(entry, named[1])))
    key = _apart(entry, theirs)[0]
    found = f"{entry[key]!r}, and the same engine without speculation ({other}) has {theirs.get(key)!r}"
    return UserError(f"methods.{name}.{key}", found, "the same: a flag that one side has alone is in every speedup")


def grid(config: Config) -> Grid:
    """List all cells of the experiment, and what is compared in each."""
    cells = {
        model: [name for name in config.datasets if name in (entry.datasets or config.datasets)]
        for model, entry in config.models.items()
    }
    found: Grid = {
        "cells": cells,
        "methods": labels(config),
        "baseline": baseline(config),
        "reference": reference(config),
    }
    if served := baselines(config):
        found["baselines"] = served
    return found


def model_spec(config: Config, model: str) -> ModelSpec:
    """Tell a job what identifies a model and its limits; not which data sets it runs on, nor where, nor what drafts
    for it."""
    entry = config.models[model].model_dump(exclude={"datasets", "resources", "drafter"})
    return cast(ModelSpec, {"name": model, **entry})


def dataset_spec(config: Config, dataset: str) -> DatasetSpec:
    """Tell a job all that decides a data set's prompts."""
    entry = config.datasets[dataset].model_dump()
    return cast(DatasetSpec, {"name": dataset, "prompt_templates": config.prompt_templates, **entry})


def generate_spec(config: Config, model: str, dataset: str, label: str) -> GenerateSpec:
    """Tell a job all that decides its output, but for its prompts. `label`: the variant at a load."""
    method, concurrency = load_of(label)
    served = {"concurrency": concurrency, "gpus": config.models[model].resources.gpus}
    spec = {
        "model": model_spec(config, model),
        "dataset": {"name": dataset, "max_new_tokens": config.datasets[dataset].max_new_tokens},
        "method": {"name": label, **method_entry(config, model, method)},
        **config.model_dump(include=RUN_KEYS),
        **(served if registry.decodes(config.methods[method].method) == "served" else {}),
    }
    return cast(GenerateSpec, spec)


def method_entry(config: Config, model: str, method: str) -> MethodEntry:
    """Give a variant as one model runs it: where it may name a drafter's model and does not, with the model's own."""
    variant, own = config.methods[method].model_dump(), config.models[model].drafter
    for kind, name in registry.plugged(variant["method"], variant.get("drafter")):
        for option in registry.models(kind, name):
            variant[option] = variant[option] or (own.model_dump() if own else None)
    return cast(MethodEntry, variant)


def answers_spec(config: Config, drafter: str) -> AnswersSpec:
    """Tell a job all that decides what a drafter is trained on, but for the content of files."""
    entry = config.drafters[drafter]
    spec = {
        **entry.model_dump(include=ANSWER_KEYS | {"seed"}),
        "model": model_spec(config, entry.model),
        **config.model_dump(include={"dtype", "device", "engine", "threads"}),
        "numerics": "fast",
    }
    return cast(AnswersSpec, spec)


def trained_spec(config: Config, drafter: str) -> TrainedSpec:
    """Tell a job all that decides a trained drafter beside its answers."""
    entry = config.drafters[drafter]
    spec = {
        **entry.model_dump(exclude=ANSWER_KEYS | {"model"}),
        "model": model_spec(config, entry.model),
        **config.model_dump(include={"device", "threads"}),
    }
    return cast(TrainedSpec, spec)


def drafter_folder(config: Config, drafter: str) -> str:
    """Say where a trained drafter ends up; a variant's `weights: {path: ...}` or a model's `drafter:` names it."""
    return f"{config.results.rstrip('/')}/drafters/{drafter}"


def trained_by(config: Config, model: ModelSpec) -> str | None:
    """Name the drafter that the workflow trains into the folder that a model's entry names, if it does."""
    path = model.get("path")
    return next((name for name in config.drafters if path == drafter_folder(config, name)), None)


def started_from(config: Config, drafter: str) -> str | None:
    """Name the drafter of this workflow that another one's training goes on from, if it does."""
    start = config.drafters[drafter].start
    return trained_by(config, cast(ModelSpec, start.model_dump())) if start else None
