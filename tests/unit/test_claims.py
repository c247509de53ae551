"""A claim stands only where gate, audit and noise floor let it; else its reason stands there."""

from __future__ import annotations

import json
import re

import jsonschema
import pandas as pd
import pytest
import synthetic

from longspec.analysis import claims, speedup_table, tables
from longspec.analysis.summary import SCHEMA
from longspec.cli import audit, costs, lossless, metrics, speedup, summary
from longspec.report import publication
from longspec.verify import audit_rules

CELLS = {"m": ["d"]}
GRID = {"cells": CELLS, "methods": list(synthetic.METHODS), "baseline": "vanilla", "reference": "hf-generate"}
NAN = float("nan")
ROW = {
    "model": "m", "dataset": "d", "method": "chain", "baseline": "vanilla", "speedup": 1.624, "speedup_low": 1.55,
    "speedup_high": 1.7, "end_to_end_speedup": 1.4, "end_to_end_speedup_low": 1.3, "end_to_end_speedup_high": 1.5,
    "equal_length_speedup": 1.6, "prompts_paired": 24, "samples_paired": 24, "identical_outputs": 24,
    "samples_slower": 0, "noise_floor": 1.02, "looping_pairs": 0, "looping_differs": 0, "looping_speedup": NAN,
    "other_speedup": 1.6, "verdict": "identical", "peer": 0, "reference": "hf", "over_reference": 3.1,
    "over_reference_low": 3.0, "over_reference_high": 3.2, "tainted_pairs": 0,
}  # fmt: skip
CONDITIONS = {"sampling": "greedy", "dtype": "bfloat16", "max_new_tokens": 96, "device": "a CPU", "threads": 2}
CLEAN = pd.DataFrame(columns=audit_rules.COLUMNS)


def judged(audit=CLEAN, drift=None, **changes):
    return claims.judge({**ROW, **changes}, audit, drift or {}, CONDITIONS)


def finding(**names):
    row = {"model": "m", "dataset": "d", "method": "chain", "rule": "same prompts", "verdict": "fail", "finding": "x"}
    return pd.DataFrame([{**row, **names}])


def test_the_sentence():
    claim = judged()
    assert claim["claim"] == (
        "chain decodes d with m at 1.62× (95% interval 1.55 to 1.70, n = 24, paired by prompt) over vanilla, greedy, "
        "bfloat16, batch 1, at most 96 new tokens, on a CPU (2 threads); 3.10× (3.00 to 3.20) over hf; "
        "end to end 1.40× (1.30 to 1.50); "
        "outputs identical; noise floor 1.02×."
    )
    assert (claim["kind"], claim["reason"], claim["audit"]) == ("faster", None, "pass")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"verdict": "ties only", "identical_outputs": 12}, "identical up to rounding ties (12 of 24 identical)"),
        ({"verdict": "same distribution"}, "; same distribution;"),
        ({"noise_floor": NAN}, "noise floor not measured"),
        ({"tainted_pairs": 3}, "; 3 of 24 pairs timed while the machine was busy;"),
        ({"looping_differs": 1, "looping_pairs": 5, "looping_speedup": 2.4}, "the 5 pairs with looping outputs 2.40×"),
        ({"drift": {"vanilla": 1.084}}, "vanilla's steps took 1.08 times as long in the second half of its run"),
    ],
)
def test_what_a_reader_must_know_stands_in_the_sentence(changes, part):
    assert part in judged(**changes)["claim"]


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"verdict": "not lossless"}, "withheld", "its output is not the model's"),
        ({"speedup_low": NAN, "speedup_high": NAN}, "withheld", "too few samples"),
        ({"speedup_low": 0.97}, "no difference shown", "the interval 0.97 to 1.70 includes 1"),
        ({"noise_floor": 1.8}, "no difference shown", "1.55 to 1.70 does not clear the noise floor of 1.80×"),
        ({"noise_floor": 1.6}, "no difference shown", "does not clear"),
        ({"speedup_low": 0.9, "speedup_high": 0.99}, "no difference shown", "0.90 to 0.99 does not clear"),
    ],
)
def test_without_a_pass_the_reason_stands_in_its_place(changes, kind, reason):
    claim = judged(**changes)
    assert (claim["claim"], claim["kind"]) == (None, kind)
    assert reason in claim["reason"]


def test_a_slowdown_is_claimed_as_well():
    claim = judged(speedup=0.8, speedup_low=0.75, speedup_high=0.85)
    assert claim["kind"] == "slower"
    assert "at 0.80×" in claim["claim"]


@pytest.mark.parametrize(
    ("names", "audit"),
    [
        ({}, "fail"),
        ({"method": "vanilla"}, "fail"),
        ({"model": None, "dataset": None, "method": None}, "fail"),
        ({"method": "wide"}, "pass"),
        ({"dataset": "e"}, "pass"),
        ({"verdict": "pass"}, "pass"),
    ],
)
def test_a_finding_in_the_job_its_baseline_or_a_table_withholds(names, audit):
    claim = judged(finding(**names))
    assert claim["audit"] == audit
    assert (claim["claim"] is None) == (audit == "fail")
    assert audit == "pass" or "same prompts: x" in claim["reason"]


