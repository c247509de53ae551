"""Windows, load and acceptance of a served engine, worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from results_folder import facts_of, record

from longspec.analysis import acceptance, intervals, load, runs, speedup, speedup_table, timings, verdict, windows
from longspec.core.records import Comparison, Prompt, Sample, Served, Turn
from longspec.core.run_record import RunRecord

SERVER = {"loop": "an engine", "server": ["-b", "512"], "concurrency": 2}
PLAIN = {
    "a": (0, [(1, 1), (2, 1), (3, 1)]),
    "b": (0, [(1, 1), (4, 3)]),
    "c": (3, [(4, 1), (7, 2)]),
    "d": (4, [(5, 1), (6, 1)]),
    "e": (6, [(8, 1), (10, 1)]),
}
"""Two in flight, in order of admission: when sent, and each chunk's time and tokens."""
FAST = {name: (sent / 2, [(t / 2, n) for t, n in chunks]) for name, (sent, chunks) in PLAIN.items()}
FAST["e"] = (3, [(4, 1), (6, 1)])


def answer(sent, chunks, said=(None, None, None), reason="limit", **more):
    times = [time - sent for time, _ in chunks]
    sizes = [size for _, size in chunks]
    served = Served(sent, sizes, times, more, *said)
    decode = times[-1] - times[0]
    return Turn(9, "h", list(range(sum(sizes))), [], times[0], 0.0, decode, reason, sizes[0], times[-1], served)


def run_of(requests, method="eng@2", speculation=None, pieces=(0,), repeat=0, **facts):
    samples = [
        Sample(name, repeat, [request if isinstance(request, Turn) else answer(*request)])
        for name, request in requests.items()
    ]
    made = facts_of(method, **{**SERVER, **facts})
    made["spec"] = {"method": {"name": method, "method": "llamacpp", "speculation": speculation}}
    made["pieces"] = [{**made["pieces"][0], "first_sample": first} for first in pieces]
    prompts = {name: Prompt(name, ["hi"], [1], True) for name in requests}
    return runs.Run(RunRecord.model_validate(made), samples, prompts, [""] * len(samples))


def cut(run):
    return windows.table(run)[["window", "requests", "tokens", "seconds", "busy"]].to_numpy(object).tolist()


def test_a_window_lasts_to_the_next_ones_admission_and_counts_all_that_arrives_meanwhile():
    """A chunk at the border is the later window's; the last window drains."""
    assert cut(run_of(PLAIN)) == [[0, 2, 3, 3.0, 1], [1, 2, 6, 3.0, 1], [2, 1, 5, 4.0, 0]]


def test_a_slot_that_waits_makes_a_window_that_is_not_busy():
    late = {**PLAIN, "b": (0, [(1, 1), (2.5, 3)])}
    assert [row[-1] for row in cut(run_of(late))] == [0, 0, 0]


def test_where_another_process_goes_on_its_clock_is_not_held_against_the_first_ones():
    """The window before has no end; the new process's own are known."""
    found = cut(run_of(PLAIN, pieces=(0, 2)))
    assert pd.isna(found[0][3])
    assert found[1][2:] == [2, 3.0, 0], "what b still gets is of the other process"


def test_a_window_whose_first_sample_was_lost_has_no_seconds_and_ends_none():
    lost = Turn(9, "h", [], [], 0.0, 0.0, 0.0, "server_error")
    assert [pd.isna(row[3]) for row in cut(run_of({**PLAIN, "c": lost}))] == [True, True, False]


def test_alone_a_window_is_a_sample_and_its_own_seconds():
    found = cut(run_of(PLAIN, "eng", concurrency=1))
    assert found == [
        [n, 1, tokens, seconds, 1] for n, (tokens, seconds) in enumerate([(3, 3), (4, 4), (3, 4), (2, 2), (2, 4)])
    ]


def test_our_loop_has_no_windows():
    assert windows.table(run_of(PLAIN, server=None)).empty


def test_the_load_of_an_engine_by_hand():
    asked = {**PLAIN, "a": answer(*PLAIN["a"], decode=1.5)}
    run = run_of(asked)
    run.samples[0] = dataclasses.replace(run.samples[0], surroundings={"client_cores": 0.02})
    row = load.row(run, windows.table(run), drafts=False)
    hand = {
        "requests": 5, "window_tokens_per_second": 9 / 6, "makespan_seconds": 10, "makespan_tokens_per_second": 1.4,
        "ttft_p50_seconds": 1, "ttft_p95_seconds": 1.8, "tpot_p50_seconds": 1, "tpot_p95_seconds": 1.9,
        "server_decode_seconds": 1.5, "client_decode_seconds": 2, "server_over_client": 0.75, "client_cores": 0.02,
    }  # fmt: skip
    assert {name: row[name] for name in hand} == pytest.approx(hand)
    assert not any(name.startswith("acceptance") for name in row)


