"""Sections that take the options of plug-ins: the OPTIONS literals of the plug-ins that an entry names, as fields.

Contract: an entry with the options of its plug-ins, and nothing else, is of a class made here; a keyword of an OPTIONS
schema that is not known here is a bug of the plug-in and raises ValueError.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import Field, create_model

from longspec.config.sections.base import AS_GIVEN, Section
from longspec.config.sections.model import Model
from longspec.core import registry

BOUNDS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
    "minItems": "min_length",
    "maxItems": "max_length",
}
"""JSON Schema's keywords as pydantic's."""
KINDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "integer": (int, ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")),
    "number": (float, ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")),
    "string": (str, ("minLength", "maxLength", "pattern")),
    "boolean": (bool, ()),
    "null": (None, ()),
    "array": (list, ("minItems", "maxItems")),
    "object": (dict[str, Any], ()),
}
"""JSON Schema's types, and the keywords that concern each."""
KNOWN = {"type", "enum", "anyOf", "$ref", "items", "additionalProperties", "default", "description", *BOUNDS}

Entry = TypeVar("Entry", bound=Section)


@functools.cache
def with_options(section: type[Entry], *plugins: tuple[str, str]) -> type[Entry]:
    """Make the class of an entry that names these plug-ins, (kind, name): with their options, and no other keys."""
    fields: dict[str, Any] = {
        option: (option_type(schema), Field(schema.get("default", ...), description=schema["description"]))
        for kind, name in plugins
        for option, schema in registry.options(kind, name).items()
    }
    made: type[Entry] = create_model(section.__name__, __base__=section, __cls_kwargs__={"extra": "forbid"}, **fields)
    return made


def option_type(schema: registry.OptionSchema) -> Any:
    """Translate the JSON schema of an option into the type that pydantic checks."""
    if unknown := schema.keys() - KNOWN:
        raise ValueError(f"an option's schema has {sorted(unknown)}, which nothing checks")
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if "anyOf" in schema:
        return _either([option_type(one) for one in schema["anyOf"]])
    if schema.get("$ref") == registry.MODEL:
        return Model
    named = schema["type"]
    return _either([_typed(kind, schema) for kind in ([named] if isinstance(named, str) else named)])


def _typed(kind: str, schema: registry.OptionSchema) -> Any:
    made, concerned = KINDS[kind]
    if kind == "array":
        made = list[option_type(schema["items"])]  # type: ignore[misc]
    if kind == "object" and "additionalProperties" in schema:
        made = dict[str, option_type(schema["additionalProperties"])]  # type: ignore[misc]
    bounds: dict[str, Any] = {BOUNDS[keyword]: value for keyword, value in schema.items() if keyword in concerned}
    kept = (AS_GIVEN,) if kind == "number" else ()
    return Annotated[(made, Field(**bounds), *kept)] if bounds or kept else made


def _either(types: list[Any]) -> Any:
    return Union[tuple(types)]  # noqa: UP007  # made of a list
