"""Rows of a data set that the `datasets` library loads: a hub id, or a local folder in the same formats."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Required, TypedDict

from longspec.core.errors import UserError, one_line
from longspec.core.records import read_rows
from longspec.core.revisions import is_commit
from longspec.data.sources._interface import Row, named_by

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


HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[\w.-]+)?")
"""What the hub can have: anything else is meant to be a local folder."""


class Options(TypedDict, total=False):
    """The options of this source, among the keys of a data set."""

    repository: Required[str]
    split: Required[str]
    config_name: str | None
    revision: str | None
    id_field: str | None
    id_range: list[int] | None


def fingerprint(options: Options) -> str:
    """Name the repository and revision (pin it to be sure), or hash the contents of a local folder."""
    named = (options["repository"], options.get("config_name"), options["split"], options.get("revision"))
    name, place = "@".join(map(str, named)), Path(options["repository"])
    if not place.is_dir():
        if not HUB_NAME.fullmatch(options["repository"]):
            raise UserError(
                "repository", f"{options['repository']!r} is no folder", "one that is there, or owner/name on the hub"
            )
        return name
    digest = hashlib.sha256(name.encode())
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(place)} {content}\n".encode())
    return digest.hexdigest()[:16]


def hub(options: Options) -> str | None:
    """Name the repository, unless it is a local folder."""
    return None if Path(options["repository"]).is_dir() else options["repository"]


def resolved(options: Options) -> str:
    """Name the commit that the rows are of, or the fingerprint of a local folder."""
    if hub(options) is None:
        return fingerprint(options)
    return f"{options['repository']}@{_builder(*_named(options)).hash}"


def read(options: Options) -> Iterator[Row]:
    """Read the rows in the split's order. UserError where they are of another commit than `revision` pins, or cannot
    be read: it names the file and line of a local folder's JSON Lines, else the file that the library could not read.
    """
    with _explained(options):
        rows = _rows(options)
        id_field, id_range = options.get("id_field"), options.get("id_range")
        for number, fields in enumerate(rows):
            where = f"data set {options['repository']}, row {number}"
            name = named_by(where, fields, id_field) if id_field is not None else f"row-{number}"
            if id_range is None or id_range[0] <= _number(where, name if id_field else str(number)) <= id_range[1]:
                yield Row(name, dict(fields))


def _named(options: Options) -> tuple[str, str | None, str | None]:
    return options["repository"], options.get("config_name"), options.get("revision")


def _rows(options: Options) -> Any:
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


class _Said(logging.Handler):
    """The last error that the library logged: it names the file, which its exceptions do not."""

    message = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.message = " ".join(record.getMessage().split())


@contextlib.contextmanager
def _explained(options: Options) -> Iterator[None]:
    """Turn what the library raises, of many kinds, its own and others', into a UserError with the cause."""
    said = _Said(logging.ERROR)
    logger = logging.getLogger("datasets")
    logger.addHandler(said)
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        for file in sorted(Path(options["repository"]).rglob("*.jsonl")):
            for _ in read_rows(file):  # names the line that is no JSON
                pass
        raise UserError(
            f"data set {options['repository']}",
            f"split {options['split']!r} cannot be loaded ({said.message or one_line(error.__cause__ or error)})",
            "one that it has, on the hub, in the hub's cache or in a local folder",
        ) from None
    finally:
        logger.removeHandler(said)


@functools.cache  # asked for twice, answered once: `main` may move in between
def _builder(repository: str, config_name: str | None, revision: str | None) -> Any:
    """Have the library look a data set up; the builder's `hash` is the commit of a hub's repository."""
    import datasets

    return datasets.load_dataset_builder(repository, config_name, revision=revision)


def _number(where: str, name: str) -> int:
    try:
        return int(name)
    except ValueError:
        raise UserError(where, f"id {name!r}", "a whole number, for id_range") from None
