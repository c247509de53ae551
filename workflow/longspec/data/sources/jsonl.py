"""Rows from a local JSON Lines file. Paths are relative to the working directory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longspec.core.errors import UserError, one_of
from longspec.core.records import read_rows

OPTIONS = {
    "path": {"type": "string", "minLength": 1, "description": "A JSON Lines file, one object a line."},
    "id_field": {
        "type": ["string", "null"],
        "default": None,
        "description": "The field that names a sample; without it samples are called line-1, line-2, ...",
    },
}


def fingerprint(options: dict[str, Any]) -> str:
    """Hash of the file."""
    try:
        return hashlib.sha256(Path(options["path"]).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(options["path"], f"cannot be read ({error.strerror})", "a JSON Lines file") from None


def read(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows in the file's order."""
    path, id_field = Path(options["path"]), options.get("id_field")
    lines: dict[str, int] = {}
    for number, row in read_rows(path):
        where = f"{path}, line {number}"
        if id_field is None:
            yield f"line-{number}", row
            continue
        if id_field not in row:
            raise UserError(where, f"has no field {id_field!r}", one_of(row))
        value = row[id_field]
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise UserError(where, f"{id_field!r} is {value!r}", "a text or a whole number")
        if str(value) in lines:
            raise UserError(
                where,
                f"two samples are called {str(value)!r}, the other is in line {lines[str(value)]}",
                "one sample an id",
            )
        lines[str(value)] = number
        yield str(value), row
