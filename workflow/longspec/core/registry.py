"""Finds methods, drafters and sources by file name, and reads their options without importing them.

A plug-in is one file, or one folder, in the folder of its kind (FOLDERS). Its module-level literal `OPTIONS` maps each
option to a JSON schema with a default and a description; an option without a default must be given. Options that all
plug-ins of a kind have stand in the OPTIONS of its folder's `_interface.py`.
Reading it as text keeps planning free of torch. This module does not know what a plug-in does.
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
    "drafters": "drafters",
    "sources": "data/sources",
    "verification": "decoding/verifiers",
}
"""Kind of plug-in to the folder of its files."""
KINDS = ("methods", "peers", "drafters", "sources")
"""With options of their own; `verification` holds plug-ins without any."""
SHARING = ("peers",)
"""Kinds whose plug-ins have options in common."""
OptionSchema = TypedDict(
    "OptionSchema",
    {
        "type": str | list[str],
        "enum": list[str | None],
        "anyOf": list["OptionSchema"],
        "$ref": str,
        "items": "OptionSchema",
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
    """The plug-ins of a kind, sorted."""
    folder = PACKAGE / FOLDERS[kind]
    found = [*folder.glob("*.py"), *(file.parent for file in folder.glob("*/__init__.py"))]
    return tuple(sorted(path.stem for path in found if not path.stem.startswith("_")))


def file(kind: str, name: str) -> Path:
    """The plug-in's own file; the `__init__.py` of one that is a folder."""
    place = PACKAGE / FOLDERS[kind] / name
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def module(kind: str, name: str) -> str:
    """The plug-in's module, dotted, below this package."""
    return ".".join([*FOLDERS[kind].split("/"), name])


@cache
def literal(kind: str, name: str, variable: str) -> Any:
    """The value of a module-level literal, read from the file's text."""
    tree = ast.parse(file(kind, name).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == variable for target in targets):
                return ast.literal_eval(node.value)
    raise LookupError(f"{kind}/{name}.py has no literal {variable}")


def options(kind: str, name: str) -> Options:
    """Option name to JSON schema, from the file's OPTIONS literal and from that which all of its kind share."""
    return {**own_options(kind, name), **shared_options(kind)}


def own_options(kind: str, name: str) -> Options:
    """Those of the file itself, which are given to what it makes."""
    return dict(literal(kind, name, "OPTIONS"))


def shared_options(kind: str) -> Options:
    """Those of every plug-in of a kind, from the OPTIONS of the folder's `_interface.py`, if it has one."""
    return dict(literal(kind, "_interface", "OPTIONS")) if kind in SHARING else {}


def models(kind: str, name: str) -> list[str]:
    """Options whose value is a model, as under `models:`, or may be one."""
    described = options(kind, name).items()
    return [option for option, schema in described if MODEL in map(_reference, (schema, *schema.get("anyOf", ())))]


def engine_runs(drafter: str) -> list[str]:
    """The drafter's options whose model our own engine runs: from its file's ENGINE_RUNS literal, if it has one."""
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
    """The kind of what a variant names as its `method`: a shape for our loop ("methods"), or a loop of its own."""
    return "peers" if name in names("peers") else "methods"


def drafts(name: str) -> bool:
    """Whether a method needs a drafter, or a peer speculates: from its file's DRAFTS literal."""
    return bool(literal(decodes(name), name, "DRAFTS"))


def branches(name: str) -> bool:
    """Whether a method verifies more than one path in a step: from its file's BRANCHES literal; a peer does not."""
    return decodes(name) == "methods" and bool(literal("methods", name, "BRANCHES"))


def widths(variant: Mapping[str, Any]) -> list[int]:
    """List the most nodes at each depth below the root of a variant's drafts: the option that its method's WIDTHS
    literal names. Empty where nothing is drafted or nobody knows: `auto` before tuning, a peer, an old method."""
    method = variant.get("method")
    option = literal("methods", str(method), "WIDTHS") if method in names("methods") else None
    held = variant.get(option) if option else None
    return [1] * held if isinstance(held, int) else list(held) if isinstance(held, list) else []


def verification(spec: GenerateSpec) -> str:
    """Name the verifier that a job's tokens come from; "own" for a peer that samples by its own generator.

    Greedy decoding is "keyed", whatever the spec says."""
    if spec["sampling"]["temperature"] == 0:
        return "keyed"
    return "own" if decodes(spec["method"]["method"]) == "peers" else spec["verification"]


def load(kind: str, name: str) -> ModuleType:
    """The plug-in's module, imported."""
    return importlib.import_module(f"longspec.{module(kind, name)}")
