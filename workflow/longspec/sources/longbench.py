"""Rows of a LongBench task (arXiv 2308.14508): the JSONL members of its data.zip.

LongBench is a script data set, which `datasets` >= 4 refuses, so its archive is read directly.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longspec.errors import UserError
from longspec.sources import jsonl

OPTIONS = {
    "task": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "description": "The task, such as gov_report."},
    "path": {
        "type": ["string", "null"],
        "default": None,
        "description": "A local data.zip, or the task's own JSONL file; null fetches the archive from the hub.",
    },
    "revision": {"type": ["string", "null"], "default": None, "description": "A commit of the hub repository."},
}
REPOSITORY = "THUDM/LongBench"


def fingerprint(options: dict[str, Any]) -> str:
    """Hash of the local file, or the hub revision."""
    if options.get("path"):
        return jsonl.fingerprint(options)
    return f"{REPOSITORY}@{options.get('revision')}"


def read(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows in the task's order, named by their line; `_id` stays a field of the row."""
    path = Path(options["path"]) if options.get("path") else _fetch(options.get("revision"))
    if not zipfile.is_zipfile(path):
        yield from jsonl.read({"path": str(path)})
        return
    with zipfile.ZipFile(path) as archive:
        wanted = f"{options['task']}.jsonl"
        members = [name for name in archive.namelist() if Path(name).name == wanted]
        if not members:
            raise UserError(f"{path}: has no member {wanted}; expected LongBench's data.zip")
        with archive.open(members[0]) as member:
            for number, line in enumerate(io.TextIOWrapper(member, "utf-8"), start=1):
                try:
                    yield f"line-{number}", json.loads(line)
                except json.JSONDecodeError as error:
                    raise UserError(f"{path}, {members[0]}, line {number}: not JSON ({error.msg})") from None


def _fetch(revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(REPOSITORY, "data.zip", repo_type="dataset", revision=revision))
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{REPOSITORY}: data.zip cannot be fetched ({reason}); `path:` reads a local copy") from None