TOLD = {
    "a": answer(*PLAIN["a"], (2, 1, 0)),
    "b": answer(*PLAIN["b"], (1, 4, 2)),
    "c": answer(*PLAIN["c"], (None, 4, None), "eos"),
    "d": answer(*PLAIN["d"], (1, 2, 0), "eos"),
    "e": answer(*PLAIN["e"], (1, 0, 0)),
}
"""c's counts are not known, so that d, which ended as it did and accepted nothing, is not taken either."""


def test_acceptance_of_totals_is_pooled_over_the_texts_that_are_told():
    run = run_of(TOLD)
    steps = acceptance.Steps(run)
    row = acceptance.row(run, True, steps)
    assert row["acceptance_rate"] == pytest.approx(2 / 5)
    assert row["acceptance_length"] == pytest.approx(6 / 4)
    assert (row["verification_steps"], row["uncounted_turns"], row["depth"]) == (4, 2, None)
    assert not acceptance.each_step(run, steps)
    made = load.row(run, windows.table(run), drafts=True)
    assert made["acceptance_rate_per_request"] == pytest.approx((0 / 1 + 2 / 4) / 2)
    assert made["acceptance_length_per_request"] == pytest.approx((2 / 2 + 3 / 1 + 1 / 1) / 3)


def test_steps_that_are_told_are_counted_each():
    steps = [(4, 3, 2), (0, 0, 0)]
    turn = dataclasses.replace(answer(0, [(1, 1), (2, 3), (3, 1)], (2, 4, 2)), steps=steps)
    run = run_of({"a": turn})
    assert acceptance.each_step(run, acceptance.Steps(run))
    assert acceptance.row(run, True, acceptance.Steps(run))["depth"] == 3


def test_counts_that_an_engine_does_not_tell_are_empty_and_the_window_is_numbered():
    table = timings.timings(run_of(TOLD)).set_index("sample_id")
    assert table["window"].tolist() == [0, 0, 1, 1, 2]
    assert table.loc["b", ["verification_steps", "drafted_tokens", "accepted_tokens"]].tolist() == [1, 4, 2]
    assert table.loc["c", ["verification_steps", "drafted_tokens", "accepted_tokens"]].isna().all()
    assert timings.throughput(timings.timings(run_of(TOLD)), run_of(TOLD))["throughput_tokens_per_second"] > 0
    assert timings.timings(run_of(TOLD, "eng", concurrency=1))["window"].isna().all()


def compared():
    ours, theirs = run_of(FAST, "fast@2"), run_of(PLAIN)
    tables = [timings.timings(run) for run in (ours, theirs)]
    return speedup.compare(*tables, 1, (windows.table(ours), windows.table(theirs)))


def test_what_one_user_feels_is_a_ratio_of_sums_with_windows_for_samples():
    figures = compared()
    assert figures.speedup.value == pytest.approx((9 / 6.5) / (9 / 11))
    by_window = np.array([[5, 2.5, 5, 5], [3, 2, 3, 4], [1, 2, 1, 2]], float)
    assert figures.speedup[1:] == pytest.approx(intervals.paired(by_window))


def test_what_the_operator_gains_is_of_the_windows_in_which_both_are_busy():
    figures = compared()
    assert figures.throughput_speedup.value == pytest.approx((9 / 3) / (9 / 6))
    assert figures.windows_paired == 2
    ends = [end / figures.throughput_speedup.value for end in figures.throughput_speedup]
    assert ends == pytest.approx([end / figures.end_to_end_speedup.value for end in figures.end_to_end_speedup])


