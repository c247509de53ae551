"""Sizes and docstrings that keep every file readable in one sitting."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE, MAX_FUNCTION, MAX_COMMON = 300, 50, 100


def python_files() -> list[Path]:
    folders = ("workflow", "tests", "benchmarks")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def package_files() -> list[Path]:
    return [path for path in python_files() if path.is_relative_to(ROOT / "workflow")]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def long_functions(source: str) -> list[str]:
    functions = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [f.name for f in functions if f.end_lineno is None or f.end_lineno - f.lineno + 1 >= MAX_FUNCTION]


def undocumented(source: str) -> list[str]:
    """Public functions and classes at module level without a docstring."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    public = (n for n in ast.parse(source).body if isinstance(n, kinds) and not n.name.startswith("_"))
    return [n.name for n in public if not ast.get_docstring(n)]


@pytest.mark.parametrize("path", python_files(), ids=name)
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_FILE


@pytest.mark.parametrize("path", python_files(), ids=name)
def test_a_function_is_short(path: Path) -> None:
    assert long_functions(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", python_files(), ids=name)
def test_a_module_says_what_it_is(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not source.strip() or ast.get_docstring(ast.parse(source))


@pytest.mark.parametrize("path", package_files(), ids=name)
def test_what_is_public_is_documented(path: Path) -> None:
    assert undocumented(path.read_text(encoding="utf-8")) == []


def test_python_that_pytest_cannot_reach_stays_small() -> None:
    common = ROOT / "workflow" / "rules" / "common.smk"
    assert len(common.read_text(encoding="utf-8").splitlines()) < MAX_COMMON
    for path in [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_FILE, path


def test_rules_use_neither_script_nor_run() -> None:
    """`script:` follows modification times, `run:` costs seconds a job (docs/decisions/0002)."""
    for path in [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        assert not [line for line in lines if line.startswith(("script:", "run:", "notebook:"))], path


def test_a_stage_that_fails_before_a_pipe_has_failed() -> None:
    """Snakemake sets pipefail only where no prefix is set, and every rule's output goes through tee."""
    common = (ROOT / "workflow" / "rules" / "common.smk").read_text(encoding="utf-8")
    assert re.search(r'shell\.prefix\(\s*f"set -euo pipefail; ', common)


def test_the_measures_see_what_they_measure() -> None:
    assert long_functions("def f():\n" + "    x = 1\n" * MAX_FUNCTION) == ["f"]
    assert long_functions("def f():\n    x = 1\n") == []
    assert undocumented("def f():\n    pass\ndef _g():\n    pass\n") == ["f"]
