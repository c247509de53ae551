"""Each fault that published evaluations of speculative decoding had, planted in results, and the guard that sees it.

docs/trust.md lists them. Those of the code that generates are planted in test_planted_in_the_code.py, those of the
rules in tests/lossless/test_mutants.py too.
"""

from __future__ import annotations

import csv
import hashlib

import made_up
import numpy as np
import pytest
from made_up import GRID, edit_run, edit_samples, failures
from refusals import figures, refused, says

from longspec.analysis import claims, speedup, speedup_table, tables
from longspec.analysis.speedup_row import columns
from longspec.verify import audit


def edit_cell(place, name, column, change):
    """Change one column of a table's rows, as a script that computes it wrongly would."""
    with (place / name).open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row[column] = change(row)
    with (place / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def found_in(place):
    """What the audit finds."""
    return list(failures(place)["finding"])


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def caught(place, rule, method="wide"):
    """The rule is broken by this job alone, and nothing is claimed of it after the tables are made again."""
    found = failures(place)
    assert (rule, method) in set(zip(found["rule"], found["method"], strict=True))
    made_up.analyse(place)
    claim = made_up.claims(place)
    assert claim["e", "chain"]["audit"] == "pass"
    hit = claim["d", "chain" if method == "vanilla" else method]
    assert hit["claim"] is None
    assert rule in hit["reason"]
    return hit


def test_without_a_fault_there_are_claims(made):
    claims = made_up.claims(made).values()
    assert {claim["kind"] for claim in claims if not claim["peer"]} == {"faster"}
    assert {claim["kind"] for claim in claims if claim["peer"]} == {"slower"}


def test_the_root_counted_as_accepted_is_caught_by_the_accounting(results):
    def phantom(row):
        row["turns"][0]["steps"] = [[d + 1, o + 1, a + 1] for d, o, a in row["turns"][0]["steps"]]

    edit_samples(results, "wide", phantom)
    caught(results, "tokens are those of the steps")


def test_a_phantom_token_in_a_table_is_caught_by_recomputing_it(results):
    edit_cell(results, "acceptance.csv", "acceptance_length", lambda r: str(float(r["acceptance_length"] or 0) + 1))
    assert any(says(finding, "acceptance.csv", "line 2", "acceptance_length") for finding in found_in(results))


def test_tokens_past_the_end_are_caught_by_the_end_rule(results):
    def longer(row):
        turn = row["turns"][0]
        if turn["stop_reason"] == "eos":
            turn["output_ids"] += [9, 9]
            turn["steps"] += [[3, 2, 1]]
            turn["stop_reason"] = "limit"

    edit_samples(results, "wide", longer)
    assert figures(caught(results, "same end of text")["reason"])[-2:] == [2, 2], "tokens after the end, and its id"


@pytest.mark.parametrize("limit", [12, 48])
def test_another_limit_is_refused(results, limit):
    edit_run(results, "wide", lambda facts: facts["conditions"].update(max_new_tokens=limit))
    with refused("m/d", ("max_new_tokens", f"{limit} for wide", "24 for vanilla")):
        speedup_table.build(GRID, results, results)
    assert "same limits" in set(failures(results)["rule"])


def test_a_limit_that_is_only_said_to_be_the_same_is_caught_by_the_end_rule(results):
    def shorter(row):
        turn = row["turns"][0]
        if turn["stop_reason"] == "limit":
            turn["output_ids"], turn["steps"] = turn["output_ids"][:9], [[3, 2, 1]] * 4

    edit_samples(results, "wide", shorter)
    assert figures(caught(results, "same end of text")["reason"])[-2:] == [9, 24], "tokens, and the limit"


def test_a_warm_up_for_one_method_alone_is_caught(results):
    edit_run(results, "vanilla", lambda facts: facts.update(warmup_samples=[]))
    found = failures(results)
    assert set(found[found["rule"] == "same warm-up"]["method"]) == set(GRID["methods"])
    edit_run(results, "vanilla", lambda facts: facts["conditions"].update(warmup=0))
    with refused("m/d", ("warmup", "1 for vanilla-again", "0 for vanilla")):
        speedup_table.build(GRID, results, results)


def test_the_prefills_token_counted_for_one_method_is_caught_by_recomputing(results):
    def counted(row):
        more = int(row["turns"]) if row["method"] == "wide" else 0
        return str(int(row["output_tokens"]) + more)

    edit_cell(results, "timings.csv", "output_tokens", counted)
    assert any(says(finding, "timings.csv", "output_tokens") for finding in found_in(results))


def test_a_baseline_that_is_always_greedy_is_refused(results):
    for method in ("vanilla-again", "chain", "hf-generate", "wide"):
        edit_run(results, method, lambda facts: facts["conditions"].update(sampling="temperature 1.0"))
    with refused("m/d", ("sampling", "'temperature 1.0' for vanilla-again", "'greedy' for vanilla")):
        speedup_table.build(GRID, results, results)
    assert "same sampling" in set(failures(results)["rule"])


def test_one_sample_has_no_interval_and_no_claim(tmp_path):
    made_up.synthetic.write(tmp_path, {"m": ["d"]}, 1)
    grid = {**GRID, "cells": {"m": ["d"]}}
    made_up.analyse(tmp_path, grid)
    claim = made_up.claims(tmp_path, grid)["d", "wide"]
    assert (claim["claim"], claim["kind"], claim["reason_code"]) == (None, "withheld", "too few samples")


def test_another_seed_is_refused(results):
    edit_run(results, "wide", lambda facts: facts["conditions"].update(seed=1))
    with refused("m/d", ("seed", "1 for wide", "0 for vanilla")):
        speedup_table.build(GRID, results, results)


def test_a_run_without_a_seed_is_refused(results):
    for method in GRID["methods"]:
        edit_run(results, method, lambda facts: facts["conditions"].pop("seed"))
    with refused("m/d/vanilla/run.json", "conditions.seed"):
        speedup_table.build(GRID, results, results)
    assert audit.FILES in set(failures(results)["rule"])


def test_one_pass_without_its_double_makes_no_claim(results):
    known = made_up.claims(results)["d", "wide"]
    assert says(known["claim"], f"{known['noise_floor']:.2f}×")
    grid = {**GRID, "methods": [name for name in GRID["methods"] if name != "vanilla-again"]}
    made_up.analyse(results, grid)
    unknown = made_up.claims(results, grid)["d", "wide"]
    assert unknown["noise_floor"] is None
    assert (unknown["claim"], unknown["kind"], unknown["reason_code"]) == (None, "withheld", "noise not measured")


@pytest.mark.parametrize(("prompts", "repeats"), [(2, 1), (23, 1), (2, 30)])
def test_a_few_prompts_make_no_claim_however_often_they_are_repeated(tmp_path, prompts, repeats):
    made_up.synthetic.write(tmp_path, {"m": ["d"]}, prompts, repeats=repeats)
    grid = {**GRID, "cells": {"m": ["d"]}}
    made_up.analyse(tmp_path, grid)
    claim = made_up.claims(tmp_path, grid)["d", "wide"]
    assert claim["speedup_low"] is not None
    assert (claim["claim"], claim["kind"], claim["reason_code"]) == (None, "withheld", "too few samples")
    assert figures(claim["reason"]) == [prompts, 24]


@pytest.mark.parametrize("method", ["wide", "vanilla"])
def test_a_machine_that_was_busy_during_one_side_makes_no_claim(results, method):
    """The other methods' claims fall with the baseline's, and stand beside another's."""

    def busy(row):
        if int(row["sample_id"][1:]) < 3:
            row["surroundings"]["other_cores"] = 1.5

    edit_samples(results, method, busy)
    facts = sha256(results / "m" / "d" / method / "samples.jsonl")
    edit_run(results, method, lambda run: run.update(samples_sha256=facts))
    made_up.analyse(results)
    found = {name: claim["reason_code"] for (dataset, name), claim in made_up.claims(results).items() if dataset == "d"}
    hit = found if method == "vanilla" else ["wide"]
    assert {name: code for name, code in found.items() if name in hit} == dict.fromkeys(hit, "busy machine")
    assert all(code is None for name, code in found.items() if name not in hit)


def test_the_fastest_of_many_equal_variants_is_not_said_to_be_faster_than_it_is(results):
    """Twelve variants that are as fast as vanilla, but for chance: one of them looks faster, and no claim is made."""
    timings = tables.read(results / "timings.csv")
    base = timings[(timings["method"] == "vanilla") & (timings["dataset"] == "d") & (timings["repeat"] == 0)]

    def best_of_twelve(seed):
        rng = np.random.default_rng(seed)
        lucky = (base["decode_seconds"] * np.exp(rng.normal(0, 0.15, len(base))) for _ in range(12))
        rows = [speedup.compare(base.assign(decode_seconds=seconds), base, 12) for seconds in lucky]
        return columns(max(rows, key=lambda row: row.speedup.value))

    names = {"model": "m", "dataset": "d", "method": "best", "verdict": "identical", "noise_floor": 1.0}
    found = [{**best_of_twelve(seed), **names} for seed in range(40)]
    careless = sum(claims.against({**row, "fastest": 0}, [])[0] is None for row in found)
    careful = sum(claims.against({**row, "fastest": 1}, [])[0] is None for row in found)
    assert careless >= 4, "one in eight"
    assert careful <= 1


def test_a_list_of_ends_of_which_one_is_obeyed_is_caught_by_the_end_rule(results):
    """Both sides have the fault, so they agree with each other; run.json says at which ids a text ends."""
    first = audit.runs.read(results, "m", "d", "wide").samples[0].turns[0].output_ids
    for method in GRID["methods"]:
        edit_run(results, method, lambda facts: facts["conditions"].update(stop_ids=[2, first[1]]))
    found = failures(results)
    assert set(found[found["rule"] == "same end of text"]["method"]) == set(GRID["methods"])
    assert says(found["finding"].iloc[0], f"id {first[1]}")


def test_an_end_that_comes_at_once_is_no_speedup(results):
    """An id taken for the end that is not: every text of one method is one token long."""

    def at_once(row):
        row["turns"][0].update(output_ids=row["turns"][0]["output_ids"][:1], steps=[], stop_reason="eos")
        row["turns"][0].update(decode_seconds=1e-6, total_seconds=0.101001)

    edit_samples(results, "wide", at_once)
    assert audit.GATE in set(failures(results)["rule"])  # the gate saw other outputs
    file = results / "m/d/wide/gate.jsonl"
    seen = file.read_text().replace('"identical": true', '"identical": false, "turn": 0, "position": 1')
    file.write_text(seen)  # as it writes them when it sees these
    edit_run(results, "wide", lambda facts: facts.update(samples_sha256=sha256(results / "m/d/wide/samples.jsonl")))
    made_up.analyse(results)
    assert set(failures(results)["rule"]) == set()
    claim = made_up.claims(results)["d", "wide"]
    assert (claim["claim"], claim["verdict"]) == (None, "not lossless")


def test_tokens_counted_by_splitting_the_text_again_are_caught_by_recomputing(results):
    def recounted(row):
        return str(int(int(row["output_tokens"]) * 0.9)) if row["method"] == "vanilla" else row["output_tokens"]

    edit_cell(results, "timings.csv", "output_tokens", recounted)
    assert any(says(finding, "timings.csv", "line 2", "output_tokens") for finding in found_in(results))


def test_a_mean_of_per_sample_rates_is_caught_by_recomputing(results):
    edit_cell(results, "speedup.csv", "speedup", lambda row: str(float(row["speedup"]) * 1.03))
    assert any(says(finding, "speedup.csv", "line 2", "speedup") for finding in found_in(results))


def test_a_failed_sample_is_in_no_figure_and_stops_the_claim(results):
    before = speedup_table.build(GRID, results, results)["speedup"].set_index(["dataset", "method"]).loc[("d", "wide")]

    def failing(row):
        if row["sample_id"] == "s0":
            row["turns"][0].update(stop_reason="nonfinite", decode_seconds=1e-9)

    edit_samples(results, "wide", failing)
    caught(results, "no output cut")
    after = speedup_table.build(GRID, results, results)["speedup"].set_index(["dataset", "method"]).loc[("d", "wide")]
    assert after["samples_paired"] == before["samples_paired"] - 2
    assert after["speedup"] < 3
