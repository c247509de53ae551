"""Imports go down the floors only, and what must run without torch does not import it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "workflow" / "longspec"

FLOORS = {
    "errors": 0, "files": 0, "locations": 0, "records": 0, "plugins": 0, "code_version": 0, "model_files": 0,
    "journal": 0, "ledger": 0, "lifeline": 0, "scheduling": 0, "untrusted": 0, "pins": 0,
    "prompting": 0, "templates": 0, "plain_yaml": 0, "config": 0, "planning": 0, "sources": 0, "analysis": 0,
    "token_tree": 1, "sampling": 1, "noise": 1, "kv_cache": 1, "attention": 1, "machine": 1, "engine": 1,
    "memory": 1, "surroundings": 1, "topology": 1, "prediction": 1, "glide_model": 1, "ring": 1, "shared_weights": 1,
    "tree_attention": 1, "tree_kernel": 1, "static_cache": 1, "cuda_graphs": 1,
    "target": 2, "verification": 2, "glide_files": 2, "lending": 2,
    "drafters": 3, "methods": 3,
    "decoding": 4, "tuning": 4, "training": 4, "profiling": 4, "peers": 4,
    "stages": 5,
}  # fmt: skip
"""Module or subpackage to floor. A new module needs a line here: choose it knowingly."""

WITHOUT_TORCH = {name for name, floor in FLOORS.items() if floor == 0}
HEAVY = {"torch", "transformers", "datasets", "accelerate", "gguf", "safetensors", "huggingface_hub"}


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.name != "__init__.py")


def unit(path: Path) -> str:
    """The module or subpackage of the package that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(source: str, *, at_import: bool) -> Iterator[str]:
    """Dotted names that a file imports; with `at_import`, only those that importing the file loads."""
    yield from _imports(ast.parse(source), at_import)


def _imports(node: ast.AST, at_import: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if at_import and (isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or _type_checking(child)):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative import: write longspec.x"
            assert child.module is not None
            # `from longspec import x` names a module; elsewhere only the parent surely is one.
            below = [f".{alias.name}" for alias in child.names] if child.module == "longspec" else [""]
            yield from (child.module + name for name in below)
        yield from _imports(child, at_import)


def _type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def upward(path: Path, source: str) -> list[str]:
    """First-party imports of a file that lead to a higher floor, or sideways out of analysis' reach."""
    here = unit(path)
    names = [name.split(".")[1] for name in imported(source, at_import=False) if name.startswith("longspec.")]
    return [name for name in names if FLOORS[name] > FLOORS[here] or (here in CLOSED and name in CLOSED[here])]


CLOSED = {
    "records": set(FLOORS) - {"errors"},
    "errors": set(FLOORS),
    "analysis": {"sources", "model_files", "prompting"},
    "sources": {"analysis", "config"},
    "config": {"analysis", "sources"},
}
"""On one floor there is an order too: what each of these may not import although it stands no higher."""


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    assert unit(path) in FLOORS, "a new module: give it a floor"
    found = upward(path, path.read_text(encoding="utf-8"))
    assert [name for name in found if name != unit(path)] == []


@pytest.mark.parametrize(
    "path",
    [p for p in modules() if unit(p) in WITHOUT_TORCH],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_the_ground_floor_loads_nothing_heavy(path: Path) -> None:
    loaded = {name.split(".")[0] for name in imported(path.read_text(encoding="utf-8"), at_import=True)}
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("records.py", "from longspec.decoding import generate"),
        ("records.py", "def f():\n    import longspec.stages.generate"),
        ("target.py", "from longspec import methods"),
        ("analysis/metrics.py", "from longspec.target import CausalLM"),
        ("records.py", "from longspec import config"),
    ],
)
def test_an_upward_import_is_seen(path: str, source: str) -> None:
    assert upward(PACKAGE / path, source)


@pytest.mark.parametrize(
    ("source", "heavy"),
    [
        ("import torch.nn as nn", True),
        ("try:\n    from torch import nn\nexcept ImportError:\n    pass", True),
        ("class A:\n    import torch", True),
        ("def f():\n    import torch", False),
        ("if TYPE_CHECKING:\n    import torch", False),
    ],
)
def test_a_heavy_import_is_seen_where_importing_runs_it(source: str, heavy: bool) -> None:
    assert ("torch" in {name.split(".")[0] for name in imported(source, at_import=True)}) is heavy
