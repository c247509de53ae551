"""From a data set's row to the user's messages.

A template names fields in braces and nothing else: no attributes, no indices, no format specifications.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

from longspec.core.errors import UserError


def fields(template: str) -> list[str]:
    """The fields that a template names. UserError when it is not of the form described above."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"template {template!r}: {error}; expected plain {{field}} names") from None
    for _, name, spec, conversion in parts:
        if name is not None and (not name.isidentifier() or spec or conversion):
            raise UserError(f"template {template!r}: {{{name}}} found; expected plain {{field}} names")
    return [name for _, name, _, _ in parts if name]


def chosen_template(dataset: dict[str, Any], prompt_templates: str | None) -> str:
    """The data set's template, or LongBench's own where `prompt_templates` is given and has it."""
    name = dataset.get("template_name")
    if not prompt_templates or not name:
        return str(dataset.get("template") or "")
    try:
        table = json.loads(Path(prompt_templates).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"prompt_templates {prompt_templates}: cannot be read ({error})") from None
    if not isinstance(table, dict) or name not in table:
        raise UserError(f"prompt_templates {prompt_templates}: has no entry {name!r}")
    return str(table[name])


def messages(dataset: dict[str, Any], template: str, sample_id: str, row: dict[str, Any]) -> list[str]:
    """The user's turns of one row. UserError naming data set, sample and field when one is missing."""
    where = f"dataset {dataset['name']}, sample {sample_id}"
    if turns_field := dataset.get("turns_field"):
        turns = row.get(turns_field)
        if not isinstance(turns, list) or not turns or not all(isinstance(t, str) for t in turns):
            raise UserError(f"{where}: field {turns_field!r} is {turns!r}; expected a list of strings")
        return turns
    values = {}
    for name in fields(template):
        if name not in row:
            raise UserError(f"{where}: has no field {name!r} for its template; it has {', '.join(row)}")
        values[name] = row[name]
    return [template.format(**values)]