def test_a_prompt_in_two_windows_is_not_two_prompts():
    """Two repeats that say the same of each prompt, cut into other windows: as little is known as from one."""
    rng = np.random.default_rng(0)
    once = np.column_stack([np.full(48, 10.0), rng.lognormal(0, 0.3, 48), np.full(48, 10.0), np.full(48, 1.0)])
    prompts = np.concatenate([np.arange(48), rng.permutation(48)])
    twice = np.concatenate([once, once[prompts[48:]]])
    cut = intervals.grouped(twice, np.arange(96) // 4)
    naive, careful = intervals.paired(cut), intervals.paired(cut, more=intervals.across(twice, prompts))
    alone = intervals.paired(once)
    width = [np.log(high / low) for low, high in (naive, careful, alone)]
    assert width[0] < 0.8 * width[2]
    assert width[1] == pytest.approx(width[2], rel=0.15)
    assert intervals.across(once, np.arange(48)) == intervals.NOTHING_MORE


def records(**changed):
    entries = {"vanilla": None, "eng@2": None, "again@2": None, "fast@2": {"x": 1}, "wide@2": {"x": 2}}
    made = {name: run_of(PLAIN, name, said, **changed.get(name, {})).record for name, said in entries.items()}
    return {**made, "vanilla": record("vanilla"), "chain": record()}


GRID = {"methods": [], "cells": {}, "baseline": "vanilla", "reference": None,
        "baselines": dict.fromkeys(("eng@2", "again@2", "fast@2", "wide@2"), "eng@2")}  # fmt: skip
VERDICTS = dict.fromkeys(("chain", "eng@2", "again@2", "fast@2", "wide@2"), "identical")


def rows(verdicts=VERDICTS, **changed):
    def at(factor):
        """Every second sample a little off, so that there is an interval."""
        return {
            name: answer(sent, [(sent + (t - sent) * factor * (1 + 0.02 * (name in "ace")), n) for t, n in chunks])
            for name, (sent, chunks) in PLAIN.items()
        }

    factors = {"vanilla": 4, "chain": 2, "eng@2": 1, "again@2": 1.1, "fast@2": 0.5, "wide@2": 0.8}
    made = {name: timings.timings(run_of(at(factor), name)) for name, factor in factors.items()}
    for name in ("vanilla", "chain"):
        made[name] = made[name].assign(window=pd.NA)
    found = speedup_table.cell(GRID, records(**changed), verdicts, made)
    return {row.method: row for row in found}


def test_each_group_has_its_own_baseline_floor_and_fastest():
    found = rows()
    assert list(found) == list(VERDICTS)
    assert {row.method: row.baseline for row in found.values()} == {
        **dict.fromkeys(GRID["baselines"], "eng@2"),
        "chain": "vanilla",
    }
    assert {row.method for row in found.values() if row.fastest} == {"chain", "fast@2"}
    assert found["fast@2"].figures.variants == 2
    assert found["chain"].figures.variants == 1
    again = found["again@2"]
    assert again.same_as_baseline
    assert again.figures.speedup.value == pytest.approx(1 / 1.1)
    assert found["fast@2"].noise_floor == pytest.approx(max(1 / again.figures.speedup.low, again.figures.speedup.high))
    assert np.isnan(found["chain"].noise_floor)


def test_an_engine_alone_has_no_ratio_but_that_over_our_loop():
    plain = rows()["eng@2"]
    assert np.isnan(
        [*plain.figures.speedup, *plain.figures.end_to_end_speedup, *plain.figures.throughput_speedup]
    ).all()
    assert plain.over_reference.value == pytest.approx(4.0)
    assert rows()["fast@2"].over_reference.value == pytest.approx(8.0)
    assert (plain.reference, plain.same_as_baseline, plain.fastest, plain.peer) == ("vanilla", 0, 0, 0)


def test_engines_that_differ_are_said_of_their_group_alone():
    found = rows({**VERDICTS, "eng@2": "engines differ"})
    assert {row.verdict for row in found.values() if row.baseline == "eng@2"} == {"engines differ"}
    assert found["chain"].verdict == "identical"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"server": ["-b", "1"]}, ("server", "-b 1", "-b 512")),
        ({"server": ["-b", "512", "--spill", "-1"]}, ("server", "--spill -1")),
        ({"server": ["-b", "512"], "concurrency": 4}, ("concurrency", 4, 2)),
        ({"loop": "an engine of another version"}, "loop"),
        ({"schedule": "another"}, "schedule"),
    ],
)
def test_two_servers_share_everything_but_speculation(changed, named):
    with refused("m/d", named):
        rows(**{"fast@2": changed})


def test_an_engine_may_differ_from_our_loop_in_its_server_and_not_in_what_is_asked():
    assert rows()["eng@2"].over_reference.value > 0
    with refused("m/d", "max_new_tokens"):
        rows(**{name: {"max_new_tokens": 9} for name in GRID["baselines"]})


def judged(comparison, served=True, dtype="float32"):
    run = record("fast@2", dtype=dtype, **({"server": [], "loop": "e"} if served else {}))
    other = record("eng@2", dtype=dtype, server=[], loop="e") if served is True else record("vanilla", dtype=dtype)
    return verdict.row(run, other, [comparison])["verdict"]


def parted(**facts):
    return Comparison("a", 0, False, 0, 3, **{"rounding": 0.0, "flips": False, "scale": 20.0, **facts})


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"gap": 1.0, "engine_repeats": True}, "not lossless"),
        ({"gap": 1.0, "engine_repeats": False}, "engine not batch-invariant"),
        ({"gap": 1.0}, "not lossless"),
        ({"gap": 1e-5, "rounding": 2e-5, "engine_repeats": False}, "ties only"),
        ({"gap": None, "rounding": None, "scale": None, "engine_repeats": False}, "engine not batch-invariant"),
    ],
)
def test_drafts_are_judged_by_the_engines_own_scores_and_by_whether_it_repeats_itself(facts, expected):
    assert judged(parted(**facts)) == expected


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (1e-4, "ties only"),
        (-1e-4, "ties only"),
        (0.1, "engines differ"),
        (-0.1, "engines differ"),
        (None, "engines differ"),
    ],
)
def test_an_engine_alone_is_judged_by_what_rounds_between_two_engines(gap, expected):
    assert judged(parted(gap=gap), served="plain") == expected


def test_a_fault_of_drafts_is_worse_than_an_engine_that_does_not_repeat():
    run, other = (record(name, server=[], loop="e") for name in ("fast@2", "eng@2"))
    both = [parted(gap=1.0, engine_repeats=said) for said in (False, True)]
    assert verdict.row(run, other, both)["verdict"] == "not lossless"
