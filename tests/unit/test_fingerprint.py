"""A command's fingerprint changes with the code that it can run, and with nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from longspec.core import fingerprint, registry, steps

STEPS = {step: ("cli.analyse", *modules) for step, modules in steps.STEPS.items()}
COMMANDS = {**{name: (f"cli.{name}",) for name in ("prepare", "generate", "report")}, **STEPS}
"""Command, or step of the analysis, to the modules that its version is a hash of."""


def forget() -> None:
    for cached in (fingerprint._imports, fingerprint._tree, fingerprint._code):
        cached.cache_clear()


def files(*modules: str) -> set[str]:
    return {path.relative_to(fingerprint.PACKAGE).as_posix() for path in fingerprint.closure(modules)}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of our own, in the place of longspec."""
    place = tmp_path / "longspec"
    place.mkdir()
    monkeypatch.setattr(fingerprint, "PACKAGE", place)
    forget()

    def write(**sources: str) -> None:
        for name, source in sources.items():
            path = place / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        forget()

    yield write
    forget()


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


def test_code_counts_and_times_do_not(package):
    package(a="x = 1")
    before = fingerprint.digest("a")
    path = fingerprint.PACKAGE / "a.py"
    path.touch()
    assert fingerprint.digest("a") == before
    package(a="x = 2")
    assert fingerprint.digest("a") != before


