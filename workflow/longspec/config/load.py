"""Checks the experiment's configuration and completes it with defaults.

Contract: `load` returns a complete configuration or raises UserError with one message that names the key, the
value and what would be right. No torch; it does not know what methods or drafters do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from longspec.config import plain_yaml, prompt_length, templates
from longspec.config.options import with_options
from longspec.config.refusals import checked, suggested
from longspec.config.sections.dataset import Dataset
from longspec.config.sections.method import Method
from longspec.config.sections.top_level import Config
from longspec.config.specs import baseline, baselines, dataset_spec, started_from
from longspec.core import registry
from longspec.core.errors import UserError, one_of
from longspec.models import trust


def load(raw: Mapping[str, Any], files: Iterable[Path] = ()) -> Config:
    """Check `raw` and fill in defaults. `files` are where it was read from: they are searched for duplicates."""
    for file in files:
        plain_yaml.check(Path(file))
    plain_yaml.check_texts(dict(raw))
    config = checked(Config, dict(raw))
    for name in config.datasets:
        config.datasets[name] = _dataset(config.datasets[name], raw["datasets"][name], f"datasets.{name}")
    for name in config.methods:
        config.methods[name] = _method(config.methods[name], raw["methods"][name], f"methods.{name}")
    _check_names(config)
    for key, folder in {"results": config.results, "reports": config.reports}.items():
        _inside(folder, key)
    _check_prompts(config)
    plain = config.model_dump()
    for kind in ("models", "methods", "drafters", "datasets"):
        trust.refuse_unpinned(plain[kind], kind)
    baseline(config)
    baselines(config)
    return config


def _dataset(entry: Dataset, raw: Any, where: str) -> Dataset:
    """Check a data set with the options of its source."""
    _known(entry.source, registry.names("sources"), f"{where}.source")
    made = checked(with_options(Dataset, ("sources", entry.source)), raw, where)
    if not made.template:
        if not made.turns_field:
            raise UserError(f"{where}.template", "missing", "a template (or turns_field)")
        return made
    try:
        templates.fields(made.template)
    except UserError as error:
        raise UserError(f"{where}.{error.where}", error.found, error.expected) from None
    return made


def _method(entry: Method, raw: Any, where: str) -> Method:
    """Check a variant with the options of its method and drafter."""
    known = [name for kind in ("methods", "peers", "served") for name in registry.names(kind)]
    _known(entry.method, known, f"{where}.method")
    if registry.decodes(entry.method) == "methods" and registry.drafts(entry.method):
        if entry.drafter is None:
            raise UserError(f"{where}.drafter", "missing", one_of(registry.names("drafters")))
        _known(entry.drafter, registry.names("drafters"), f"{where}.drafter")
    elif entry.drafter is not None:
        raise UserError(f"{where}.drafter", repr(entry.drafter), f"none, as method {entry.method} takes no drafter")
    return checked(with_options(Method, *registry.plugged(entry.method, entry.drafter)), raw, where)


def _check_names(config: Config) -> None:
    """Refuse what one entry names and no other is called."""
    for name, model in config.models.items():
        for dataset in model.datasets or ():
            _known(dataset, config.datasets, f"models.{name}.datasets")
    for name, drafter in config.drafters.items():
        _known(drafter.model, config.models, f"drafters.{name}.model")
        if not drafter.questions and not drafter.texts:
            raise UserError(f"drafters.{name}.questions", "none, and no texts", "one of them to train on")
        if drafter.answers is not None:
            _known(drafter.answers, config.drafters, f"drafters.{name}.answers")
        before: str | None = name
        for _ in config.drafters:
            before = started_from(config, before) if before else None
        if before:
            raise UserError(f"drafters.{name}.start", "comes to be by what starts from it", "another checkpoint")


def _check_prompts(config: Config) -> None:
    """Refuse a template that its file does not have, and limits that leave a model no prompt."""
    file = config.prompt_templates
    if file is not None and not Path(file).is_file():
        raise UserError("prompt_templates", repr(file), "a JSON file, relative to the working directory")
    for name in config.datasets:
        spec = dataset_spec(config, name)
        templates.chosen_template(spec)
        for model in config.models.values():
            if name in (model.datasets or config.datasets):
                prompt_length.longest(spec, model.context)


def _known(name: str, known: Iterable[str], key: str) -> None:
    if name not in known:
        raise UserError(key, f"{name!r} is not known", suggested(name, known))


def _inside(folder: str, key: str) -> None:
    path = PurePosixPath(folder)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UserError(key, repr(folder), "a folder inside the working directory")
    # Braces would be wildcards to Snakemake, and "~" a folder of that name.
    if folder.startswith("~") or not folder.isprintable() or set(folder) & set("{}"):
        raise UserError(key, repr(folder), "a plain path, without braces, line breaks or a leading ~")
