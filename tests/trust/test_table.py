"""docs/trust.md: every fault has a guard and a test that is there, and every test of a planted fault has its row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "trust.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and "::" in line
]
CONTROLS = re.compile(r"test_without_a_fault_")


def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def names(file: str) -> set[str]:
    """Its functions and those that it imports, and the texts that a parameter may be."""
    nodes = list(ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))))
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return functions(file) | imported | {node.value for node in nodes if isinstance(node, ast.Constant)}


def test_every_row_has_a_guard_and_a_test_that_exists():
    assert len(ROWS) > 30
    for _, _, guard, test in ROWS:
        file, name, parameter = re.fullmatch(r"`(tests/\S+\.py)::(test_\w+)(?:\[(\w+)\])?`", test).groups()
        assert guard
        assert name in functions(file), test
        assert parameter is None or parameter in names(file), test


def test_every_fault_says_where_it_was_seen():
    faults = [row for row in ROWS if row[0]]
    assert len(faults) > 18
    assert all(row[1] for row in faults)


def test_every_test_of_a_planted_fault_has_its_row():
    named = {row[3].strip("`").split("[")[0] for row in ROWS}
    of_others = ("faults_of_peers", "faults_of_engines")
    for kind in ("planted_faults", "planted_in_the_code", "planted_engines", *of_others, "code_of_models"):
        file = f"tests/trust/test_{kind}.py"
        tests = {name for name in functions(file) if name.startswith("test_") and not CONTROLS.match(name)}
        assert {f"{file}::{name}" for name in tests} <= named
