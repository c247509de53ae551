"""Sizes that keep every file readable in one sitting, and what ruff does not check of docstrings and rules."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE, MAX_FUNCTION, MAX_COMMON = 300, 50, 100


def python_files() -> list[Path]:
    folders = ("workflow", "tests", "benchmarks")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def rule_files() -> list[Path]:
    return [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]


def scripts(source: str) -> list[str]:
    """Lines of a rule that hand its work to Python of Snakemake's own."""
    lines = [line.strip() for line in source.splitlines()]
    return [line for line in lines if line.startswith(("script:", "run:", "notebook:"))]


def long_file(source: str) -> list[str]:
    lines = len(source.splitlines())
    return [f"{lines} lines"] if lines >= MAX_FILE else []


def unsaid(source: str) -> list[str]:
    """That a module that is not empty has no docstring."""
    return ["no docstring"] if source.strip() and not ast.get_docstring(ast.parse(source)) else []


def long_functions(source: str) -> list[str]:
    functions = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [f.name for f in functions if f.end_lineno is None or f.end_lineno - f.lineno + 1 >= MAX_FUNCTION]


def findings(files: list[Path], find: Callable[[str], list[str]]) -> list[str]:
    """`file: name` of all that `find` finds in the files' sources."""
    assert len(files) > 50
    return [f"{path.relative_to(ROOT)}: {one}" for path in files for one in find(path.read_text(encoding="utf-8"))]


def test_files_are_short() -> None:
    assert findings(python_files(), long_file) == []


def test_functions_are_short() -> None:
    assert findings(python_files(), long_functions) == []


def test_modules_say_what_they_are() -> None:
    assert findings(python_files(), unsaid) == []


def test_python_that_pytest_cannot_reach_stays_small() -> None:
    common = ROOT / "workflow" / "rules" / "common.smk"
    assert len(common.read_text(encoding="utf-8").splitlines()) < MAX_COMMON
    for path in rule_files():
        assert not long_file(path.read_text(encoding="utf-8")), path


def test_rules_use_neither_script_nor_run() -> None:
    """`script:` follows modification times, `run:` costs seconds a job (docs/decisions/0002)."""
    for path in rule_files():
        assert scripts(path.read_text(encoding="utf-8")) == [], path


def test_a_stage_that_fails_before_a_pipe_has_failed() -> None:
    """Snakemake sets pipefail only where no prefix is set, and every rule's output goes through tee."""
    common = (ROOT / "workflow" / "rules" / "common.smk").read_text(encoding="utf-8")
    assert re.search(r'shell\.prefix\(\s*f"set -euo pipefail; ', common)


def test_the_measures_see_what_they_measure() -> None:
    assert long_functions("def f():\n" + "    x = 1\n" * MAX_FUNCTION) == ["f"]
    assert long_functions("def f():\n    x = 1\n") == []
    assert long_file("x = 1\n" * MAX_FILE) == [f"{MAX_FILE} lines"]
    assert long_file("x = 1\n" * (MAX_FILE - 1)) == []
    assert unsaid("x = 1\n") == ["no docstring"]
    assert unsaid('"""Said."""\n') == unsaid("\n") == []
    assert scripts("rule a:\n    run:\n        pass\n") == ["run:"]
