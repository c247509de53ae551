"""Says in words what is wrong with a section: pydantic's errors as a UserError with the key, the value, and what would
be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from longspec.config.sections.base import NAME, Section
from longspec.core.errors import UserError, one_of

Schema = dict[str, Any]
Path = tuple[str | int, ...]
UNKNOWN_KEY = ("extra_forbidden", "invalid_key")
ANY_OF = re.compile(r"\^\[A-Za-z0-9([^\]]*)\]\+\$")
"""A pattern that says no more than which characters there may be."""

Checked = TypeVar("Checked", bound=Section)


def checked(section: type[Checked], value: Any, where: str = "") -> Checked:
    """Complete a section with its defaults. UserError for the first key that is wrong; `where`: the section's own."""
    try:
        return section.model_validate(value)
    except ValidationError as error:
        found = [(_path(value, one), one) for one in error.errors(include_url=False)]
        raise _refusal(*_worst(found), value, section.model_json_schema(), where) from None


def suggested(name: str, known: Iterable[str]) -> str:
    """Name the key that is meant by one that is not known; all of them where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"{near[0]}, if you mean that" if near else one_of(known)


def _path(value: Any, error: ErrorDetails) -> Path:
    """Find the keys and indices on the way to a wrong value, or to the mapping with a wrong key; pydantic names the
    types that it tried, too."""
    path: list[str | int] = []
    loc = error["loc"]
    if loc and loc[-1] == "[key]":
        loc = loc[:-2]
    elif error["type"] in UNKNOWN_KEY:
        loc = loc[:-1]
    for step in loc:
        try:
            value = value[step]
            path.append(step)
        except (KeyError, IndexError, TypeError):
            continue
    return tuple(path)


def _worst(found: list[tuple[Path, ErrorDetails]]) -> tuple[Path, ErrorDetails]:
    """Choose the error to tell: an unknown key, which may be why another is missing; else the first, as deep inside its
    value as any of the types that were tried got."""
    for path, error in found:
        if error["type"] in UNKNOWN_KEY:
            return path, error
    first = found[0][0]
    return max((one for one in found if one[0][: len(first)] == first), key=lambda one: len(one[0]))


def _refusal(path: Path, error: ErrorDetails, whole: Any, schema: Schema, where: str) -> UserError:
    value, described = whole, schema
    kind, last = error["type"], error["loc"][-1] if error["loc"] else ""
    for step in path:
        value, described = value[step], _below(described, step, schema)
    key = ".".join([*filter(None, [where]), *map(str, path)])
    if kind in UNKNOWN_KEY:
        known = _resolved(described, schema).get("properties", {})
        return UserError(
            f"{key}.{last}" if key else str(last) or repr(last), "unknown key", suggested(str(last), known)
        )
    if kind == "missing":
        wanted = _told(_below(described, last, schema), schema)
        beside = ", ".join(map(str, value)) or "nothing"
        return UserError(f"{key}.{last}".lstrip("."), "missing", f"{wanted} beside {beside}")
    if last == "[key]":
        return UserError(key, repr(error["input"]), NAME)
    if kind == "refused":
        return UserError(key or "config", error["ctx"]["found"], error["ctx"]["expected"])
    return UserError(key or "config", repr(value), _told(described, schema))


def _resolved(described: Schema, schema: Schema) -> Schema:
    """Follow a schema's reference, or take the mapping among several possible types."""
    if "$ref" in described:
        target: Schema = schema["$defs"][described["$ref"].rpartition("/")[2]]
        return target
    mapping_or_list = (one for one in described.get("anyOf", ()) if one.keys() & {"$ref", "items"})
    return next((_resolved(one, schema) for one in mapping_or_list), described)


def _below(described: Schema, step: str | int, schema: Schema) -> Schema:
    """Take the schema of a key's or an item's value."""
    described = _resolved(described, schema)
    if isinstance(step, int) and "items" in described:
        item: Schema = described["items"]
        return item
    named = [*described.get("patternProperties", {}).values(), described.get("additionalProperties")]
    found: Schema = described.get("properties", {}).get(step) or named[0] or {}
    return found


def _told(described: Schema, schema: Schema) -> str:
    """Say what a value may be, and what it means: the first sentence of its description."""
    meaning = re.split(r"(?<=\.)\s", described.get("description", ""))[0].rstrip(".")
    said = meaning.replace("`", "").replace("\n", " ")
    return _words(described, schema) + (f" ({said})" if said else "")


def _words(described: Schema, schema: Schema) -> str:
    if "$ref" in described:
        described = _resolved(described, schema)
    if "anyOf" in described:
        return " or ".join(dict.fromkeys(_words(one, schema) for one in described["anyOf"]))
    if "enum" in described:
        return one_of("null" if name is None else name for name in described["enum"])
    if "const" in described:
        return str(described["const"])
    kind = described.get("type")
    if kind in ("integer", "number"):
        return f"{'an integer' if kind == 'integer' else 'a number'}{_bounds(described)}"
    if kind == "string":
        return str(described.get("form") or _form(described))
    if kind == "array":
        return f"a list{_sized(described)}"
    if kind == "object" and described.get("minProperties"):
        return f"an object with at least {described['minProperties']} entry"
    return {"object": "an object of keys and values", "boolean": "true or false"}.get(str(kind), str(kind))


def _bounds(described: Schema) -> str:
    least, most, above, below = (
        described.get(key) for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    )
    if least is not None and most is not None:
        return f" from {least} to {most}"
    said = {"at least": least, "more than": above, "at most": most, "less than": below}
    found = [f"{words} {bound}" for words, bound in said.items() if bound is not None]
    return f" of {' and '.join(found)}" if found else ""


def _sized(described: Schema) -> str:
    least, most = described.get("minItems", 0), described.get("maxItems")
    if most is None:
        return f" of at least {least} item{'s'[: least > 1]}" if least else ""
    return f" of {most} items" if least == most else f" of {least} to {most} items"


def _form(described: Schema) -> str:
    """Say a text's pattern in words, where it is plain enough."""
    pattern = described.get("pattern", "")
    if re.fullmatch(r"\^\w+\$", pattern):
        return pattern[1:-1]
    if match := ANY_OF.fullmatch(pattern):
        return f"letters, digits{''.join(f', {letter!r}' for letter in match[1])}"
    return "a text that is not empty" if described.get("minLength") else "a text"
