"""Arguments that are JSON: their text, or the name of a file that holds it.

The rules give long ones as files, `<(printf ... )` of the shell: a template or seven methods may be more than what one
argument of a program can hold, 128 KB on Linux.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def of_json(text: str) -> Any:
    """Read the value of an argument that is JSON or names a file of it."""
    return json.loads(text if text.lstrip().startswith(("{", "[")) else Path(text).read_text(encoding="utf-8"))


def of_json_lines(text: str) -> list[Any]:
    """Read the values of an argument that is JSON or names a file with one value a line."""
    if text.lstrip().startswith("{"):
        return [json.loads(text)]
    return [json.loads(line) for line in Path(text).read_text(encoding="utf-8").split("\n") if line]