@pytest.mark.parametrize(("low", "high", "factor"), [(0.98, 1.01, 1 / 0.98), (0.99, 1.04, 1.04), (1.01, 1.05, 1.05)])
def test_the_floor_is_a_factor_both_ways(low, high, factor):
    assert claims.floor(low, high) == pytest.approx(factor)
    assert pd.isna(claims.floor(NAN, NAN))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    place = tmp_path_factory.mktemp("results")
    synthetic.write(place, CELLS, 20)
    for stage in (metrics, lossless, speedup, costs, audit):
        stage.main(["--grid", json.dumps(GRID), "--results", str(place)])
    summary.main(["--grid", json.dumps(GRID), "--results", str(place), "--tables", str(place / "reports")])
    return place


def test_vanilla_over_again_is_the_floor_and_no_claim(results):
    table = tables.read(results / "speedup.csv").set_index("method")
    assert list(table["same_as_baseline"]) == [1, 0, 0, 0]
    again = table.loc["vanilla-again"]
    assert set(table["noise_floor"]) == {max(again["speedup_high"], 1 / again["speedup_low"])}
    made = json.loads((results / "summary.json").read_text())
    assert [claim["method"] for claim in made["claims"]] == ["chain", "hf-generate", "wide"]
    assert [row["method"] for row in made["noise"]] == ["vanilla-again"]
    assert made["verdict"]["audit"].endswith("checks passed")
    assert made["verdict"]["lossless"] == "identical"


def test_the_second_speedup_stands_beside_the_first(results):
    table = tables.read(results / "speedup.csv").set_index("method")
    made = json.loads((results / "summary.json").read_text())
    (row,) = made["references"]
    assert table.loc["hf-generate", "over_reference"] == pytest.approx(1)
    assert row["baseline_over_reference"] == pytest.approx(1 / table.loc["hf-generate", "speedup"])
    assert row["low"] < row["baseline_over_reference"] < row["high"]
    for method in ("chain", "wide"):
        expected = table.loc[method, "speedup"] * row["baseline_over_reference"]
        assert table.loc[method, "over_reference"] == pytest.approx(expected)
    peers = {claim["method"]: claim for claim in made["claims"]}
    assert [claim["peer"] for claim in peers.values()] == [0, 1, 0]
    assert f"{table.loc['chain', 'over_reference']:.2f}× (" in peers["chain"]["claim"]
    assert "over hf-generate" not in peers["hf-generate"]["claim"]
    assert "hf-generate (peer)" in (results / "reports" / "tables.md").read_text()
    assert made["verdict"]["baseline"] == f"{row['baseline_over_reference']:.2f}× as fast as hf-generate"


def test_without_it_the_floor_is_empty(results):
    grid = {**GRID, "methods": ["vanilla", "chain"]}
    table = speedup_table.build(grid, results)
    assert table["noise_floor"].isna().all()


def test_the_summary_keeps_its_schema(results):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    made = json.loads((results / "summary.json").read_text())
    described = schema["$defs"]["claim"]["properties"]
    assert list(made["claims"][0]) == list(described)
    del made["claims"][0]["speedup_low"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, schema)


def test_tables_for_papers(results):
    markdown = (results / "reports" / "tables.md").read_text()
    latex = (results / "reports" / "tables.tex").read_text()
    claim = json.loads((results / "summary.json").read_text())["claims"][0]
    figure = f"{claim['speedup']:.2f} [{claim['speedup_low']:.2f}, {claim['speedup_high']:.2f}]"
    assert claim["claim"] in markdown
    for text in (markdown, latex):
        assert text.count(figure) == 1
    assert {r"\toprule", r"\midrule", r"\bottomrule"} <= set(re.findall(r"\\\w+", latex))
    assert re.search(r"Speedup over vanilla and over the reference hf-generate with 95\\% intervals", latex)


def test_names_are_safe_in_latex_and_marks_are_explained():
    claim = {**judged(verdict="not lossless"), "dataset": "lcc_e", "method": "a&b"}
    made = {"baseline": "plain_one", "references": [], "claims": [claim]}
    accepted = pd.DataFrame([{"model": "m", "dataset": "lcc_e", "method": "a&b", "acceptance_length": 2.5}])
    latex = publication.latex(made, accepted)
    assert r"lcc\_e" in latex
    assert r"a\&b" in latex
    assert r"over plain\_one" in latex
    assert r"1.62 [1.55, 1.70]\textsuperscript{\textdagger}" in latex
    assert "2.50" in latex
    assert "† no claim" in publication.markdown(made, accepted)
