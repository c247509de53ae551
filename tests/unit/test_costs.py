"""Costs and the cost model, worked out by hand; memory by part; the host's load around a sample."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from results_folder import CHAIN, PROMPTS, record
from tiny import glide, ours

from longspec.analysis import costs, taint
from longspec.analysis.runs import Run
from longspec.core.records import STEP_PARTS
from longspec.core.run_record import RunRecord
from longspec.decoding import gumbel, profiling
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.decoding.sampling import GREEDY
from longspec.decoding.verifiers import keyed
from longspec.drafters import ngram
from longspec.measure.host_load import HostLoad
from longspec.models import memory


def run(steps: int, method: dict | None = None, tuned: dict | None = None, **seconds: float) -> RunRecord:
    """A job whose profiled pass took these seconds in all, by part of a step."""
    profile = {"steps": steps, **{f"{part}_seconds": seconds.get(part, 0.0) for part in STEP_PARTS}}
    entry = {"method": "sequential", **(method or {})}
    tuning = {"options": tuned} if tuned else None
    return record(fields={"spec": {"method": entry}, "profile": [profile], "tuning": tuning})


PLAIN = run(10, forward=0.9, other=0.1)
"""0.1 s a step."""
TIMES = {"draft": 0.1, "forward": 0.55, "other": 0.05}
"""Over 5 steps: 0.02 s of drafting a step, 0.12 s of the rest."""
CHAINED = run(5, {"gamma": 2}, **TIMES)
ACCEPTED = costs.Accepted(2, 2.05, 20, [14, 7])


def test_the_cost_model_by_hand():
    row = costs.row(CHAINED, PLAIN, ACCEPTED, 1.4)
    assert row["draft_cost"] == pytest.approx(0.1)
    assert row["verify_cost"] == pytest.approx(1.2)
    assert row["predicted_speedup"] == pytest.approx(2.05 / (2 * 0.1 + 1.2))
    assert row["prediction_gap"] == pytest.approx(2.05 / 1.4 / 1.4 - 1)
    assert row["forward_seconds_per_step"] == pytest.approx(0.11)
    # gamma 1: 1.7 / (0.1 + 1.1) = 1.417; gamma 2: 2.05 / (0.2 + 1.2) = 1.464
    assert (row["best_gamma"], row["best_gamma_speedup"]) == (2, pytest.approx(2.05 / 1.4))
    assert "best_depth" not in row


def test_the_best_depth_of_a_tree_by_hand():
    """v - 1 = 0.2 is for 1 + 4 nodes: 0.04 a node."""
    wide = {"method": "tree", "tree_shape": [1, 4]}
    row = costs.row(run(5, wide, **TIMES), PLAIN, ACCEPTED, 1.4)
    # depth 1: 1.7 / (0.1 + 1.04) = 1.491; depth 2: 2.05 / (0.2 + 1.2) = 1.464
    assert (row["best_depth"], row["best_depth_speedup"]) == (1, pytest.approx(1.7 / 1.14))
    assert "best_gamma" not in row
    tuned = run(5, wide, {"tree_shape": [4, 1]}, **TIMES)
    # depth 1: 1.7 / (0.1 + 1.16) = 1.349
    assert costs.row(tuned, PLAIN, ACCEPTED, 1.4)["best_depth"] == 2


def test_at_full_depth_the_best_cut_is_the_prediction_itself():
    """Also where the drafter drafted in few of the steps: conditional acceptance would say 1 + 0.7 + 0.35 of each."""
    seldom = costs.Accepted(2, 1.105, 200, [14, 7])
    cheap = run(5, {"gamma": 2}, forward=0.4, other=0.05)
    row = costs.row(cheap, PLAIN, seldom, 1.0)
    assert row["best_gamma"] == 2
    assert row["best_gamma_speedup"] == pytest.approx(row["predicted_speedup"])


def test_drafting_that_never_pays_is_best_left():
    assert costs.best_depth([0.01, 0.0001], [1, 1], 0.5, 2.0) == (0, 1.0)


def test_what_is_not_known_stays_empty():
    peer = costs.row(CHAINED.model_copy(update={"profile": None}), PLAIN, replace(ACCEPTED, reached=[]), 0.5)
    assert "draft_cost" not in peer
    assert peer["measured_speedup"] == 0.5
    chain, beam = {"method": "sequential"}, {"method": "tree"}
    gone, peer = {"method": "gone", "gamma": 2}, {"method": "hf_generate", "gamma": 2}
    for shape in ({}, chain, {**chain, "gamma": "auto"}, {**beam, "tree_shape": [4]}, {**beam, "gamma": 2}, gone, peer):
        unknown = costs.row(run(5, shape, **TIMES), PLAIN, ACCEPTED, 1.4)
        assert "draft_cost" in unknown
        assert not {"best_gamma", "best_depth"} & set(unknown)


@pytest.mark.parametrize("method", [vanilla.Method(), sequential.Method(3), tree.Method([2, 2])])
def test_the_profiled_pass_runs_the_same_loop_and_its_parts_make_the_whole(method):
    target, prompt, limits = ours("llama"), [5, 9, 9, 9, 5, 9], Limits((), 30)
    drafter = None if method.max_nodes == 1 else ngram.make(target, max_ngram=3, min_ngram=1, tokens_per_match=None)
    verifier = keyed.Verifier(GREEDY, gumbel.key("x"), target.vocab_size, target.device)
    turn = generate(target, method, drafter, prompt, limits)
    found = profiling.profile(target, method, drafter, prompt, limits, verifier)
    assert found["steps"] == len(turn.steps)
    assert found["drafted_tokens"] == sum(drafted for drafted, _, _ in turn.steps)
    parts = [found[f"{part}_seconds"] for part in STEP_PARTS]
    assert all(part >= 0 for part in parts)
    assert found["forward_seconds"] == max(parts)


def test_memory_is_counted_once_and_by_its_holder():
    target = ours("llama", engine="eager")
    generate(target, vanilla.Method(), None, [3, 4], Limits((), 4))
    alone = memory.by_part(target, None)
    weights = sum(p.numel() * 4 for p in target.model.parameters())
    assert alone["target_weights_bytes"] == pytest.approx(weights, rel=0.05)  # rotary tables are buffers
    assert alone["drafter_weights_bytes"] == alone["drafter_state_bytes"] == 0
    layer = target._cache.stack[0]
    assert alone["kv_cache_bytes"] >= 3 * 2 * layer.values.numel() * 4
    drafter = glide(target, hybrid=False)
    both = memory.by_part(target, drafter)
    assert both["target_weights_bytes"] == alone["target_weights_bytes"]
    own = sum(p.numel() * 4 for p in drafter.layer.model.parameters())
    assert both["drafter_weights_bytes"] >= own
    assert both["drafter_state_bytes"] >= drafter.layer.bytes


def test_a_busy_neighbour_is_seen_and_our_own_work_is_not():
    around = HostLoad(torch.device("cpu"))
    ran = 0
    for _ in range(30):
        ran += int((torch.ones(400, 400) @ torch.ones(400, 400)).sum() > 0)
    found = around.end()
    assert set(found) >= {"other_cores", "stolen_cores", "swapped_bytes", "load"}
    assert all(value >= 0 for value in found.values())


def run_with(*readings: dict[str, float]) -> Run:
    samples = [replace(CHAIN[0], surroundings=reading) for reading in readings]
    return Run(record(), samples, {p.sample_id: p for p in PROMPTS})


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        ({"other_cores": 0.9}, "other processes used 0.90 cores"),
        ({"stolen_cores": 0.5}, "other machines used 0.50 cores"),
        ({"swapped_bytes": 4096}, "4096 bytes swapped"),
        ({"frequency_mhz": 1500}, "frequency_mhz 1500, usually 3000"),
        ({"throttle_reasons": 4}, "the device was throttled (0x4)"),
        ({"device_processes": 2}, "2 other processes on the device"),
    ],
)
def test_a_tainted_sample_says_why(reading, words):
    quiet = {"other_cores": 0.05, "stolen_cores": 0.0, "swapped_bytes": 0, "frequency_mhz": 3000}
    found = taint.reasons(run_with(quiet, {**quiet, **reading}, quiet))
    assert found == [[], [words], []]


def test_without_a_reading_nothing_is_said():
    assert taint.reasons(run_with({}, {})) == [[], []]
