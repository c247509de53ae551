"""Faults of served engines and of their harnesses, planted in results, and the check that sees each.

docs/trust.md lists them.
"""

from __future__ import annotations

import shutil

import made_up
import pytest
import served_made_up
from made_up import edit_run, edit_samples, failures
from refusals import refused, says
from served_made_up import GRID

from longspec.analysis import speedup_table
from longspec.analysis.claim_thresholds import LEAST_WINDOWS
from longspec.verify import audit

ACCOUNTING, CHUNKS = "drafts are those of the tokens", "times are those of the chunks"
LOAD = "requests in flight are the load's, in one order"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return served_made_up.make(tmp_path_factory.mktemp("served"))


@pytest.fixture
def results(made, tmp_path):
    return shutil.copytree(made, tmp_path / "results")


def found(place):
    table = failures(place, GRID)
    return set(zip(table["rule"], table["method"], strict=True))


def caught(place, rule, method="eng-fast@4"):
    """The rule is broken by this job, and no claim stands of it."""
    assert (rule, method) in found(place)
    made_up.analyse(place, GRID)
    claim = made_up.claims(place, GRID)["d", method]
    assert claim["claim"] is None
    assert claim["reason_code"] == "audit"


def served(change):
    """An edit of every answer."""

    def edit(row):
        for turn in row["turns"]:
            change(turn, turn["served"])

    return edit


def test_without_a_fault_every_rule_holds_and_there_are_claims(made):
    assert found(made) == set()
    made_up.publish(made, GRID, pages=False)
    claims = made_up.claims(made, GRID)
    for method in ("eng-fast", "eng-fast@4"):
        claim = claims["d", method]
        assert claim["kind"] == "faster"
        assert claim["baseline"] == method.replace("-fast", "")
        assert claim["variants"] == 1
    assert says(claims["d", "eng-fast"]["claim"], "1 request in flight", "llama.cpp b1")
    assert says(claim["claim"], "4 requests in flight", f"{claim['throughput_speedup']:.2f}", claim["windows_paired"])
    assert claim["windows_paired"] >= LEAST_WINDOWS
    assert not {"eng", "eng@4", "eng-again"} & {method for _, method in claims}
    assert audit.found_grid(made) == GRID


def test_a_cumulative_average_read_as_a_requests_is_caught_by_the_accounting(results):
    total = [0, 0, 0]

    def cumulative(turn, said):
        for number, key in enumerate(("verification_steps", "drafted", "accepted")):
            total[number] += said[key]
            said[key] = total[number]

    edit_samples(results, "eng-fast@4", served(cumulative))
    caught(results, ACCOUNTING)


def test_a_comparator_that_a_flag_of_its_server_slows_is_refused(results):
    def slower(facts):
        facts["conditions"]["server"] = ["1" if word == "512" else word for word in facts["conditions"]["server"]]

    edit_run(results, "eng@4", slower)
    with refused("m/d", ("server", "-b 1", "-b 512")):
        speedup_table.build(GRID, results, results)
    assert ("same other conditions", "eng-fast@4") in found(results)


def test_a_flag_that_one_process_had_not_is_found(results):
    edit_run(results, "eng@4", lambda facts: facts["pieces"][0]["server_command"].remove("--no-cache-prompt"))
    assert ("the server had the flags that are compared", "eng@4") in found(results)


def test_drafts_past_the_end_counted_by_the_engine_are_caught_by_the_accounting(results):
    """Two of them; one is an accepted end without its bonus token."""

    def past(turn, said):
        said["accepted"] += 2 * (turn["stop_reason"] == "eos")

    edit_samples(results, "eng-fast@4", served(past))
    caught(results, ACCOUNTING)


def test_steps_derived_from_drafts_past_the_end_are_caught_by_the_engines_own_histogram(results):
    """Steps = tokens - accepted, whatever was accepted: the identity holds, and the histogram has more steps."""

    def derived(turn, said):
        more = min(2, said["verification_steps"])
        said["accepted"] += more
        said["verification_steps"] -= more

    edit_samples(results, "eng-fast@4", served(derived))
    caught(results, ACCOUNTING)


def test_a_clock_that_starts_late_is_caught_by_the_chunks(results):
    def late(turn, said):
        turn["decode_seconds"] *= 0.9

    edit_samples(results, "eng-fast@4", served(late))
    caught(results, CHUNKS)


def test_tokens_that_no_chunk_brought_are_caught_by_the_chunks(results):
    def less(turn, said):
        said["chunk_tokens"][-1] += 1

    edit_samples(results, "eng-fast@4", served(less))
    caught(results, CHUNKS)


def test_more_requests_in_flight_than_the_label_says_are_found(results):
    edit_samples(results, "eng-fast@4", served(lambda turn, said: said.update(sent_seconds=0.0)))
    caught(results, LOAD)


def test_another_order_of_admission_than_the_baselines_is_found(results):
    file = results / "m" / "d" / "eng-fast@4" / "samples.jsonl"
    first, second, *rest = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join([second, first, *rest]), encoding="utf-8")
    assert (LOAD, "eng-fast@4") in found(results)
