"""Makes the user's messages of a data set's row.

A template names fields in braces and nothing else: no attributes, no indices, no format specifications.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from pathlib import Path

from longspec.core.errors import UserError, first_line, one_of
from longspec.core.spec import DatasetSpec
from longspec.core.text import as_text, require_whole


def fields(template: str, where: str = "template") -> list[str]:
    """List the fields that a template names. UserError at `where` when it is not of the form described above."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(where, f"{template!r}: {error}", "plain {field} names") from None
    for _, name, spec, conversion in parts:
        if name is not None and (not name.isidentifier() or spec or conversion):
            raise UserError(where, f"{template!r} with {{{name}}}", "plain {field} names")
    return [name for _, name, _, _ in parts if name]


def from_file(prompt_templates: str, name: str) -> str:
    """Read the template of that name from a `prompt_templates` file. UserError where it has none, or no template."""
    try:
        table = json.loads(Path(prompt_templates).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            "prompt_templates",
            f"{prompt_templates!r} cannot be read ({first_line(error)})",
            "a JSON file of templates by name",
        ) from None
    if not isinstance(table, dict) or name not in table:
        raise UserError("prompt_templates", f"{prompt_templates!r} has no entry {name!r}", "one for each template_name")
    if not isinstance(table[name], str):
        raise UserError("prompt_templates", f"{prompt_templates!r} has {table[name]!r} for {name!r}", "a text")
    fields(table[name], f"prompt_templates, {name!r}")
    return str(table[name])


def chosen_template(dataset: DatasetSpec) -> str:
    """Take the data set's own template, or that of its name where a `prompt_templates` file is given."""
    name, file = dataset["template_name"], dataset["prompt_templates"]
    return from_file(file, name) if file and name else dataset.get("template") or ""


def messages(dataset: DatasetSpec, template: str, sample_id: str, row: Mapping[str, object]) -> list[str]:
    """Make the user's messages of one row. UserError names the data set, the sample and the field that is missing, or
    holds no text."""
    where = f"dataset {dataset['name']}, sample {sample_id}"
    turns_field = dataset["turns_field"]
    for name in [turns_field] if turns_field else fields(template):
        if name not in row:
            raise UserError(where, f"has no field {name!r}", one_of(row))
    if turns_field:
        return _turns(where, turns_field, row[turns_field])
    values = {name: as_text(where, f"field {name!r}", row[name]) for name in fields(template)}
    message = template.format(**values)
    if not message.strip():
        raise UserError(where, "its message is empty", "some text in the fields of its template")
    return [message]


def _turns(where: str, field: str, turns: object) -> list[str]:
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
        raise UserError(where, f"field {field!r} is {repr(turns)[:160]}", "a list of texts")
    for number, turn in enumerate(turns):
        require_whole(where, f"message {number} of field {field!r}", turn)
        if not turn.strip():
            raise UserError(where, f"message {number} of field {field!r} is empty", "some text in each")
    return turns
