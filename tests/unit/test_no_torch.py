"""What plans, prepares and analyses starts in a moment and runs on a laptop: it loads none of the heavy packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from longspec.core import fingerprint

HEAVY = ("torch", "transformers", "datasets", "accelerate", "gguf", "safetensors", "huggingface_hub")
FREE = ("core", "config", "data", "analysis", "report")
"""Folders of which every module must be free of them; their folders too, whenever one is added."""
OTHERS = ("backends", "cli", "decoding", "drafters", "measure", "models", "training", "verify")
"""The folders in which a module may load them. A new folder must be put here or there."""
ALSO = {
    "measure": ("lock", "journal", "entries", "order", "job", "messages", "progress", "supervisor"),
    "verify": ("gate", "audit", "audit_rules", "audit_published", "differences"),
    "models": ("model_files", "trust"),
    "cli": ("prepare", "vocabulary", "analyse", "gate", "report", "status", "generate"),
}
"""Modules of other folders; a generate job's supervisor waits for the worker that loads them."""
IMPORT = """
import importlib, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
    found = sorted(set(sys.argv[1].split(",")) & set(sys.modules))
    if found:
        sys.exit(f"{name} loads {', '.join(found)}")
"""


def modules(package: Path, folders: tuple[str, ...]) -> list[str]:
    """Every module of these folders of a package, and of the folders in them."""
    files = sorted(file.relative_to(package.parent) for folder in folders for file in (package / folder).rglob("*.py"))
    dotted = [".".join(file.with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in dotted]


def loaded(names: list[str], *places: Path) -> str:
    """Import the modules one after another in a fresh Python; the first that loads a heavy package, and which."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    command = [sys.executable, "-c", IMPORT, ",".join(HEAVY), *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip()


def test_every_folder_is_one_that_may_load_them_or_one_that_may_not():
    folders = {file.parent.name for file in fingerprint.PACKAGE.glob("*/*.py")}
    assert folders == {*FREE, *OTHERS}


def test_planning_preparing_and_analysis_load_nothing_heavy():
    names = modules(fingerprint.PACKAGE, FREE)
    assert len(names) > 40
    assert {name.split(".")[1] for name in names} == set(FREE)
    names += [f"longspec.{folder}.{name}" for folder, listed in ALSO.items() for name in listed]
    names += modules(fingerprint.PACKAGE, ("backends/served",))  # planning asks an engine's file for its program
    assert loaded(names, fingerprint.PACKAGE.parent) == ""


@pytest.mark.parametrize("heavy", HEAVY)
def test_a_planted_import_is_seen_also_in_a_new_folder(heavy, tmp_path):
    """Of an empty package that stands in for the heavy one."""
    (tmp_path / f"{heavy}.py").touch()
    package = tmp_path / "longspec"
    for folder in (".", "core", "report", "report/new"):
        (package / folder).mkdir(exist_ok=True)
        (package / folder / "__init__.py").touch()
    (package / "core" / "light.py").write_text("import json\n")
    names = modules(package, FREE)
    assert names == ["longspec.core", "longspec.core.light", "longspec.report", "longspec.report.new"]
    assert loaded(names, tmp_path) == ""
    (package / "report" / "new" / "page.py").write_text(f"def f():\n    pass\nimport {heavy}\n")
    assert loaded(modules(package, FREE), tmp_path) == f"longspec.report.new.page loads {heavy}"
