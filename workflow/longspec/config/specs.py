"""What each job may see of a complete configuration: its spec.

Contract: a job's spec holds nothing that cannot change its result, so that a rerun follows from a changed spec alone.
No torch; it does not know what methods or drafters do.
"""

from __future__ import annotations

from typing import Any

from longspec.core import registry
from longspec.core.errors import UserError

Config = dict[str, Any]
RUN_KEYS = (
    *("seed", "sampling", "verification", "device", "dtype", "engine", "numerics", "threads"),
    *("repeats", "warmup", "schedule"),
)
"""Top-level keys that every generation depends on."""


def baseline(config: Config) -> str:
    """The variant that others are compared with: the first of our loop that drafts nothing."""
    if name := _undrafted(config, "methods"):
        return name
    raise UserError(
        "methods",
        f"{', '.join(config['methods'])}: none is vanilla, so nothing can be paired",
        "an entry such as `vanilla: {method: vanilla}`",
    )


def reference(config: Config) -> str | None:
    """The variant that shows whether our baseline is weak: the first peer that drafts nothing, if there is one."""
    return _undrafted(config, "peers")


def _undrafted(config: Config, kind: str) -> str | None:
    named = ((str(name), entry["method"]) for name, entry in config["methods"].items())
    return next(
        (name for name, method in named if registry.decodes(method) == kind and not registry.drafts(method)), None
    )


def grid(config: Config) -> dict[str, Any]:
    """All cells of the experiment: {"cells": {model: [datasets]}, "methods": [names], "baseline": name, "reference":
    name or None}."""
    cells = {
        model: [name for name in config["datasets"] if name in entry.get("datasets", config["datasets"])]
        for model, entry in config["models"].items()
    }
    chosen = {"baseline": baseline(config), "reference": reference(config)}
    return {"cells": cells, "methods": list(config["methods"]), **chosen}


def model_spec(config: Config, model: str) -> dict[str, Any]:
    """What identifies a model and its limits; not which data sets it runs on, nor where, nor what drafts for it."""
    beside = ("datasets", "resources", "drafter")
    entry = {key: value for key, value in config["models"][model].items() if key not in beside}
    return {"name": model, **entry}


def dataset_spec(config: Config, dataset: str) -> dict[str, Any]:
    """All that decides a data set's prompts."""
    return {"name": dataset, "prompt_templates": config["prompt_templates"], **config["datasets"][dataset]}


def generate_spec(config: Config, model: str, dataset: str, method: str) -> dict[str, Any]:
    """All that decides one job's output, but for its prompts."""
    return {
        "model": model_spec(config, model),
        "dataset": {"name": dataset, "max_new_tokens": config["datasets"][dataset]["max_new_tokens"]},
        "method": {"name": method, **method_entry(config, model, method)},
        **{key: config[key] for key in RUN_KEYS},
    }


def method_entry(config: Config, model: str, method: str) -> dict[str, Any]:
    """A variant as one model runs it: where it may name a drafter model and does not, the model's own is put in."""
    entry = dict(config["methods"][method])
    for option in own_models(entry):
        entry[option] = entry[option] or config["models"][model].get("drafter")
    return entry


def own_models(entry: dict[str, Any]) -> list[str]:
    """The options of a variant that hold a model."""
    return [option for kind, name in plugged(entry) for option in registry.models(kind, name)]


def plugged(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """The plug-ins that a variant names, as (kind, name)."""
    drafter = [("drafters", entry["drafter"])] if "drafter" in entry else []
    return [(registry.decodes(entry["method"]), entry["method"]), *drafter]


def answers_spec(config: Config, drafter: str) -> dict[str, Any]:
    """All that decides what a drafter is trained on, but for the content of files."""
    entry = config["drafters"][drafter]
    keys = ("questions", "texts", "train_tokens", "answer_tokens", "slots", "seed")
    machine = {key: config[key] for key in ("dtype", "device", "engine", "threads")} | {"numerics": "fast"}
    return {**{key: entry[key] for key in keys}, "model": model_spec(config, entry["model"]), **machine}


def trained_spec(config: Config, drafter: str) -> dict[str, Any]:
    """All that decides a trained drafter beside its answers."""
    entry = config["drafters"][drafter]
    keys = [
        key for key in entry if key not in ("model", "questions", "texts", "train_tokens", "answer_tokens", "slots")
    ]
    machine = {key: config[key] for key in ("device", "threads")}
    return {**{key: entry[key] for key in keys}, "model": model_spec(config, entry["model"]), **machine}


def drafter_folder(config: Config, drafter: str) -> str:
    """Where a trained drafter ends up; a variant's `weights: {path: ...}` or a model's `drafter:` names it."""
    return f"{config['results'].rstrip('/')}/drafters/{drafter}"


def trained_by(config: Config, entry: dict[str, Any] | None) -> str | None:
    """The drafter that the workflow trains into the folder that a model's entry names, if it does."""
    path = (entry or {}).get("path")
    return next((name for name in config["drafters"] if path == drafter_folder(config, name)), None)
