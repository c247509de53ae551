"""Hostile input: whatever stands in a configuration, a row or a result file, it is a clear error or a right result.

`make test-slow` tries 10,000 of each, continuous integration 500 over all of them.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest
import results_folder
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from longspec.analysis import runs, sample_tables
from longspec.config import templates
from longspec.config.load import load
from longspec.config.plan.plan import Plan
from longspec.core import records
from longspec.core.errors import UserError
from longspec.data.sources import jsonl
from longspec.measure import progress

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["../x", "/etc", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
GOOD = {
    "models": {"m": {"path": "model", "resources": {"mem_mb": 1}}},
    "datasets": {"d": {"source": "jsonl", "path": "d.jsonl", "template": "{q}", "max_new_tokens": 4}},
    "methods": {"vanilla": {"method": "vanilla"}, "chain": {"method": "sequential", "drafter": "ngram", "gamma": 2}},
    "sampling": {"temperature": 0.5},
    "results": "results",
    "timeout": 5,
}


def places(value, path=()):
    """Every path into a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def replaced(value, path, new):
    """A copy with something else at one place."""
    if not path:
        return new
    value = copy.deepcopy(value)
    entry = value
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = new
    return value


def tried(examples):
    """How often: a hundred in CI for each of the five tests, all of them in the long version."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=QUIET, derandomize=True)


def sizes(test):
    """The short and the long version of a test."""
    return pytest.mark.parametrize(
        "examples", [100, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]
    )(test)


@sizes
def test_configurations(examples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.jsonl").write_text('{"q": "x"}\n')

    @tried(examples)
    @given(path=st.sampled_from(list(places(GOOD))), new=JSON)
    @example(path=("datasets", "d", "path"), new="\0")
    @example(path=("models", "m", "path"), new="\ud800")
    def check(path, new):
        raw = replaced(GOOD, path, new)
        try:
            complete = load(raw if isinstance(raw, dict) else {"models": raw})
        except UserError as error:
            assert_told(error)
            return
        for folder in (complete.results, complete.reports):
            assert os.path.realpath(tmp_path / folder).startswith(f"{os.path.realpath(tmp_path)}/")
        try:
            targets = Plan(complete).every("{model}/{dataset}/{method}/run.json")
        except UserError as error:  # data or a model that is not where the configuration says
            assert_told(error)
            return
        assert not [target for target in targets if ".." in target.split("/")]

    check()
    assert {path.name for path in tmp_path.iterdir()} == {"d.jsonl"}


@sizes
def test_rows(examples, tmp_path):
    file = tmp_path / "d.jsonl"

    @tried(examples)
    @given(
        content=st.binary(max_size=60)
        | st.lists(JSON, max_size=3).map(lambda rows: "\n".join(map(json.dumps, rows)).encode())
    )
    def check(content):
        file.write_bytes(content)
        try:
            for sample_id, row in jsonl.read({"path": str(file), "id_field": "q"}):
                assert isinstance(sample_id, str)
                templates.messages({"name": "d", "turns_field": None}, "{q}", sample_id, row)
        except UserError as error:
            assert_told(error)

    check()


def assert_told(error, *files):
    """In one line, all three parts of it; of one of these files, if any are given."""
    assert all((error.where, error.found, error.expected))
    assert len(str(error).splitlines()) == 1
    assert not files or Path(error.where.split(",")[0]).name in files


LINE = json.loads(records.to_line(results_folder.CHAIN[0]))


@sizes
def test_samples(examples, tmp_path):
    good = results_folder.write_all(tmp_path)
    file = good / "m/d/chain/samples.jsonl"
    second = file.read_text().splitlines()[1]

    @tried(examples)
    @given(path=st.sampled_from(list(places(LINE))), new=JSON)
    @example(path=("turns", 0, "steps", 0, 2), new=2**27)  # it took gigabytes to count so many
    @example(path=("turns", 0, "steps", 0, 1), new=-1)
    def check(path, new):
        file.write_text(json.dumps(replaced(LINE, path, new)) + "\n" + second + "\n")
        try:
            tables = sample_tables.build(results_folder.GRID, good)
        except UserError as error:
            assert_told(error, "samples.jsonl")
            return
        assert len(tables["timings"]) == 4
        records.parse_record("the slow way takes it too", json.dumps(replaced(LINE, path, new)), records.Sample)

    check()


@sizes
def test_run_facts(examples, tmp_path):
    good = results_folder.write_all(tmp_path)
    file = good / "m/d/chain/run.json"
    facts = json.loads(file.read_text())

    @tried(examples)
    @given(path=st.sampled_from(list(places(facts))), new=JSON)
    @example(path=("conditions", "repeats"), new=10**12)  # it took all memory to list what is missing
    def check(path, new):
        file.write_text(json.dumps(replaced(facts, path, new)))
        try:
            run = runs.read(good, "m", "d", "chain")
        except UserError as error:
            assert_told(error, "run.json", "samples.jsonl")
            return
        assert len(run.samples) == 2

    check()


@sizes
def test_a_half_written_job(examples, tmp_path):
    """Status looks while others write, so any prefix of the truth must do."""
    good = results_folder.write_all(tmp_path)
    folder = good / "m/d/chain"
    whole = results_folder.unfinished(folder).read_bytes()
    first = whole.index(b"\n") + 1

    @tried(examples)
    @given(length=st.integers(0, len(whole)))
    def check(length):
        (folder / "generate.journal").write_bytes(whole[:length])
        row = progress.progress(good, ("m", "d", "chain"), 1)
        assert row.done == whole[first:length].count(b"\n")
        assert row.total == 2

    check()
