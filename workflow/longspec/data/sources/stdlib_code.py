"""The beginnings of standard-library modules, read from the running Python, for a model to continue."""

from __future__ import annotations

import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from longspec.data.sources._interface import Row

OPTIONS = {
    "max_characters": {
        "type": "integer",
        "minimum": 1,
        "default": 3000,
        "description": "How much of each module is given, cut at the end of a line.",
    },
}


class Options(TypedDict):
    """The options of this source, among the keys of a data set."""

    max_characters: int


def fingerprint(options: Options) -> str:
    """Name the interpreter's version: the modules come with it."""
    return f"python {platform.python_version()}"


def read(options: Options) -> Iterator[Row]:
    """Read the modules by name: rows of `module` and `code`. Those less than twice as long as what is given are left
    out."""
    limit = options["max_characters"]
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        source = path.read_text(encoding="utf-8", errors="replace")
        if len(source) > 2 * limit and not path.stem.startswith("_"):
            yield Row(f"module-{path.stem}", {"module": path.stem, "code": source[: source.rfind("\n", 0, limit) + 1]})
