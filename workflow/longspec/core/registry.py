"""Finds plug-ins (methods, peers, served engines, drafters, sources, verifiers) by name; reads their options as text.

A plug-in is one file, or one folder, in the folder of its kind (FOLDERS). Its module-level literal `OPTIONS` maps each
option to a JSON schema with a default and a description; an option without a default must be given. Options that all
plug-ins of a kind share are in the OPTIONS of the folder's `_interface.py`. Files are read as text, which keeps
planning free of torch.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

from longspec.core.spec import GenerateSpec, MethodEntry, ModelSpec, by_name

PACKAGE = Path(__file__).resolve().parents[1]
MODEL = "#/$defs/model"
"""The schema of an option whose value is a model."""
FOLDERS = {
    "methods": "decoding/methods",
    "peers": "backends/peers",
    "served": "backends/served",
    "drafters": "drafters",
    "sources": "data/sources",
    "verification": "decoding/verifiers",
}
"""Folder of the files of each kind of plug-in."""
KINDS = ("methods", "peers", "served", "drafters", "sources")
"""Kinds whose plug-ins have options; those of `verification` have none."""
SHARING = ("peers", "served")
"""Kinds whose plug-ins have options in common."""
OptionSchema = TypedDict(
    "OptionSchema",
    {
        "type": str | list[str],
        "enum": list[str | None],
        "anyOf": list["OptionSchema"],
        "$ref": str,
        "items": "OptionSchema",
        "additionalProperties": "OptionSchema",
        "default": object,
        "description": str,
    },
    total=False,
)
"""The JSON schema of one option; config/options.py knows the keywords that bound its values, and checks it."""
Options = dict[str, OptionSchema]
"""Option name to JSON schema."""


@cache
def names(kind: str) -> tuple[str, ...]:
    """List the names of the plug-ins of a kind, sorted."""
    folder = PACKAGE / FOLDERS[kind]
    found = [*folder.glob("*.py"), *(file.parent for file in folder.glob("*/__init__.py"))]
    return tuple(sorted(path.stem for path in found if not path.stem.startswith("_")))


def file(kind: str, name: str) -> Path:
    """Return the path of a plug-in's file; of one that is a folder, its `__init__.py`."""
    place = PACKAGE / FOLDERS[kind] / name
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def module(kind: str, name: str) -> str:
    """Return the dotted name of a plug-in's module below this package."""
    return ".".join([*FOLDERS[kind].split("/"), name])


@cache
def literal(kind: str, name: str, variable: str) -> Any:
    """Read the value of a module-level literal from a plug-in's text; raises LookupError where there is none."""
    tree = ast.parse(file(kind, name).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == variable for target in targets):
                return ast.literal_eval(node.value)
    raise LookupError(f"{kind}/{name}.py has no literal {variable}")


def options(kind: str, name: str) -> Options:
    """Map each option of a plug-in to its JSON schema, those that its kind shares included."""
    return {**own_options(kind, name), **shared_options(kind)}


def own_options(kind: str, name: str) -> Options:
    """Map each option in a plug-in's own OPTIONS to its JSON schema; these are passed to its `make` or class."""
    return dict(literal(kind, name, "OPTIONS"))


def shared_options(kind: str) -> Options:
    """Map each option that all plug-ins of a kind share to its JSON schema; empty where they share none."""
    return dict(literal(kind, "_interface", "OPTIONS")) if kind in SHARING else {}


def models(kind: str, name: str) -> list[str]:
    """List the options of a plug-in whose value is, or may be, a model as under `models:`."""
    described = options(kind, name).items()
    return [option for option, schema in described if MODEL in map(_reference, (schema, *schema.get("anyOf", ())))]


def engine_runs(drafter: str) -> list[str]:
    """List a drafter's options whose model our own engine runs: its literal ENGINE_RUNS, if it has one."""
    try:
        return list(literal("drafters", drafter, "ENGINE_RUNS"))
    except LookupError:
        return []


def _reference(schema: OptionSchema) -> str | None:
    return schema.get("$ref")


def plugged(method: str, drafter: str | None) -> list[tuple[str, str]]:
    """List the plug-ins that a variant names, as (kind, name)."""
    return [(decodes(method), method), *([("drafters", drafter)] if drafter else [])]


def models_in(entry: MethodEntry) -> dict[str, ModelSpec]:
    """Map each option of a variant that names a model to that model."""
    named = plugged(entry["method"], entry.get("drafter"))
    given = {option: by_name(entry)[option] for kind, name in named for option in models(kind, name)}
    return {option: model for option, model in given.items() if model}


def decodes(name: str) -> str:
    """Return the kind of what a variant names as its `method`: "methods" of our loop, "peers" with a loop of their own
    over the model, or "served", engines that run as servers."""
    return next((kind for kind in ("peers", "served") if name in names(kind)), "methods")


def drafts(name: str) -> bool:
    """Tell if a method needs a drafter, or a peer speculates: the literal DRAFTS of its file."""
    return bool(literal(decodes(name), name, "DRAFTS"))


def branches(name: str) -> bool:
    """Tell if a method verifies more than one path in a step: the literal BRANCHES of its file; false for a peer."""
    return decodes(name) == "methods" and bool(literal("methods", name, "BRANCHES"))


def widths(variant: Mapping[str, Any]) -> list[int]:
    """List the most nodes at each depth below the root of a variant's drafts.

    It is the value of the option that the method's literal WIDTHS names. Empty where nothing is drafted, or where it is
    not known: `auto` before tuning, a peer, a method that no longer exists."""
    method = variant.get("method")
    option = literal("methods", str(method), "WIDTHS") if method in names("methods") else None
    held = variant.get(option) if option else None
    return [1] * held if isinstance(held, int) else list(held) if isinstance(held, list) else []


def verification(spec: GenerateSpec) -> str:
    """Name the verifier that a job's tokens come from; "own" for who samples by a generator of its own.

    Greedy decoding is "keyed", whatever the spec says."""
    if spec["sampling"]["temperature"] == 0:
        return "keyed"
    return spec["verification"] if decodes(spec["method"]["method"]) == "methods" else "own"


def load(kind: str, name: str) -> ModuleType:
    """Import a plug-in's module."""
    return importlib.import_module(f"longspec.{module(kind, name)}")
