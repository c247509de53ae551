"""The symmetry audit on made-up results: all of it passes, and whatever is changed is named with its file."""

from __future__ import annotations

import csv
import json

import pytest
from made_up import GRID, failures

from longspec.stages import metrics, symmetry


def test_consistent_results_pass_every_rule(made):
    table = symmetry.build(GRID, made)
    assert set(table["verdict"]) == {"pass"}
    assert len(table[table["method"] == "wide"]["rule"].unique()) == 14
    assert len(table[table["method"] == ""]) == len(metrics.TABLES) + 4


def test_as_an_outsider_runs_it(results, capsys):
    symmetry.main(["--results", str(results), "--strict"])
    assert "checks passed" in capsys.readouterr().out
    (results / "m/d/wide/samples.jsonl").write_text("")
    with pytest.raises(SystemExit):
        symmetry.main(["--results", str(results), "--strict"])
    with (results / "audit.csv").open() as file:
        assert any("samples.jsonl: sample 's0'" in row["finding"] for row in csv.DictReader(file))


NUMBERS = ["prompt_tokens", "output_ids", "steps", "prefill_seconds", "drafter_prefill_seconds", "decode_seconds"]


@pytest.mark.parametrize("key", [*NUMBERS, "repeat"])
@pytest.mark.parametrize("method", ["vanilla", "wide"])
def test_one_number_changed_in_the_samples_names_that_file(results, method, key):
    file = results / "m" / "e" / method / "samples.jsonl"
    first, *rest = file.read_text(encoding="utf-8").splitlines(keepends=True)
    row = json.loads(first)
    turn = row["turns"][0]
    if key == "repeat":
        row["repeat"] = 1
    elif key == "output_ids":
        turn["output_ids"][1] += 1
    elif key == "steps":
        turn["steps"][0][0] += 1
    else:
        turn[key] += 1
    file.write_text(json.dumps(row) + "\n" + "".join(rest), encoding="utf-8")
    assert any(str(file) in finding for finding in failures(results)["finding"])


@pytest.mark.parametrize("name", [*metrics.TABLES, "lossless", "speedup"])
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
    assert symmetry.GATE in set(found["rule"])
    assert str(file) in found["finding"].iloc[0]


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("dtype", "same number format, attention and device"),
        ("engine", "same number format, attention and device"),
        ("seed", "same sampling"),
        ("context_tokens", "same limits"),
        ("warmup", "same warm-up"),
        ("prompts_sha256", symmetry.FILES),
        ("cuda_graphs", "same other conditions"),
    ],
)
def test_a_condition_that_differs(results, key, rule):
    file = results / "m/d/chain/run.json"
    facts = json.loads(file.read_text())
    facts["conditions"][key] = "other"
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
