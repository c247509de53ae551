"""The symmetry audit on made-up results: all of it passes, and whatever is changed is named with its file."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import analysis_steps
import made_up
import pytest
from made_up import GRID, failures
from refusals import figures, says

from longspec.analysis import tables
from longspec.cli import analyse
from longspec.core.records import Sample, Turn
from longspec.verify import audit, audit_rules, differences


def test_consistent_results_pass_every_rule(made, tmp_path):
    table = audit.build(GRID, made, tmp_path)
    assert set(table["verdict"]) == {"pass"}
    assert len(table[table["method"] == "wide"]["rule"].unique()) == 15
    assert len(table[table["method"] == ""]) == len(tables.OF_SAMPLES) + 4


def test_as_an_outsider_runs_it(results, capsys):
    analyse.main(["audit", "--results", str(results), "--strict"])
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("audit: ")]
    with (results / "audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert figures(said)[:2] == [len(rows), len(rows)]
    (results / "m/d/wide/samples.jsonl").write_text("")
    with pytest.raises(SystemExit):
        analyse.main(["audit", "--results", str(results), "--strict"])
    with (results / "audit.csv").open() as file:
        assert any(says(row["finding"], "samples.jsonl", "'s0'") for row in csv.DictReader(file))


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


WORDS = {"served", "sample_id", "prompt_sha256", "stop_reason", "texts"}


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


def test_the_reports_of_another_experiment_beside_it_are_not_its_own(published, tmp_path, capsys):
    """`results-x` goes with `reports-x`; `reports` there is the default experiment's."""
    results = shutil.copytree(published, tmp_path / "results-x")
    for name in ("reports", "reports-x"):
        shutil.copytree(published / "reports", tmp_path / name)
    (tmp_path / "reports" / "tables.md").write_text("another's\n", encoding="utf-8")
    analyse.main(["audit", "--results", str(results), "--strict"])
    (tmp_path / "reports-x" / "tables.md").write_text("changed\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        analyse.main(["audit", "--results", str(results), "--strict"])
    assert str(tmp_path / "reports-x" / "tables.md") in capsys.readouterr().out


def audited(results, capsys):
    """What an outsider's command says of each published file that is wrong, then how many are right and are there."""
    capsys.readouterr()
    try:
        analyse.main(["audit", "--results", str(results), "--reports", str(results / "reports"), "--strict"])
    except SystemExit as ended:
        assert ended.code == 1
    *wrong, last = [line for line in capsys.readouterr().out.splitlines() if line.startswith("published: ")]
    return [*wrong, figures(last)]


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
    assert audited(published, capsys) == [[4, 4]]
    made_up.publish(published)
    assert (published / "summary.json").read_bytes() == before, "and the audit's own table changes nothing in them"


@pytest.mark.parametrize(
    ("name", "old", "new", "finding"),
    [
        ("summary.json", "greedy", "greedily", ("claims.0.claim", "greedy", "greedily")),
        ("summary.json", '"audit": "pass"', '"audit": "fail"', ("claims.0.audit", "'fail'", "'pass'")),
        ("summary.json", '"claims"', '"sentences"', ("claims", "None")),
        ("summary.json", "{", "", ("JSON",)),
        ("reports/tables.md", "| m       | d ", "| n       | d ", ("line 5", "n", "m")),
        ("reports/tables.tex", "chain", "chian", ("chian", "chain")),
        ("reports/index.html", "{figure}", "9.99×", ("{figure}",)),
        ("reports/index.html", "{audit}", "none", ("{audit}",)),
    ],
)
def test_one_word_changed_in_what_is_published_names_that_file(published, capsys, name, old, new, finding):
    file = published / name
    text, summary = file.read_text(encoding="utf-8"), json.loads((published / "summary.json").read_text())
    given = {"figure": f"{summary['claims'][0]['speedup']:.2f}×", "audit": summary["verdict"]["audit"]}
    old, *finding = (given.get(part.strip("{}"), part) for part in (old, *finding))
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    said, counts = audited(published, capsys)
    assert said.startswith(f"published: {file}: ")
    assert says(said, *finding)
    assert counts == [3, 4]


def test_what_was_chosen_by_auto_is_held_against_the_runs(published, capsys):
    chosen = {"options": {"tree_shape": [3, 2, 1]}, "predicted": {"acceptance_length": 2.0, "speedup": 1.5},
              "candidates": 4, "texts": 2, "texts_are": "others", "positions": 9, "seconds": 1.0}  # fmt: skip
    made_up.edit_run(published, "wide", lambda facts: facts.update(tuning=chosen))
    analysis_steps.run(published, GRID, "speedup")
    assert audited(published, capsys) == [[5, 5]]
    file = published / "tuning.csv"
    file.write_text(file.read_text().replace("1.5", "2.5"))
    assert says(audited(published, capsys)[0], str(file), "line 2", "1.5", "2.5")


def test_a_claim_that_the_raw_files_do_not_give_is_found_even_if_every_table_was_made_for_it(results, capsys):
    made_up.edit_samples(results, "wide", lambda row: row["turns"][0].update(decode_seconds=1e-3))
    made_up.analyse(results)
    audit = results / "audit.csv"
    analysis_steps.run(results, GRID, "audit")
    audit.write_text("".join(line for line in audit.open() if ",fail," not in line))
    made_up.publish(results, audit=False)
    *wrong, _ = audited(results, capsys)
    assert any(says(line, "summary.json: verdict.audit") for line in wrong)


OF_ENGINES = ("windows", "load")
"""Tables without a row here: made_up.py has no served engine."""


@pytest.mark.parametrize("name", [*sorted({*tables.OF_SAMPLES} - {*OF_ENGINES}), "lossless", "speedup", "costs"])
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
        assert name != "speedup" or says(finding, columns[column])


def test_a_row_too_many_or_missing(results):
    file = results / "speedup.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]))
    assert says(failures(results)["finding"].iloc[0], str(file), f"line {len(lines)}")
    file.write_text("".join([*lines, lines[-1]]))
    assert says(failures(results)["finding"].iloc[0], str(file), f"line {len(lines) + 1}")
    file.unlink()
    assert says(failures(results)["finding"].iloc[0], str(file))


def test_each_cell_that_differs_is_named_and_a_row_that_is_missing_once(results):
    file = results / "throughput.csv"
    with file.open() as opened:
        header, *rows = csv.reader(opened)
    rows[1][4], rows[1][5], rows[3][4] = "7", "8", "9"
    write = [header, *rows]
    file.write_text("".join(",".join(row) + "\n" for row in write))
    found = list(failures(results)["finding"])
    expected = [("line 3", header[4], "7"), ("line 3", header[5], "8"), ("line 5", header[4], "9")]
    assert [says(finding, *one) for finding, one in zip(found, expected, strict=True)] == [True] * 3
    made_up.analyse(results)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:2], *lines[3:]]))
    (finding,) = failures(results)["finding"]
    assert says(finding, str(file), "line 3")
    file.write_text("".join([lines[0].replace("samples", "texts"), *lines[1:]]))
    (finding,) = failures(results)["finding"]
    assert says(finding, str(file), "line 1", "texts")


