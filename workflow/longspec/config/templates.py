"""From a data set's row to the user's messages.

A template names fields in braces and nothing else: no attributes, no indices, no format specifications.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longspec.core.errors import UserError, one_of
from longspec.core.spec import DatasetSpec


def fields(template: str) -> list[str]:
    """The fields that a template names. UserError when it is not of the form described above."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError("template", f"{template!r}: {error}", "plain {field} names") from None
    for _, name, spec, conversion in parts:
        if name is not None and (not name.isidentifier() or spec or conversion):
            raise UserError("template", f"{template!r} with {{{name}}}", "plain {field} names")
    return [name for _, name, _, _ in parts if name]


def chosen_template(dataset: DatasetSpec, prompt_templates: str | None) -> str:
    """The data set's template, or LongBench's own where `prompt_templates` is given and has it."""
    name = dataset.get("template_name")
    if not prompt_templates or not name:
        return str(dataset.get("template") or "")
    try:
        table = json.loads(Path(prompt_templates).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            "prompt_templates", f"{prompt_templates!r} cannot be read ({error})", "a JSON file of templates by name"
        ) from None
    if not isinstance(table, dict) or name not in table:
        raise UserError("prompt_templates", f"{prompt_templates!r} has no entry {name!r}", "one for each template_name")
    if not isinstance(table[name], str):
        raise UserError("prompt_templates", f"{prompt_templates!r} has {table[name]!r} for {name!r}", "a text")
    return table[name]


def messages(dataset: DatasetSpec, template: str, sample_id: str, row: Mapping[str, Any]) -> list[str]:
    """The user's turns of one row. UserError naming data set, sample and field when one is missing."""
    where = f"dataset {dataset['name']}, sample {sample_id}"
    if turns_field := dataset.get("turns_field"):
        turns = row.get(turns_field)
        if not isinstance(turns, list) or not turns or not all(isinstance(t, str) for t in turns):
            raise UserError(where, f"field {turns_field!r} is {turns!r}", "a list of strings")
        if empty := [number for number, turn in enumerate(turns) if not turn.strip()]:
            raise UserError(where, f"message {empty[0]} of field {turns_field!r} is empty", "some text in each")
        return turns
    values = {}
    for name in fields(template):
        if name not in row:
            raise UserError(where, f"has no field {name!r} for its template", one_of(row))
        values[name] = _text(where, name, row[name])
    message = template.format(**values)
    if not message.strip():
        raise UserError(where, "its message is empty", "some text in the fields of its template")
    return [message]


def _text(where: str, name: str, value: Any) -> str:
    """A field as it stands in a message: text, or a number. What Python would print of anything else is no text."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number and not isinstance(value, str):
        raise UserError(where, f"field {name!r} is {value!r}"[:200], "a text, or a finite number")
    return str(value)
