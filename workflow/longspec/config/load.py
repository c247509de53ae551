"""The experiment's configuration: checked once and completed with defaults.

Contract: `load` returns a complete configuration or raises UserError with one message that names the key, the
value and what would be right. No torch; it does not know what methods or drafters do.
"""

from __future__ import annotations

import copy
import difflib
import functools
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import yaml

from longspec.config import plain_yaml, templates
from longspec.config.specs import Config, baseline, plugged
from longspec.core import registry
from longspec.core.errors import UserError, one_of
from longspec.models import trust

SCHEMA = Path(__file__).with_name("schema.yaml")
# JSON Schema counts 4.0 as an integer; range(4.0) does not.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def load(raw: Config, files: Iterable[Path] = ()) -> Config:
    """Check `raw` and fill in defaults. `files` are where it was read from: they are searched for duplicates."""
    for file in files:
        plain_yaml.check(Path(file))
    config: Config = copy.deepcopy(dict(raw))
    plain_yaml.check_texts(config)
    _complete(config, _schema(), "")
    _complete(config["sampling"], _schema()["$defs"]["sampling"], "sampling")
    for name, entry in config["datasets"].items():
        where = f"datasets.{name}"
        _known(entry["source"], "sources", f"{where}.source")
        _complete(entry, _with_options("dataset", [("sources", entry["source"])]), where)
        _check_template(entry, where)
    for name, entry in config["methods"].items():
        _complete_method(entry, f"methods.{name}")
    for name, entry in config["models"].items():
        _complete_model(entry, f"models.{name}")
        for dataset in entry.get("datasets", []):
            _one_of(dataset, config["datasets"], f"models.{name}.datasets")
        if "datasets" in entry:
            entry["datasets"] = sorted(entry["datasets"])  # its order means nothing, so it must change nothing
    for name, entry in config["drafters"].items():
        _complete(entry, _schema()["$defs"]["trained"], f"drafters.{name}")
        _one_of(entry["model"], config["models"], f"drafters.{name}.model")
        if not entry["questions"] and not entry["texts"]:
            raise UserError(f"drafters.{name}.questions", "none, and no texts", "one of them to train on")
        if entry["answers"] is not None:
            _one_of(entry["answers"], config["drafters"], f"drafters.{name}.answers")
    for key in ("results", "reports"):
        _inside(config[key], key)
    named = config["prompt_templates"]
    if named is not None and not Path(named).is_file():
        raise UserError("prompt_templates", repr(named), "a JSON file, relative to the working directory")
    for kind in ("models", "methods", "drafters", "datasets"):
        trust.refuse_unpinned(config[kind], kind)
    baseline(config)
    return config


@functools.cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return schema


def _complete_model(entry: Config, where: str) -> None:
    """Defaults of a model; what a job asks of a cluster."""
    entry.setdefault("resources", {})
    _complete(entry["resources"], _schema()["$defs"]["resources"], f"{where}.resources")
    entry.setdefault("trust_remote_code", False)


def _with_options(definition: str, used: list[tuple[str, str]]) -> dict[str, Any]:
    """The schema of an entry together with the options of the plug-ins that it names, and nothing else."""
    schema = copy.deepcopy(_schema()["$defs"][definition])
    schema["additionalProperties"] = False
    for kind, name in used:
        for option, described in registry.options(kind, name).items():
            schema["properties"][option] = described
            if "default" not in described:
                schema["required"].append(option)
    return schema


def _complete_method(entry: Config, where: str) -> None:
    _one_of(entry["method"], [*registry.names("methods"), *registry.names("peers")], f"{where}.method")
    if registry.decodes(entry["method"]) == "methods" and registry.drafts(entry["method"]):
        if "drafter" not in entry:
            raise UserError(f"{where}.drafter", "missing", one_of(registry.names("drafters")))
        _known(entry["drafter"], "drafters", f"{where}.drafter")
    elif "drafter" in entry:
        raise UserError(
            f"{where}.drafter", repr(entry["drafter"]), f"none, as method {entry['method']} takes no drafter"
        )
    _complete(entry, _with_options("method", plugged(entry)), where)


def _check_template(entry: Config, where: str) -> None:
    if not entry.get("template"):
        if not entry["turns_field"]:
            raise UserError(f"{where}.template", "missing", "a template (or turns_field)")
        return
    try:
        templates.fields(entry["template"])
    except UserError as error:
        raise UserError(f"{where}.{error.where}", error.found, error.expected) from None


def _complete(value: Config, schema: dict[str, Any], where: str) -> None:
    """Validate in place and fill in the defaults of top-level properties, then of entries."""
    validator = _Validator({"$defs": _schema()["$defs"], **schema})
    error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    if error is not None:
        raise _refusal(error, where)
    for key, described in schema["properties"].items():
        if "default" in described:
            value.setdefault(key, copy.deepcopy(described["default"]))


def _refusal(error: jsonschema.ValidationError, where: str) -> UserError:
    key = ".".join([*filter(None, [where]), *map(str, error.absolute_path)]) or "config"
    value: Any = error.instance
    wanted: Any = error.validator_value
    schema = error.schema
    if error.validator == "additionalProperties" and isinstance(schema, dict):
        known = schema.get("properties", {})
        unknown = next(str(name) for name in value if name not in known)
        place = (unknown or repr(unknown)) if key == "config" else f"{key}.{unknown}"
        return UserError(place, "unknown key", _suggested(unknown, known))
    if error.validator == "required":
        missing = next(name for name in wanted if name not in value)
        return UserError(f"{key}.{missing}", "missing", f"it beside {', '.join(map(str, value)) or 'nothing'}")
    if error.validator == "oneOf" and isinstance(value, dict):
        return UserError(key, f"{', '.join(value) or 'nothing'} given", "exactly one of package, hub, path")
    described = f" ({schema['description']})" if isinstance(schema, dict) and "description" in schema else ""
    return UserError(key, repr(value), f"{_expectation(error)}{described}")


def _expectation(error: jsonschema.ValidationError) -> str:
    wanted: Any = error.validator_value
    phrases = {
        "type": lambda: " or ".join(wanted) if isinstance(wanted, list) else f"{wanted}",
        "enum": lambda: one_of(wanted),
        "minimum": lambda: f"at least {wanted}",
        "exclusiveMinimum": lambda: f"more than {wanted}",
        "maximum": lambda: f"at most {wanted}",
        "minItems": lambda: f"at least {wanted} items",
        "minProperties": lambda: f"at least {wanted} entry",
        "pattern": lambda: f"a text of the form {wanted}",
    }
    return phrases.get(str(error.validator), lambda: error.message)()


def _suggested(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"{near[0]}, if you mean that" if near else one_of(known)


def _one_of(name: str, known: Iterable[str], key: str) -> None:
    if name not in known:
        raise UserError(key, f"{name!r} is not known", _suggested(name, known))


def _known(name: str, kind: str, key: str) -> None:
    _one_of(name, registry.names(kind), key)


def _inside(folder: str, key: str) -> None:
    path = PurePosixPath(folder)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UserError(key, repr(folder), "a folder inside the working directory")
    # Braces would be wildcards to Snakemake, and "~" a folder of that name.
    if folder.startswith("~") or not folder.isprintable() or set(folder) & set("{}"):
        raise UserError(key, repr(folder), "a plain path, without braces, line breaks or a leading ~")
