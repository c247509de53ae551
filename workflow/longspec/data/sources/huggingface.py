"""Rows of a data set that the `datasets` library loads: a hub id, or a local folder in the same formats."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longspec.core.errors import UserError, first_line, one_of
from longspec.core.revisions import is_commit

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


def hub(options: dict[str, Any]) -> str | None:
    """The repository, unless it is a local folder."""
    return None if Path(options["repository"]).is_dir() else options["repository"]


def resolved(options: dict[str, Any]) -> str:
    """The commit that the rows are of; a local folder's fingerprint."""
    if hub(options) is None:
        return fingerprint(options)
    return f"{options['repository']}@{_builder(*_named(options)).hash}"


def read(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows in the split's order; UserError where they are of another commit than `revision` pins."""
    rows = _rows(options)
    id_field, id_range = options.get("id_field"), options.get("id_range")
    for number, row in enumerate(rows):
        if id_field is not None and id_field not in row:
            raise UserError(
                f"data set {options['repository']}, row {number}", f"has no field {id_field!r}", one_of(row)
            )
        name = row[id_field] if id_field is not None else number
        if id_range is None or id_range[0] <= _number(name, options["repository"], number) <= id_range[1]:
            yield str(name) if id_field is not None else f"row-{number}", dict(row)


def _named(options: dict[str, Any]) -> tuple[str, str | None, str | None]:
    return options["repository"], options.get("config_name"), options.get("revision")


def _rows(options: dict[str, Any]) -> Any:
    try:
        # A local folder's files may change while this process lives.
        builder = (_builder if hub(options) else _builder.__wrapped__)(*_named(options))
        found, wanted = str(builder.hash), options.get("revision")
        # Without a network `datasets` takes the latest state in its cache, whatever revision it is asked for.
        if hub(options) and is_commit(wanted) and found != wanted:
            raise UserError(
                f"data set {options['repository']}", f"the cache has commit {found}", f"{wanted}, its `revision`"
            )
        builder.download_and_prepare()
        return builder.as_dataset(split=options["split"])
    except UserError:
        raise
    except Exception as error:  # the library raises many kinds, its own and others'
        raise UserError(
            f"data set {options['repository']}",
            f"split {options['split']!r} cannot be loaded ({first_line(error)})",
            "one that it has, on the hub, in the hub's cache or in a local folder",
        ) from None


@functools.cache  # asked for twice, answered once: `main` may move in between
def _builder(repository: str, config_name: str | None, revision: str | None) -> Any:
    """What the library found; its `hash` is the commit of a hub's repository."""
    import datasets

    return datasets.load_dataset_builder(repository, config_name, revision=revision)


def _number(name: Any, repository: str, row: int) -> int:
    try:
        return int(name)
    except (TypeError, ValueError):
        raise UserError(f"data set {repository}, row {row}", f"id {name!r}", "a whole number, for id_range") from None
