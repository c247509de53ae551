"""Rows of a data set that the `datasets` library loads: a hub id, or a local folder in the same formats."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longspec.errors import UserError, first_line

OPTIONS = {
    "repository": {"type": "string", "minLength": 1, "description": "owner/name on the hub, or a local folder."},
    "split": {"type": "string", "default": "test", "description": "The split to read."},
    "config_name": {"type": ["string", "null"], "default": None, "description": "The data set's configuration."},
    "revision": {"type": ["string", "null"], "default": None, "description": "A commit of the hub repository."},
    "id_field": {
        "type": ["string", "null"],
        "default": None,
        "description": "The field that names a sample; without it samples are called row-0, row-1, ...",
    },
    "id_range": {
        "type": ["array", "null"],
        "items": {"type": "integer"},
        "minItems": 2,
        "maxItems": 2,
        "default": None,
        "description": "First and last id to keep, both included, where ids are numbers.",
    },
}


def fingerprint(options: dict[str, Any]) -> str:
    """The repository and revision (pin the revision to be sure), or the contents of a local folder."""
    name = "@".join(str(options.get(key)) for key in ("repository", "config_name", "split", "revision"))
    place = Path(options["repository"])
    if not place.is_dir():
        return name
    digest = hashlib.sha256(name.encode())
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(place)} {content}\n".encode())
    return digest.hexdigest()[:16]


def read(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows in the split's order."""
    import datasets

    try:
        rows = datasets.load_dataset(
            options["repository"],
            options.get("config_name"),
            split=options["split"],
            revision=options.get("revision"),
        )
    except Exception as error:  # the library raises many kinds, its own and others'
        raise UserError(f"data set {options['repository']}: cannot be loaded ({first_line(error)})") from None
    id_field, id_range = options.get("id_field"), options.get("id_range")
    for number, row in enumerate(rows):
        if id_field is not None and id_field not in row:
            raise UserError(
                f"data set {options['repository']}, row {number}: has no field {id_field!r}; it has {', '.join(row)}"
            )
        name = row[id_field] if id_field is not None else number
        if id_range is None or id_range[0] <= _number(name, options["repository"], number) <= id_range[1]:
            yield str(name) if id_field is not None else f"row-{number}", dict(row)


def _number(name: Any, repository: str, row: int) -> int:
    try:
        return int(name)
    except (TypeError, ValueError):
        raise UserError(
            f"data set {repository}, row {row}: id {name!r} found; id_range expects whole numbers"
        ) from None
