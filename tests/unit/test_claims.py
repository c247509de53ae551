"""A claim stands only where gate, audit and noise floor let it; else its reason stands there."""

from __future__ import annotations

import json
import re
from collections import Counter

import analysis_steps
import jsonschema
import pandas as pd
import pytest
import synthetic
from refusals import figures, says
from results_folder import record

from longspec.analysis import claims, speedup_table, tables
from longspec.analysis.summary import SCHEMA
from longspec.core import run_record
from longspec.report import publication
from longspec.report.cards import cards
from longspec.report.results import Claim, checked
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
    "number_format": NAN, "reference_format": NAN, "variants": 4, "fastest": 0, "simultaneous_low": 1.52,
    "simultaneous_high": 1.74, "concurrency": 1, "throughput_speedup": NAN, "throughput_speedup_low": NAN,
    "throughput_speedup_high": NAN, "windows_paired": NAN,
}  # fmt: skip
CONDITIONS = record(sampling="greedy", dtype="bfloat16", max_new_tokens=96, device="a CPU", threads=2).conditions
CLEAN = pd.DataFrame(columns=audit_rules.COLUMNS)


def judged(audit=CLEAN, drift=None, **changes):
    return claims.judge({**ROW, **changes}, audit, drift or {}, CONDITIONS)


def finding(**names):
    row = {"model": "m", "dataset": "d", "method": "chain", "rule": "same prompts", "verdict": "fail", "finding": "x"}
    return pd.DataFrame([{**row, **names}])


def test_the_sentence():
    """Speedup, interval, n, batch, limit, threads; over the reference; end to end; the floor; and the names."""
    claim = judged()
    names = ("chain", "d", "m", "vanilla", "greedy", "bfloat16", "a CPU", "hf", "identical")
    assert says(claim["claim"], *names)
    assert figures(claim["claim"]) == [
        *(1.62, 95, 1.55, 1.70, 24, 1, 96, 2),
        *(3.10, 3.00, 3.20),
        *(1.40, 1.30, 1.50),
        1.02,
    ]
    assert (claim["kind"], claim["reason"], claim["reason_code"], claim["audit"]) == ("faster", None, None, "pass")


@pytest.mark.parametrize(
    ("changes", "more", "fewer", "names"),
    [
        ({"verdict": "ties only", "identical_outputs": 12}, [12, 24], [], ["identical"]),
        ({"verdict": "same distribution"}, [], [], ["same distribution"]),
        ({"tainted_pairs": 1}, [1, 24], [], []),
        ({"fastest": 1}, [1.52, 1.74, 4], [1.55, 1.70], []),
        ({"looping_differs": 1, "looping_pairs": 5, "looping_speedup": 2.4}, [5, 2.4, 1.6], [], []),
        ({"looping_differs": 0, "looping_pairs": 1, "looping_speedup": 2.4}, [1, 2.4, 1.6], [], []),
        ({"drift": {"wide": 1.084}}, [1.08], [], ["wide"]),
        ({"reference_format": "float16"}, [], [], ["hf (float16)"]),
        ({"number_format": "float16"}, [], [], ["chain (float16)"]),
    ],
)
def test_what_a_reader_must_know_stands_in_the_sentence(changes, more, fewer, names):
    plain, said = judged()["claim"], judged(**changes)["claim"]
    assert said != plain
    assert Counter(figures(said)) - Counter(figures(plain)) == Counter(more)
    assert Counter(figures(plain)) - Counter(figures(said)) == Counter(fewer)
    assert says(said, *names)


