"""The journals of one job: measured in a drawn order, and kept or begun afresh together."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from longspec.config.load import load
from longspec.config.plan import schedule
from longspec.core.records import Prompt, Sample, Turn, read_records
from longspec.measure import order
from longspec.measure.journal import tidy
from longspec.measure.ledger import Ledger

METHODS = ["vanilla", "chain", "wide"]
PROMPTS = [Prompt(f"s{n}", ["x"], [1, 2], False) for n in range(40)]
CONDITIONS = {"dtype": "float32"}
PIECE = {"started": "", "host": "", "load_seconds": 1.0, "warmup_samples": [], "environment": {}, "engine_note": None,
         "engine_checks": None}  # fmt: skip


def lines(seed=0, methods=METHODS, repeats=2):
    return order.lines(methods, PROMPTS, repeats, seed)


def test_every_sample_is_answered_by_all_methods_before_the_next_begins():
    found = lines()
    for number in range(0, len(found), len(METHODS)):
        group = found[number : number + len(METHODS)]
        assert len({(repeat, prompt.sample_id) for _, repeat, prompt in group}) == 1
        assert {method for method, _, _ in group} == {0, 1, 2}
    assert [(r, p) for m, r, p in found if m == 1] == order.jobs(PROMPTS, 2)


def test_each_method_comes_first_about_as_often_as_any_other_and_repeats_differ():
    firsts = Counter(method for method, _, _ in lines()[:: len(METHODS)])
    assert all(15 <= firsts[method] <= 40 for method in range(3)), firsts
    order = [method for method, _, _ in lines()]
    assert order[: len(order) // 2] != order[len(order) // 2 :]


def test_the_order_follows_from_the_seed_and_the_names_alone():
    assert lines() == lines()
    assert lines(seed=1) != lines()
    named = [METHODS[method] for method, _, _ in lines()]
    turned = METHODS[::-1]
    assert [turned[method] for method, _, _ in lines(methods=turned)] == named


def opened(place, key="k", repeats=1):
    outputs = [(place / name / "samples.jsonl", place / name / "run.json") for name in METHODS]
    for samples, _ in outputs:
        samples.parent.mkdir(exist_ok=True)
    return Ledger(outputs, key, METHODS, PROMPTS[:4], repeats, 0)


def written(place, until, conditions=CONDITIONS):
    ledger = opened(place)
    ledger.begin([conditions] * 3, [PIECE] * 3, [None] * 3)
    while ledger.done < until:
        _, repeat, prompt = ledger.next()
        turn = Turn(2, "h", [5, 6], [(0, 0, 0)], 0.1, 0.0, 0.2, "limit")
        ledger.append(Sample(prompt.sample_id, repeat, [turn], ["x"]))
    return ledger


@pytest.mark.parametrize("standing", range(13))
def test_it_goes_on_at_whatever_line_it_was(tmp_path, standing):
    written(tmp_path, standing)
    assert opened(tmp_path).done == standing
    written(tmp_path, 12).finish([{"method": name} for name in METHODS])
    for name in METHODS:
        made = read_records(tmp_path / name / "samples.jsonl", Sample)
        assert [sample.sample_id for sample in made] == ["s0", "s1", "s2", "s3"]
        facts = json.loads((tmp_path / name / "run.json").read_text())
        assert facts["method"] == name
        assert facts["pieces"][0]["first_sample"] == 0
    tidy(tmp_path)
    assert not list(tmp_path.glob("*/*.partial"))


def test_killed_between_two_methods_outputs_nothing_is_measured_again(tmp_path):
    ledger = written(tmp_path, 12)
    ledger.journals[0].finish({})
    (tmp_path / METHODS[0] / "samples.jsonl").unlink()  # as Snakemake does with incomplete outputs
    (tmp_path / METHODS[0] / "run.json").unlink()
    assert opened(tmp_path).complete


@pytest.mark.parametrize("lost", METHODS)
def test_a_journal_that_is_not_where_the_others_are_begins_all_afresh(tmp_path, lost):
    written(tmp_path, 7)
    (tmp_path / lost / "samples.jsonl.partial").unlink()
    assert opened(tmp_path).done == 0
    ledger = written(tmp_path, 2)
    assert (ledger.done, sum(journal.done for journal in ledger.journals)) == (2, 2)


def test_other_conditions_of_one_begin_all_afresh(tmp_path):
    written(tmp_path, 7)
    ledger = opened(tmp_path)
    ledger.begin([CONDITIONS, {"dtype": "bfloat16"}, CONDITIONS], [PIECE] * 3, [None] * 3)
    assert ledger.done == 0
    assert not list(tmp_path.glob("*/samples.jsonl.partial"))
    assert [len(journal.facts["pieces"]) for journal in ledger.journals] == [1, 1, 1]


def test_a_sample_without_an_outcome_is_its_own_methods_alone(tmp_path):
    ledger = written(tmp_path, 4)
    method = ledger.next()[0]
    ledger.lose("timeout", "no answer within 3 seconds")
    assert ledger.done == 5
    failures = [[failure["cause"] for failure in journal.facts["failures"]] for journal in opened(tmp_path).journals]
    assert failures == [["timeout"] if number == method else [] for number in range(3)]


def test_a_job_of_one_method_runs_in_the_order_of_its_prompts():
    assert lines(methods=["chain"]) == [(0, repeat, prompt) for repeat, prompt in order.jobs(PROMPTS, 2)]


def experiment(schedule):
    methods = {
        "vanilla": {"method": "vanilla"},
        "again": {"method": "vanilla"},
        "chain": {"method": "sequential", "drafter": "ngram"},
    }
    raw = {"models": {"m": {"path": "x"}}, "methods": methods, "schedule": schedule}
    entry = {"source": "jsonl", "path": "d.jsonl", "template": "{q}", "max_new_tokens": 4}
    return load({**raw, "datasets": {"d": entry}})


def test_blocked_jobs_begin_with_the_baseline_and_end_with_its_double():
    complete = experiment("blocked")
    order = sorted(complete.methods, key=lambda name: -schedule.priority(complete, "vanilla", name))
    assert order == ["vanilla", "chain", "again"]
    assert schedule.together(complete, METHODS, "chain") == ["chain"]
    assert schedule.place(complete, "r", "m", "d", "chain") == "r/m/d/chain"


def test_an_interleaved_job_has_every_method_and_one_place():
    complete = experiment("interleaved")
    assert schedule.together(complete, METHODS, None) == METHODS
    assert schedule.place(complete, "r", "m", "d", "chain") == "r/m/d"
