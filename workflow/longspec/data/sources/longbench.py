"""Rows of a LongBench task (arXiv 2308.14508): the JSONL members of its data.zip.

LongBench is a script data set, which `datasets` >= 4 refuses, so its archive is read directly.
"""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Required, TypedDict

from longspec.core.errors import UserError, first_line
from longspec.core.records import parse_row
from longspec.data.sources import jsonl
from longspec.data.sources._interface import Row

OPTIONS = {
    "task": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "description": "The task, such as gov_report."},
    "path": {
        "type": ["string", "null"],
        "default": None,
        "description": "A local data.zip, folder of TASK.jsonl files or one such file; null fetches from the hub.",
    },
    "revision": {"type": ["string", "null"], "default": None, "description": "A commit of the hub repository."},
}
REPOSITORY = "THUDM/LongBench"


class Options(TypedDict, total=False):
    """The options of this source, among the keys of a data set."""

    task: Required[str]
    path: str | None
    revision: str | None


def fingerprint(options: Options) -> str:
    """Hash the local file, or name the hub's revision."""
    if options.get("path"):
        return jsonl.fingerprint({"path": str(_local(options))})
    return f"{REPOSITORY}@{options.get('revision')}"


def hub(options: Options) -> str | None:
    """Name LongBench's own repository, unless a local path is given."""
    return None if options.get("path") else REPOSITORY


def resolved(options: Options) -> str:
    """Name the commit of the archive that was read, or the fingerprint of a local file."""
    if options.get("path"):
        return fingerprint(options)
    snapshot = _fetch(options.get("revision")).parent
    return f"{REPOSITORY}@{snapshot.name}"  # the hub's cache names a snapshot by its commit


def read(options: Options) -> Iterator[Row]:
    """Read the task's rows in their order, named by their line; `_id` stays a field of the row."""
    path = _local(options) if options.get("path") else _fetch(options.get("revision"))
    if not zipfile.is_zipfile(path):
        yield from jsonl.read({"path": str(path)})
        return
    try:
        with zipfile.ZipFile(path) as archive:
            yield from _member(path, archive, f"{options['task']}.jsonl")
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise UserError(str(path), f"damaged ({error})", "LongBench's data.zip") from None


def _local(options: Options) -> Path:
    path = Path(options["path"] or "")
    return path / f"{options['task']}.jsonl" if path.is_dir() else path


def _member(path: Path, archive: zipfile.ZipFile, wanted: str) -> Iterator[Row]:
    members = [name for name in archive.namelist() if Path(name).name == wanted]
    if not members:
        raise UserError(str(path), f"has no member {wanted}", "LongBench's data.zip")
    with archive.open(members[0]) as member:
        for number, line in enumerate(io.TextIOWrapper(member, "utf-8-sig"), start=1):
            if line.strip():
                yield Row(f"line-{number}", parse_row(f"{path}, {members[0]}, line {number}", line))


@functools.cache  # asked for twice, answered once: `main` may move in between
def _fetch(revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(REPOSITORY, "data.zip", repo_type="dataset", revision=revision))
    except OSError as error:
        raise UserError(
            REPOSITORY,
            f"data.zip cannot be fetched ({first_line(error)})",
            "it on the hub or in its cache, or `path:` to a local copy",
        ) from None
