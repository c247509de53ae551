"""A stage's digest follows the code that it can run, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from longspec.core import fingerprint, registry

STAGES = ("prepare", "generate", "metrics", "speedup", "report")


def files(*modules: str) -> set[str]:
    return {path.relative_to(fingerprint.PACKAGE).as_posix() for path in fingerprint.closure(modules)}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of our own, in the place of longspec."""
    place = tmp_path / "longspec"
    place.mkdir()
    monkeypatch.setattr(fingerprint, "PACKAGE", place)
    fingerprint._imports.cache_clear()

    def write(**sources: str) -> None:
        for name, source in sources.items():
            path = place / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        fingerprint._imports.cache_clear()

    yield write
    fingerprint._imports.cache_clear()


@pytest.mark.parametrize(
    "statement",
    [
        "import longspec.b",
        "import os, longspec.b as other",
        "from longspec import b",
        "from longspec.b import thing",
        "def f():\n    from longspec.b import thing",
        "def f():\n    import longspec.b",
        "if True:\n    from longspec import b as c",
    ],
)
def test_every_form_of_import_is_followed(package, statement):
    package(a=statement, b="from longspec import c", c="", d="")
    assert files("a") == {"a.py", "b.py", "c.py"}
    before = fingerprint.digest("a")
    package(c="x = 1")
    assert fingerprint.digest("a") != before


def test_what_is_not_imported_does_not_count(package):
    package(a="import os, numpy\nfrom torch import nn", b="")
    before = fingerprint.digest("a")
    package(b="x = 1")
    assert fingerprint.digest("a") == before


def test_modules_that_import_each_other_end(package):
    package(a="import longspec.b", b="import longspec.a")
    assert files("a") == files("b") == {"a.py", "b.py"}


def test_the_code_itself_is_not_executed(package):
    package(a="raise SystemExit('imported')")
    assert fingerprint.digest("a")


def test_bytes_count_and_times_do_not(package):
    package(a="x = 1")
    before = fingerprint.digest("a")
    path = fingerprint.PACKAGE / "a.py"
    path.touch()
    assert fingerprint.digest("a") == before
    package(a="x = 2")
    assert fingerprint.digest("a") != before


def test_the_digest_of_a_copy_elsewhere_is_the_same(tmp_path, monkeypatch):
    before = fingerprint.digest("stages.report")
    shutil.copytree(fingerprint.PACKAGE, tmp_path / "longspec")
    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path / "longspec")
    fingerprint._imports.cache_clear()
    assert fingerprint.digest("stages.report") == before
    fingerprint._imports.cache_clear()


def test_further_files_count(tmp_path):
    style = tmp_path / "style.css"
    style.write_text("p {}")
    before = fingerprint.digest("errors", files=(style,))
    assert before != fingerprint.digest("errors")
    style.write_text("p { margin: 0 }")
    assert fingerprint.digest("errors", files=(style,)) != before


def test_a_job_depends_on_its_own_method_and_drafter_only():
    found = files("stages.generate", "methods.sequential", "drafters.ngram")
    expected = {"methods/sequential.py", "drafters/ngram.py", "decoding.py", "attention.py", "verification/keyed.py"}
    assert expected <= found
    others = {f"{kind}/{name}.py" for kind in ("methods", "drafters") for name in registry.names(kind)}
    assert found & others == {"methods/sequential.py", "drafters/ngram.py"}
    assert not any(name.startswith(("sources/", "analysis/")) for name in found)


def test_a_generation_does_not_depend_on_analysis_nor_the_other_way_round():
    for stage in ("metrics", "speedup", "report"):
        assert not files(f"stages.{stage}") & {"decoding.py", "target.py", "stages/generate.py", "stages/prepare.py"}
    assert "stages/report.py" not in files("stages.generate")
    assert "analysis/charts.py" not in files("stages.metrics")


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_really_imports_is_in_its_closure(stage):
    """The closure is read from text; a child process says what Python makes of it."""
    script = (
        f"import sys, longspec.stages.{stage}\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'longspec' and m.__file__))"
    )
    workflow = str(fingerprint.PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": workflow}, capture_output=True, text=True, check=True
    )
    loaded = {Path(path) for path in done.stdout.split() if Path(path).read_text(encoding="utf-8").strip()}
    assert loaded <= fingerprint.closure((f"stages.{stage}",))
    assert len(loaded) >= 4