@pytest.mark.parametrize(
    ("changes", "kind", "code", "values"),
    [
        ({"verdict": "not lossless"}, "withheld", "not lossless", []),
        ({"verdict": "engines differ"}, "withheld", "engines differ", []),
        ({"verdict": "other number format", "number_format": "half"}, "withheld", "other number format", []),
        ({"speedup_low": NAN, "speedup_high": NAN}, "withheld", "too few samples", []),
        ({"prompts_paired": 23}, "withheld", "too few samples", [23, 24]),
        ({"prompts_paired": 2, "samples_paired": 60}, "withheld", "too few samples", [2, 24]),
        ({"tainted_pairs": 2}, "withheld", "busy machine", [2, 24, 5]),
        ({"tainted_pairs": 24}, "withheld", "busy machine", [24, 24, 5]),
        ({"noise_floor": NAN}, "withheld", "noise not measured", []),
        ({"speedup_low": 0.97}, "no difference shown", "includes 1", [0.97, 1.70, 1]),
        ({"fastest": 1, "simultaneous_low": 0.97}, "no difference shown", "includes 1", [0.97, 1.74, 1]),
        ({"fastest": 1, "simultaneous_low": 1.01}, "no difference shown", "noise floor", [1.01, 1.74, 1.02]),
        ({"noise_floor": 1.8}, "no difference shown", "noise floor", [1.55, 1.70, 1.80]),
        ({"noise_floor": 1.6}, "no difference shown", "noise floor", [1.55, 1.70, 1.60]),
        ({"speedup_low": 0.9, "speedup_high": 0.99}, "no difference shown", "noise floor", [0.90, 0.99, 1.02]),
    ],
)
def test_without_a_pass_the_reason_stands_in_its_place(changes, kind, code, values):
    claim = judged(**changes)
    assert (claim["claim"], claim["kind"], claim["reason_code"]) == (None, kind, code)
    assert claim["reason"]
    assert figures(claim["reason"]) == values


def test_where_one_variant_was_compared_nothing_was_chosen():
    """And whatever stands in the column of simultaneous intervals is not looked at."""
    assert judged(fastest=1, variants=1, simultaneous_low=NAN)["claim"] == judged()["claim"]
    assert judged(fastest=0, simultaneous_low=0.5)["claim"] == judged()["claim"]


def test_a_slowdown_is_claimed_as_well():
    claim = judged(speedup=0.8, speedup_low=0.75, speedup_high=0.85)
    assert claim["kind"] == "slower"
    assert figures(claim["claim"])[:4] == [0.8, 95, 0.75, 0.85]


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
    assert claim["reason_code"] == (None if audit == "pass" else "audit")
    assert audit == "pass" or says(claim["reason"], "same prompts", "x")


@pytest.mark.parametrize(("low", "high", "factor"), [(0.98, 1.01, 1 / 0.98), (0.99, 1.04, 1.04), (1.01, 1.05, 1.05)])
def test_the_floor_is_a_factor_both_ways(low, high, factor):
    assert claims.floor(low, high) == pytest.approx(factor)
    assert pd.isna(claims.floor(NAN, NAN))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    place = tmp_path_factory.mktemp("results")
    synthetic.write(place, CELLS, 24)
    analysis_steps.run(place, GRID, "metrics", "lossless", "speedup", "audit", "summary")
    return place


def test_vanilla_over_again_is_the_floor_and_no_claim(results):
    table = tables.read(results / "speedup.csv").set_index("method")
    assert list(table["same_as_baseline"]) == [1, 0, 0, 0]
    again = table.loc["vanilla-again"]
    assert set(table["noise_floor"]) == {max(again["speedup_high"], 1 / again["speedup_low"])}
    made = json.loads((results / "summary.json").read_text())
    assert [claim["method"] for claim in made["claims"]] == ["chain", "hf-generate", "wide"]
    assert [row["method"] for row in made["noise"]] == ["vanilla-again"]
    assert figures(made["verdict"]["audit"]) == [len(tables.read(results / "audit.csv"))], "all of them, and no second"
    assert made["verdict"]["lossless"] == "identical"


