"""The symmetry audit on made-up results: all of it passes, and whatever is changed is named with its file."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import made_up
import pytest
from made_up import GRID, failures

from longspec.analysis import sample_tables
from longspec.cli import audit as audit_command
from longspec.cli import tuning
from longspec.core.records import Sample, Turn
from longspec.verify import audit, audit_rules


def test_consistent_results_pass_every_rule(made):
    table = audit.build(GRID, made)
    assert set(table["verdict"]) == {"pass"}
    assert len(table[table["method"] == "wide"]["rule"].unique()) == 14
    assert len(table[table["method"] == ""]) == len(sample_tables.TABLES) + 4


def test_as_an_outsider_runs_it(results, capsys):
    audit_command.main(["--results", str(results), "--strict"])
    assert "checks passed" in capsys.readouterr().out
    (results / "m/d/wide/samples.jsonl").write_text("")
    with pytest.raises(SystemExit):
        audit_command.main(["--results", str(results), "--strict"])
    with (results / "audit.csv").open() as file:
        assert any("samples.jsonl: sample 's0'" in row["finding"] for row in csv.DictReader(file))


def numbers(value, path=()):
    """Every path to a number in a sample's line; of a long list, to the second."""
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value)) if len(value) == 3 else [min(1, len(value) - 1)]
        for key in keys:
            yield from numbers(value[key], (*path, key))
    elif isinstance(value, int | float):
        yield path


def changed(line, path, by):
    """The line with one number moved."""
    row = json.loads(line)
    place = row
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] += by
    return json.dumps(row, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("method", ["vanilla", "wide"])
def test_any_number_changed_in_the_samples_names_that_file(results, method):
    """A machine's reading, too: which samples were tainted is made of it."""
    file = results / "m" / "e" / method / "samples.jsonl"
    first, *rest = file.read_text(encoding="utf-8").splitlines(keepends=True)
    paths = list(numbers(json.loads(first)))
    named = {key for path in paths for key in path if isinstance(key, str)}
    assert {field.name for record in (Turn, Sample) for field in dataclasses.fields(record)} - named == WORDS
    for path in paths:
        file.write_text("".join([changed(first, path, 1), *rest]), encoding="utf-8")
        assert any(str(file) in finding for finding in failures(results)["finding"]), path


WORDS = {"sample_id", "prompt_sha256", "stop_reason", "texts"}


@pytest.mark.parametrize(
    "path", [("turns", 0, "decode_seconds"), ("turns", 0, "steps", 0, 0), ("surroundings", "load")]
)
def test_tables_made_again_from_a_changed_number_hide_nothing(results, path):
    """run.json holds the hash of what the job wrote."""
    file = results / "m" / "e" / "wide" / "samples.jsonl"
    first, *rest = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join([changed(first, path, 1), *rest]), encoding="utf-8")
    made_up.analyse(results)
    found = failures(results)
    assert (audit_rules.WRITTEN, "wide") in set(zip(found["rule"], found["method"], strict=True))
    assert all(str(file) in finding for finding in found.loc[found["rule"] == audit_rules.WRITTEN, "finding"])
    assert made_up.claims(results)["e", "wide"]["claim"] is None


def audited(results, capsys):
    """What an outsider's command says of the published files, and whether it ends well."""
    capsys.readouterr()
    try:
        audit_command.main(["--results", str(results), "--reports", str(results / "reports"), "--strict"])
    except SystemExit as ended:
        assert ended.code == 1
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("published: ")]


@pytest.fixture(scope="module")
def pages(made, tmp_path_factory):
    place = shutil.copytree(made, tmp_path_factory.mktemp("published") / "results")
    made_up.publish(place)
    return place


@pytest.fixture
def published(pages, tmp_path):
    return shutil.copytree(pages, tmp_path / "results")


def test_what_is_published_is_held_against_the_tables(published, capsys):
    before = (published / "summary.json").read_bytes()
    assert audited(published, capsys) == ["published: 4 of 4 files say what the tables give"]
    made_up.publish(published)
    assert (published / "summary.json").read_bytes() == before, "and the audit's own table changes nothing in them"


