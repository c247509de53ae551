"""Faults of other harnesses and engines, planted in results or in a drafter, and the check that sees each.

docs/trust.md lists them. The files cannot tell how many were drafted, nor what a drafter remembers: there the loop is
asked.
"""

from __future__ import annotations

import time

import pytest
from made_up import GRID, edit_run, edit_samples, failures
from refusals import refused, says
from test_planted_faults import caught, edit_cell, found_in
from tiny import CONTEXT, ours

from longspec.analysis import speedup_table, tables
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential
from longspec.drafters import ngram
from longspec.drafters.causal_lm import CausalLMDrafter

LIMITS = Limits(frozenset(), 24, CONTEXT)
PROMPT = [4, 7, 9, 4, 7, 9, 4, 7]


def of(place, method):
    """The rows of timings.csv of one method on data set d."""
    table = tables.read(place / "timings.csv")
    return table[(table["dataset"] == "d") & (table["method"] == method)]


def decoded(rows):
    return rows["output_tokens"] - rows["prefill_tokens"]


def planted(place, name, column, value):
    """Put a figure into the row of (d, wide); what the audit of files finds."""
    edit_cell(place, name, column, lambda r: str(value) if (r["dataset"], r["method"]) == ("d", "wide") else r[column])
    return any(says(finding, name, column) for finding in found_in(place))


def test_without_a_fault_the_figures_computed_here_are_the_tables(results):
    rows, base = of(results, "wide"), of(results, "vanilla")
    tau = decoded(rows).sum() / rows["verification_steps"].sum()
    table = tables.read(results / "acceptance.csv").set_index(["dataset", "method"])
    assert table.loc[("d", "wide"), "acceptance_length"] == pytest.approx(tau)
    assert set(failures(results)["rule"]) == set()
    assert len(base) == len(rows) > 1


def test_an_unweighted_mean_of_acceptance_per_request_is_caught_by_recomputing(results):
    rows = of(results, "wide")
    assert planted(results, "acceptance.csv", "acceptance_length", (decoded(rows) / rows["verification_steps"]).mean())


def test_a_ratio_of_averages_of_rates_is_caught_by_recomputing(results):
    rates = [(decoded(rows) / rows["decode_seconds"]).mean() for rows in (of(results, "wide"), of(results, "vanilla"))]
    assert planted(results, "speedup.csv", "speedup", rates[0] / rates[1])


def test_a_clock_that_starts_after_the_first_draft_is_caught_by_the_whole(results):
    def late(row):
        for turn in row["turns"]:
            turn["decode_seconds"] *= 1 - 1 / len(turn["steps"])

    edit_samples(results, "wide", late)
    caught(results, "times are whole")


def test_accepted_drafts_past_the_end_are_caught_by_the_accounting(results):
    def past(row):
        turn = row["turns"][0]
        if turn["stop_reason"] == "eos" and turn["steps"]:
            turn["steps"][-1] = [count + 2 for count in turn["steps"][-1]]

    edit_samples(results, "wide", past)
    caught(results, "tokens are those of the steps")


def test_counters_of_the_server_read_as_the_requests_are_caught_by_the_accounting(results):
    served = []

    def cumulative(row):
        served.extend(row["turns"][0]["steps"])
        row["turns"][0]["steps"] = list(served)

    edit_samples(results, "wide", cumulative)
    caught(results, "tokens are those of the steps")


def test_counters_that_move_when_a_request_ends_are_caught_by_the_accounting(results):
    before = [[]]

    def late(row):
        before.append(row["turns"][0]["steps"])
        row["turns"][0]["steps"] = before[-2]

    edit_samples(results, "wide", late)
    caught(results, "tokens are those of the steps")


def test_accepted_counted_by_the_configured_width_is_caught_by_the_accounting(results):
    def width(row):
        row["turns"][0]["steps"] = [[max(drafted, 3)] * 3 for drafted, *_ in row["turns"][0]["steps"]]

    edit_samples(results, "wide", width)
    caught(results, "tokens are those of the steps")


@pytest.mark.parametrize(("condition", "slower"), [("threads", 1), ("engine", "slower"), ("device", "slower")])
def test_a_comparator_that_a_flag_slows_is_refused(results, condition, slower):
    edit_run(results, "vanilla", lambda facts: facts["conditions"].update({condition: slower}))
    with refused("m/d", condition):
        speedup_table.build(GRID, results, results)
    assert "same number format, attention and device" in set(failures(results)["rule"])


DEFAULTS = {name: option["default"] for name, option in ngram.OPTIONS.items()}


class Wrapped:
    """The n-gram drafter, which may be slow, or remember what it saw before; it counts what it drafted."""

    def __init__(self, slow=0.0, remembers=False):
        self.slow, self.remembers, self.seen, self.drafted = slow, remembers, [], 0
        self.drafter = ngram.make(ours("llama"), **DEFAULTS)

    def prefill(self, ids, capacity):
        time.sleep(self.slow)
        self.drafter.prefill([*self.seen, *ids] if self.remembers else ids, capacity)
        self.seen += ids

    def expand(self, tree, nodes, width, rule):
        time.sleep(self.slow if nodes == [0] else 0)
        asked = self.drafter.expand(tree, nodes, width, rule)
        self.drafted += sum(len(found) for found in asked)
        return asked

    def commit(self, emitted, tree, path):
        self.seen += emitted
        self.drafter.commit(emitted, tree, path)


def answered(drafter, prompt=PROMPT):
    return generate(ours("llama"), sequential.Method(4), drafter, prompt, LIMITS)


def test_the_clock_holds_the_first_draft_and_keeps_the_drafters_prefill_apart():
    turn = answered(Wrapped(slow=0.05))
    assert turn.drafter_prefill_seconds >= 0.05
    assert turn.decode_seconds >= 0.05 * len(turn.steps), "the first draft is in it, as each is"


def test_drafts_are_counted_as_made_and_not_by_the_configured_width():
    drafter = Wrapped()
    turn = answered(drafter, [3, 5, 8, 11])
    assert sum(step[0] for step in turn.steps) == drafter.drafted < 4 * len(turn.steps)


def forgets(drafter):
    """Whether a prompt that is answered again takes the same steps; its tokens cannot tell."""
    first, second = answered(drafter), answered(drafter)
    assert first.output_ids == second.output_ids
    return first.steps == second.steps


def test_a_drafter_that_remembers_the_run_before_takes_other_steps():
    assert not forgets(Wrapped(remembers=True))


def test_our_drafters_forget_the_run_before():
    assert forgets(Wrapped())
    assert forgets(CausalLMDrafter(ours("llama", num_hidden_layers=1), 24))
