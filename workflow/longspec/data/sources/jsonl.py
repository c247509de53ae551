"""Rows of a local JSON Lines file. Paths are relative to the working directory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NotRequired, TypedDict

from longspec.core.errors import UserError
from longspec.core.records import read_rows
from longspec.data.sources._interface import Row, named_by

OPTIONS = {
    "path": {"type": "string", "minLength": 1, "description": "A JSON Lines file, one object a line."},
    "id_field": {
        "type": ["string", "null"],
        "default": None,
        "description": "The field that names a sample; without it samples are called line-1, line-2, ...",
    },
}


class Options(TypedDict):
    """The options of this source, among the keys of a data set."""

    path: str
    id_field: NotRequired[str | None]


def fingerprint(options: Options) -> str:
    """Hash the file."""
    try:
        return hashlib.sha256(Path(options["path"]).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(options["path"], f"cannot be read ({error.strerror})", "a JSON Lines file") from None


def read(options: Options) -> Iterator[Row]:
    """Read the rows in the file's order. UserError names the line whose id is missing, no id, or taken already."""
    path, id_field = Path(options["path"]), options.get("id_field")
    lines: dict[str, int] = {}
    for number, fields in read_rows(path):
        if id_field is None:
            yield Row(f"line-{number}", fields)
            continue
        where = f"{path}, line {number}"
        name = named_by(where, fields, id_field)
        if name in lines:
            raise UserError(
                where, f"two samples are called {name!r}, the other is in line {lines[name]}", "one sample an id"
            )
        lines[name] = number
        yield Row(name, fields)
