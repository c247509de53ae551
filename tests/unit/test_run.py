"""How a command ends: one line and exit code 2 for an error of the user, a traceback for a bug."""

from __future__ import annotations

import gc
import importlib
from pathlib import Path

import pytest
from refusals import says

from longspec.core.errors import UserError
from longspec.core.program import run, uncollected


@pytest.mark.parametrize(("found", "printed"), [("0", "0"), ("a\nb\x85c", "a b c")])
def test_bad_input_is_one_line(capsys, found, printed):
    def main():
        raise UserError("gamma", found, "at least 1")

    with pytest.raises(SystemExit) as stopped:
        run(main)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"error: gamma: {printed}; expected at least 1\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        run(lambda: Path("/dev/full").write_text("x" * 100_000))
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says(line, "error", "full")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)


def test_garbage_is_searched_for_again_after_an_import_and_after_one_that_failed():
    with pytest.raises(ImportError), uncollected():
        importlib.import_module("no_such_module")
    assert gc.isenabled()
    with uncollected():
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
