"""Which code a stage runs: a hash over the first-party modules that it imports, directly or not.

The hash goes into a job's parameters, so that a change reruns what it can change and nothing else, and a
fresh checkout (new modification times, same bytes) reruns nothing. Imports are read, not executed. It does
not see third-party packages: their versions are recorded with each run.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def digest(*modules: str, files: tuple[Path, ...] = ()) -> str:
    """Hash of the closure of `modules` (dotted, below longspec) and of further files."""
    place = hashlib.sha256()
    for path in sorted(closure(modules)) + sorted(files):
        place.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return place.hexdigest()[:16]


def closure(modules: tuple[str, ...]) -> set[Path]:
    """Files of the modules and of all first-party modules that they import, inside functions too."""
    found: set[Path] = set()
    waiting = [_file(module.split(".")) for module in modules]
    while waiting:
        path = waiting.pop()
        if path is not None and path not in found:
            found.add(path)
            waiting += _imports(path)
    return found


@functools.cache
def _imports(path: Path) -> tuple[Path, ...]:
    files: list[Path | None] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            files += [_file(alias.name.split(".")[1:]) for alias in node.names if _ours(alias.name)]
        elif isinstance(node, ast.ImportFrom) and _ours(node.module or ""):
            parts = (node.module or "").split(".")[1:]
            files += [_file([*parts, alias.name]) or _file(parts) for alias in node.names]
    return tuple(file for file in files if file is not None)


def _ours(module: str) -> bool:
    return module.split(".")[0] == PACKAGE.name


def _file(parts: list[str]) -> Path | None:
    path = PACKAGE.joinpath(*parts)
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if parts and candidate.is_file():
            return candidate
    return None
