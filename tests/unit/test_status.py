"""The overview while a job runs or after: done, running, stopped with its last word, and plain in a pipe."""

from __future__ import annotations

import io
import os
import time

import pytest
import results_folder
from refusals import figures
from rich.console import Console

from longspec.cli import status
from longspec.measure import progress


@pytest.fixture
def results(tmp_path):
    return results_folder.write_all(tmp_path)


def half(results):
    """Chain, with its first sample on the disk and the second one being written."""
    folder = results / "m/d/chain"
    journal = results_folder.unfinished(folder)
    begun, first, second = journal.read_text().splitlines(keepends=True)
    journal.write_text(begun + first + second[:20])
    return folder


def chain(results):
    return progress.progress(results, ("m", "d", "chain"), 1)


def test_a_finished_job(results):
    row = chain(results)
    assert (row.state, row.done, row.total, row.lost, row.seconds_left) == ("done", 2, 2, 0, 0.0)
    assert row.tokens_per_second == pytest.approx(8 / 1.6)


def test_a_running_job_tells_what_is_left(results):
    folder = half(results)
    (folder / "generate.lock").touch()
    row = chain(results)
    assert (row.state, row.done, row.total) == ("running", 1, 2)
    assert row.seconds_left == pytest.approx(1.0 + 0.1 + 1.0)


def test_a_job_without_a_sign_of_life_is_stopped_with_its_last_word(results):
    folder = half(results)
    (folder / "generate.lock").touch()
    os.utime(folder / "generate.lock", (time.time() - 1000,) * 2)
    (folder / "generate.log").write_text("one\nerror: sample 'b': out_of_memory\n")
    row = chain(results)
    assert (row.state, row.note) == ("stopped", "error: sample 'b': out_of_memory")


def test_nothing_begun(results):
    row = progress.progress(results, ("m", "other", "chain"), 1)
    assert (row.state, row.done, row.total, row.seconds_left) == ("waiting", 0, None, None)


def test_plain_in_a_pipe_and_a_table_on_a_terminal(results, capsys):
    half(results)
    rows = [chain(results), progress.progress(results, ("m", "d", "vanilla"), 1)]
    status.show(rows, Console(file=io.StringIO()))
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [len(line) for line in lines] == [9, 9, 9]
    assert lines[1][:5] == ["m", "d", "chain", "waiting", "1/2"]
    screen = io.StringIO()
    status.show(rows, Console(file=screen, force_terminal=True, width=120))
    assert "\x1b[" in screen.getvalue()
    assert figures(screen.getvalue().splitlines()[-1])[:2] == [1, 2], "jobs done, of all"