PLAIN = '''
"""A module."""

LIMIT = 3
"""Why three."""


class Thing:
    """One."""

    size: int
    """Its size."""

    def grow(self, by=1):
        """Grow."""
        return f"{self.size + by:>{LIMIT}}"
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LIMIT = 3", "# a comment\nLIMIT = 3"),
        ("LIMIT = 3", "LIMIT = 3  # a comment"),
        ('"""A module."""', '"""Another text."""'),
        ('"""A module."""', ""),
        ('"""Why three."""', '"""Why not."""'),
        ('"""Its size."""', ""),
        ('"""Grow."""', '"""Grow, and tell."""'),
        ("by=1", "by = 1"),
        ("LIMIT = 3", "LIMIT = (\n    3\n)"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(package, before, after):
    assert before in PLAIN
    package(a=PLAIN)
    known = fingerprint.digest("a")
    package(a=PLAIN.replace(before, after))
    assert fingerprint.digest("a") == known


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LIMIT = 3", "LIMIT = 3.0"),
        ("LIMIT = 3", "LIMIT = None"),
        ("LIMIT = 3", "LIMIT = '3'"),
        ("by=1", "by=0"),
        ("by=1", "by"),
        ("+ by", "- by"),
        ("size: int", "size: str"),
        ("class Thing", "class Other"),
        (":>{LIMIT}", ":<{LIMIT}"),
    ],
)
def test_any_change_of_code_counts(package, before, after):
    assert before in PLAIN
    package(a=PLAIN)
    known = fingerprint.digest("a")
    package(a=PLAIN.replace(before, after))
    assert fingerprint.digest("a") != known


def test_every_python_gives_the_same_digest():
    """Results of a cluster stay valid on a laptop with another Python."""
    script = "from longspec.core import fingerprint; print(*map(fingerprint.digest, ('cli.generate', 'cli.report')))"
    environment = {**os.environ, "PYTHONPATH": str(fingerprint.PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    here = " ".join(map(fingerprint.digest, ("cli.generate", "cli.report")))
    asked = 0
    for python in filter(None, map(shutil.which, ("python3.12", "python3.13", "python3.14"))):
        if subprocess.run([python, "-c", ""], env=environment, capture_output=True).returncode:
            continue  # a version manager's stand-in for one that is not there
        done = subprocess.run([python, "-c", script], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == here, python
        asked += 1
    if not asked:
        pytest.skip("no other Python here")


def test_the_digest_of_a_copy_elsewhere_is_the_same(tmp_path, monkeypatch):
    before = fingerprint.digest("cli.report")
    shutil.copytree(fingerprint.PACKAGE, tmp_path / "longspec")
    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path / "longspec")
    forget()
    assert fingerprint.digest("cli.report") == before
    forget()


def test_further_files_count(tmp_path):
    style = tmp_path / "style.css"
    style.write_text("p {}")
    before = fingerprint.digest("core.errors", files=(style,))
    assert before != fingerprint.digest("core.errors")
    style.write_text("p { margin: 0 }")
    assert fingerprint.digest("core.errors", files=(style,)) != before


def test_a_folder_s_own_code_counts_for_what_lies_in_it(package):
    package(
        **{"a": "from longspec.inner.b import thing", "inner/__init__": "import longspec.c", "inner/b": "", "c": ""}
    )
    assert files("a") == {"a.py", "inner/__init__.py", "inner/b.py", "c.py"}


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("inner/a", "from .b import thing"),
        ("inner/a", "from . import b"),
        ("inner/__init__", "from .b import thing"),
        ("inner/deep/a", "from ..b import thing"),
        ("inner/deep/a", "from ...inner import b"),
        ("inner/deep/a", "def f():\n    from .. import b as c"),
    ],
)
def test_relative_imports_are_followed(package, file, statement):
    package(**{file: statement, "inner/b": "thing = 1"})
    module = file.removesuffix("/__init__").replace("/", ".")
    before = fingerprint.digest(module)
    assert "inner/b.py" in files(module)
    package(**{"inner/b": "thing = 2"})
    assert fingerprint.digest(module) != before


def test_a_job_depends_on_its_own_method_and_drafter_only():
    found = files("cli.generate", "decoding.methods.sequential", "drafters.ngram")
    expected = {
        "decoding/methods/sequential.py",
        "drafters/ngram.py",
        "decoding/loop.py",
        "decoding/verifiers/keyed.py",
    }
    assert expected <= found
    plugged = [(kind, name) for kind in ("methods", "drafters") for name in registry.names(kind)]
    others = {registry.file(*one).relative_to(fingerprint.PACKAGE).as_posix() for one in plugged}
    assert found & others == {"decoding/methods/sequential.py", "drafters/ngram.py"}
    assert not any(name.startswith(("data/sources/", "analysis/", "report/")) for name in found)
    verifying = {name for name in found if name.startswith("verify/")} - {"verify/__init__.py"}
    assert {name.rpartition("/")[0] for name in verifying} == {"verify/engine"}  # its engine, and no result


def test_a_generation_does_not_depend_on_analysis_nor_the_other_way_round():
    for command in {*COMMANDS} - {"prepare", "generate"}:
        assert not {
            name for name in files(*COMMANDS[command]) if name.split("/")[0] in ("decoding", "models", "measure")
        }
    assert "cli/report.py" not in files("cli.generate")


def test_a_step_of_the_analysis_does_not_depend_on_the_next():
    tables = [f"{name.replace('.', '/')}.py" for step in ("metrics", "lossless", "speedup") for name in STEPS[step][1:]]
    assert len(tables) > 3
    own = {step: [name for name in tables if name in files(*STEPS[step])] for step in STEPS}
    assert [own[step] for step in ("metrics", "lossless", "speedup")] == [tables[:1], tables[1:2], tables[2:]]
    assert "report/page.py" not in files(*STEPS["summary"])


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_really_imports_is_in_its_closure(command):
    """The closure is read from text; a child process says what Python makes of it."""
    script = (
        f"import sys, {', '.join(f'longspec.{module}' for module in COMMANDS[command])}\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'longspec' and m.__file__))"
    )
    workflow = str(fingerprint.PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": workflow}, capture_output=True, text=True, check=True
    )
    loaded = {Path(path) for path in done.stdout.split() if Path(path).read_text(encoding="utf-8").strip()}
    assert loaded <= fingerprint.closure(COMMANDS[command])
    assert len(loaded) >= 4


def test_of_code_in_another_language_its_files_count_and_of_a_package_of_that_name_what_is_imported(package):
    """With the folders that Python makes beside both: nobody's code, and no file."""
    package(**{"a/one": "X = 1\n", "b/two": "Y = 1\n", "b/sources/__init__": "", "b/sources/three": "Z = 1\n"})
    (fingerprint.PACKAGE / "a" / "sources").mkdir()
    (fingerprint.PACKAGE / "a" / "sources" / "step.cpp").write_text("int x;")
    for folder in ("a", "b"):
        (fingerprint.PACKAGE / folder / "sources" / "__pycache__").mkdir()
    before = [fingerprint.digest("a.one"), fingerprint.digest("b.two")]
    package(**{"b/sources/three": "Z = 2\n"})
    assert [fingerprint.digest("a.one"), fingerprint.digest("b.two")] == before
    (fingerprint.PACKAGE / "a" / "sources" / "step.cpp").write_text("int y;")
    assert fingerprint.digest("a.one") != before[0]
