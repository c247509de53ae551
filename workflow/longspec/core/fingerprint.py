"""Fingerprints of code: a hash over the first-party modules that a command imports, directly or not.

The hash goes into a job's parameters, so that a change of code reruns the jobs whose output it can change and no
others. Comments, docstrings and layout do not count, nor do modification times, nor the version of Python that reads
the file. Imports are read, not executed. Third-party packages are not hashed: their versions are recorded with each
run.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
COMPILED = "sources"
"""Name of the folder beside a module with code of another language that it compiles; all of its bytes are hashed."""


def digest(*modules: str, files: tuple[Path, ...] = ()) -> str:
    """Hash the code of the closure of `modules` (dotted, below longspec) and the bytes of further files."""
    found = hashlib.sha256()
    code = closure(modules)
    for path in sorted(code):
        found.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + _code(path).encode() + b"\0")
    for folder in sorted({path.parent / COMPILED for path in code}):
        if not (folder / "__init__.py").is_file():  # else it is a package, which imports tell
            files = (*files, *(file for file in folder.glob("*") if file.is_file()))
    for path in sorted(files):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def closure(modules: tuple[str, ...]) -> set[Path]:
    """Find the files of the modules and of all first-party modules that they import, inside functions too."""
    found: set[Path] = set()
    waiting = [file for module in modules for file in _files(module.split("."))]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imports(path)
    return found


@functools.cache
def _imports(path: Path) -> tuple[Path, ...]:
    files: list[Path] = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            files += [file for alias in node.names if _ours(alias.name) for file in _files(alias.name.split(".")[1:])]
        elif isinstance(node, ast.ImportFrom) and (node.level or _ours(node.module or "")):
            parts = _named(path, node)
            files += [file for alias in node.names for file in _files([*parts, alias.name]) or _files(parts)]
    return tuple(files)


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def _code(path: Path) -> str:
    return repr(_plain(_tree(path)))


def _plain(value: Any) -> Any:
    """Turn a syntax tree into tuples without positions, empty fields, or statements that are constants (docstrings).

    `ast.dump` would not do: its form, and which fields are empty, change from one version of Python to the next.
    """
    if isinstance(value, ast.AST):
        fields = ((name, _plain(inner)) for name, inner in ast.iter_fields(value))
        return type(value).__name__, *((name, inner) for name, inner in fields if inner not in (None, []))
    if isinstance(value, list):
        return [_plain(inner) for inner in value if not (isinstance(inner, ast.Expr) and _constant(inner))]
    return value


def _constant(statement: ast.Expr) -> bool:
    return isinstance(statement.value, ast.Constant)


def _named(path: Path, node: ast.ImportFrom) -> list[str]:
    """Resolve the module that a `from` statement names to its parts below this package, for relative imports too."""
    parts = (node.module or "").split(".") if node.module else []
    if not node.level:
        return parts[1:]
    folder = path.parent.relative_to(PACKAGE).parts
    return [*folder[: len(folder) - node.level + 1], *parts]


def _ours(module: str) -> bool:
    return module.split(".")[0] == PACKAGE.name


def _files(parts: list[str]) -> list[Path]:
    """List a module's file after the `__init__.py` of each folder above it; empty where there is no such module."""
    path = PACKAGE.joinpath(*parts)
    candidates = (path.with_suffix(".py"), path / "__init__.py") if parts else ()
    own = next((file for file in candidates if file.is_file()), None)
    above = [PACKAGE.joinpath(*parts[:depth], "__init__.py") for depth in range(len(parts))]
    return [] if own is None else [*(file for file in above if file.is_file()), own]