def test_the_fastest_of_a_cell_is_held_to_the_interval_that_holds_for_all(results):
    table = tables.read(results / "speedup.csv").set_index("method")
    assert set(table["variants"]) == {3}, "vanilla over again is no candidate"
    fastest = table["speedup"].drop("vanilla-again").idxmax()
    assert list(table.index[table["fastest"] == 1]) == [fastest]
    wider = (table["simultaneous_low"] < table["speedup_low"]) & (table["simultaneous_high"] > table["speedup_high"])
    assert wider.all()
    made = {claim["method"]: claim for claim in json.loads((results / "summary.json").read_text())["claims"]}
    for method, claim in made.items():
        kind = "simultaneous" if method == fastest else "speedup"
        low, high = (f"{table.loc[method, f'{kind}_{end}']:.2f}" for end in ("low", "high"))
        assert says(claim["claim"], f"95% interval {low} to {high}")
    (card,) = cards([checked("summary.json", Claim, claim) for claim in made.values()], [("m", "d")])
    assert card.method == fastest
    assert says(" ".join(card.details), *(f"{made[fastest][f'simultaneous_{end}']:.2f}" for end in ("low", "high")))


def test_a_method_that_is_not_lossless_is_not_the_fastest_while_another_is_sound(results):
    timings, lossless, windows = (tables.read(results / f"{name}.csv") for name in speedup_table.READ)
    first = speedup_table.compare(GRID, results, timings, lossless, windows).set_index("method")["fastest"].idxmax()
    lossless.loc[lossless["method"] == first, "verdict"] = "not lossless"
    table = speedup_table.compare(GRID, results, timings, lossless, windows).set_index("method")
    assert table["fastest"].sum() == 1
    assert table.loc[first, "fastest"] == 0
    assert set(table["variants"]) == {3}, "it was tried all the same"


def test_a_second_double_without_an_interval_does_not_hide_the_floor_of_the_first(results):
    """Whichever comes first."""
    for order in (["vanilla-again", "none"], ["none", "vanilla-again"]):
        records = dict.fromkeys(("vanilla", *order), run_record.read(results / "m/d/vanilla/run.json"))
        timings = tables.read(results / "timings.csv")
        jobs = {name: timings[timings["method"] == name] for name in records}
        rows = speedup_table.cell({**GRID, "reference": None}, records, dict.fromkeys(order, "identical"), jobs)
        floors = {row.noise_floor for row in rows}
        assert len(floors) == 1
        assert floors.pop() > 1


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
    assert says(peers["chain"]["claim"], f"{table.loc['chain', 'over_reference']:.2f}×", "hf-generate")
    assert peers["hf-generate"]["claim"].count("hf-generate") == 1, "the method, and no second time as the reference"
    assert "hf-generate (peer)" in (results / "reports" / "tables.md").read_text()
    assert says(made["verdict"]["baseline"], f"{row['baseline_over_reference']:.2f}×", "hf-generate")


def test_without_it_the_floor_is_empty(results):
    grid = {**GRID, "methods": ["vanilla", "chain"]}
    table = speedup_table.build(grid, results, results)["speedup"]
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
    assert says(re.search(r"\\caption\{(.*)\}", latex)[1], "vanilla", "hf-generate", r"95\%")


def test_names_are_safe_in_latex_and_marks_are_explained():
    claim = {**judged(verdict="not lossless"), "dataset": "lcc_e", "method": "a&b"}
    verdict = dict.fromkeys(("lossless", "audit", "noise", "baseline"), "")
    made = {"baseline": "plain_one", "started": "", "verdict": verdict, "references": [], "claims": [claim]}
    accepted = pd.DataFrame([{"model": "m", "dataset": "lcc_e", "method": "a&b", "acceptance_length": 2.5}])
    latex = publication.latex(made, accepted, pd.DataFrame([claim]))
    assert r"lcc\_e" in latex
    assert r"a\&b" in latex
    assert says(re.search(r"\\caption\{(.*)\}", latex)[1], r"plain\_one")
    assert r"1.62 [1.55, 1.70]\textsuperscript{\textdagger}" in latex
    assert "2.50" in latex
    assert [
        line
        for line in publication.markdown(made, accepted, pd.DataFrame([claim])).splitlines()
        if line.startswith("† ")
    ]
