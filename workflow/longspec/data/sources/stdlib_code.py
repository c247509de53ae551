"""The beginnings of standard-library modules, read from the running Python, for a model to continue."""

from __future__ import annotations

import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OPTIONS = {
    "max_characters": {
        "type": "integer",
        "minimum": 1,
        "default": 3000,
        "description": "How much of each module is given, cut at the end of a line.",
    },
}


def fingerprint(options: dict[str, Any]) -> str:
    """The sources come with the interpreter."""
    return f"python {platform.python_version()}"


def read(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of `module` and `code`, by name; modules shorter than what is given are left out."""
    limit = options["max_characters"]
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        source = path.read_text(encoding="utf-8", errors="replace")
        if len(source) > 2 * limit and not path.stem.startswith("_"):
            yield f"module-{path.stem}", {"module": path.stem, "code": source[: source.rfind("\n", 0, limit) + 1]}