def test_of_very_many_differences_some_are_named_and_all_counted(results):
    file = results / "timings.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0], *(line.replace(",", ",9", 4) for line in lines[1:])]))
    found = list(failures(results)["finding"])
    assert len(found) == differences.MOST + 1
    assert figures(found[-1])[-1] == 4 * (len(lines) - 1) - differences.MOST


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
    facts["conditions"][key] = "other" if isinstance(facts["conditions"].get(key, ""), str) else 5
    file.write_text(json.dumps(facts))
    found = failures(results)
    assert rule in set(found["rule"])
    assert any(says(f, key) or says(f, "prompts.jsonl") for f in found["finding"])


def test_two_sides_made_by_other_code_are_not_compared(results):
    file = results / "m/d/chain/run.json"
    file.write_text(file.read_text().replace("0123abc", "4567def"))
    found = failures(results)
    assert list(found["method"]) == ["chain"]
    assert says(found["finding"].iloc[0], "git_commit", "'4567def'", "'0123abc'")


@pytest.mark.parametrize(
    ("method", "checks"),
    [
        ("wide", None),
        ("wide", {"target": {"engine": "eager", "distance": 0.0, "bound": 1.0}}),
        ("wide", {"target": {"engine": "packed", "distance": 0.3, "bound": 0.2}}),
        ("wide", {"target": {"engine": "packed", "distance": float("nan"), "bound": 0.2}}),
        ("vanilla", None),
    ],
)
def test_a_job_of_ours_whose_engine_was_not_checked_is_found(results, method, checks):
    made_up.edit_run(results, method, lambda facts: facts["pieces"][0].update(engine_checks=checks))
    found = failures(results)
    assert set(found["rule"]) == {"the engine was checked against transformers"}
    assert set(found["method"]) == {method}