@pytest.mark.parametrize(
    ("name", "old", "new", "finding"),
    [
        ("summary.json", "paired by prompt", "paired", "claims.0.claim is 'chain decodes d"),
        ("summary.json", '"audit": "pass"', '"audit": "fail"', "claims.0.audit is 'fail'; the tables give 'pass'"),
        ("summary.json", '"claims"', '"sentences"', "claims is None; the tables give "),
        ("summary.json", "{", "", "is not JSON"),
        ("reports/tables.md", "| m       | d ", "| n       | d ", "line 5 is "),
        ("reports/tables.tex", "chain", "chian", "the tables give "),
        ("reports/index.html", "decodes d with m at 2", "decodes d with m at 3", "does not say 'chain decodes d "),
        ("reports/index.html", "checks passed", "checks", "does not say 'all "),
    ],
)
def test_one_word_changed_in_what_is_published_names_that_file(published, capsys, name, old, new, finding):
    file = published / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    said = audited(published, capsys)
    assert len(said) == 2
    assert f"published: {file}: " in said[0]
    assert finding in said[0]
    assert said[1] == "published: 3 of 4 files say what the tables give"


def test_what_was_chosen_by_auto_is_held_against_the_runs(published, capsys):
    chosen = {"options": {"tree_shape": [3, 2, 1]}, "predicted": {"acceptance_length": 2.0, "speedup": 1.5},
              "candidates": 4, "texts": 2, "texts_are": "others", "positions": 9, "seconds": 1.0}  # fmt: skip
    made_up.edit_run(published, "wide", lambda facts: facts.update(tuning=chosen))
    tuning.main(["--grid", json.dumps(GRID), "--results", str(published)])
    assert audited(published, capsys) == ["published: 5 of 5 files say what the tables give"]
    file = published / "tuning.csv"
    file.write_text(file.read_text().replace("1.5", "2.5"))
    assert audited(published, capsys)[0].startswith(f"published: {file}: line 2 is ")


def test_a_claim_that_the_raw_files_do_not_give_is_found_even_if_every_table_was_made_for_it(results, capsys):
    made_up.edit_samples(results, "wide", lambda row: row["turns"][0].update(decode_seconds=1e-3))
    made_up.analyse(results)
    audit = results / "audit.csv"
    audit_command.main(["--grid", json.dumps(GRID), "--results", str(results)])
    audit.write_text("".join(line for line in audit.open() if ",fail," not in line))
    made_up.publish(results, audit=False)
    assert any("summary.json: verdict.audit is 'all " in line for line in audited(results, capsys))


@pytest.mark.parametrize("name", [*sample_tables.TABLES, "lossless", "speedup", "costs"])
def test_one_cell_changed_in_any_table_names_that_file(results, name):
    file = results / f"{name}.csv"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    columns = next(csv.reader(lines[:1]))
    for column in (len(columns) // 2, len(columns) - 1, 0):
        row = next(csv.reader(lines[1:2]))
        row[column] = "9" if row[column] != "9" else "8"
        file.write_text("".join([lines[0], ",".join(row) + "\n", *lines[2:]]), encoding="utf-8")
        found = failures(results)
        assert len(found) == 1
        finding = found["finding"].iloc[0]
        assert (str(file) in finding and "line 2" in finding) or columns[column] == "line_sha256"
        assert name != "speedup" or f"{columns[column]} is " in finding


def test_a_row_too_many_or_missing(results):
    file = results / "speedup.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]))
    assert "one row missing" in failures(results)["finding"].iloc[0]
    file.write_text("".join([*lines, lines[-1]]))
    assert "one row too many" in failures(results)["finding"].iloc[0]
    file.unlink()
    assert "missing" in failures(results)["finding"].iloc[0]


def test_a_gate_that_saw_other_samples(results):
    file = results / "m/d/chain/gate.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[::-1]))
    found = failures(results)
    assert audit.GATE in set(found["rule"])
    assert str(file) in found["finding"].iloc[0]


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("dtype", "same number format, attention and device"),
        ("engine", "same number format, attention and device"),
        ("seed", "same sampling"),
        ("context_tokens", "same limits"),
        ("warmup", "same warm-up"),
        ("prompts_sha256", audit.FILES),
        ("cuda_graphs", "same other conditions"),
    ],
)
def test_a_condition_that_differs(results, key, rule):
    file = results / "m/d/chain/run.json"
    facts = json.loads(file.read_text())
    facts["conditions"][key] = 1 if key == "seed" else "other"
    file.write_text(json.dumps(facts))
    found = failures(results)
    assert rule in set(found["rule"])
    assert any(key in f or "other prompts" in f for f in found["finding"])


def test_two_sides_made_by_other_code_are_not_compared(results):
    file = results / "m/d/chain/run.json"
    file.write_text(file.read_text().replace("0123abc", "4567def"))
    found = failures(results)
    assert list(found["method"]) == ["chain"]
    assert "git_commit: '4567def', the baseline's '0123abc'; generate both again" in found["finding"].iloc[0]
