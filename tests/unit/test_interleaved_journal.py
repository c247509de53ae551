"""A journal of several methods: measured in a drawn order, and kept or dropped together."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import pytest
from refusals import refused

from longspec.config import specs
from longspec.config.load import load
from longspec.config.plan import schedule
from longspec.core.records import Prompt, Sample, Turn, read_records
from longspec.core.spec import load_of
from longspec.measure import order
from longspec.measure.entries import Start, samples
from longspec.measure.journal import NAME, Journal, Outputs, tidy

METHODS = ["vanilla", "chain", "wide"]
PROMPTS = [Prompt(f"s{n}", ["x"], [1, 2], False) for n in range(40)]
CONDITIONS = {"dtype": "float32", "prompts_sha256": "h", "repeats": 2, "seed": 0, "verification": "keyed"}
FACTS = {"model": "m", "dataset": "d", "spec": {"method": {"method": "vanilla"}}}
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
    assert [(r, p) for m, r, p in found if m == 1] == [(r, p) for r in range(2) for p in PROMPTS]


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


LOADED = ["a@16", "a", "b@4", "b", "a@4", "b@16"]


def passes(methods, **changed):
    """The passes under load, in order: (label, repeat) and their prompts."""
    found = [(methods[method], repeat, prompt) for method, repeat, prompt in lines(methods=methods, **changed)]
    under_load = [line for line in found if "@" in line[0]]
    assert "@" not in "".join(label for label, _, _ in found[: len(found) - len(under_load)])
    whole = itertools.groupby(under_load, key=lambda line: line[:2])
    return [(named, [prompt for _, _, prompt in group]) for named, group in whole]


def test_one_request_at_a_time_comes_first_as_if_there_were_no_other_load():
    alone = [("a", "b")[method] for method, _, _ in lines(methods=["a", "b"])]
    assert [LOADED[method] for method, _, _ in lines(methods=LOADED)][: len(alone)] == alone
    assert lines(methods=["a"]) == lines(methods=["a", "a@4"])[: 2 * len(PROMPTS)]


def test_under_load_each_method_has_whole_passes_from_the_least_load_on():
    found = passes(LOADED)
    assert [(load_of(label)[1], repeat) for (label, repeat), _ in found] == [
        (load, repeat) for load in (4, 16) for repeat in (0, 0, 1, 1)
    ]
    assert len({named for named, _ in found}) == 8
    by_id = [sorted(asked, key=PROMPTS.index) for _, asked in found]
    assert all(asked == PROMPTS for asked in by_id)


def test_the_order_of_a_pass_is_the_same_for_all_methods_and_another_for_each_load_and_repeat():
    orders = {}
    for (label, repeat), asked in passes(LOADED):
        orders.setdefault((load_of(label)[1], repeat), []).append(asked)
    assert all(first == second for first, second in orders.values())
    assert len({tuple(prompt.sample_id for prompt in first) for first, _ in orders.values()}) == 4


def test_a_job_of_one_method_under_load_has_the_order_of_the_others():
    together = dict(passes(LOADED))
    assert dict(passes(["b@4"])) == {named: asked for named, asked in together.items() if named[0] == "b@4"}


def test_which_method_has_the_first_pass_is_drawn_anew_for_each_load_and_repeat():
    firsts = [label.partition("@")[0] for (label, _), _ in passes(["a@4", "b@4"], repeats=40)[::2]]
    assert 10 <= firsts.count("a") <= 30
    assert passes(["a@4", "b@4"], seed=1) != passes(["a@4", "b@4"])


def opened(place, key="k", repeats=1):
    outputs = {name: Outputs(place / name / "samples.jsonl", place / name / "run.json") for name in METHODS}
    for files in outputs.values():
        files.samples.parent.mkdir(exist_ok=True)
    return Journal(place / NAME, key, outputs, order.lines(METHODS, PROMPTS[:4], repeats, 0))


def starts(**changed):
    return {name: Start(changed.get(name, CONDITIONS), PIECE) for name in METHODS}


def written(place, until, conditions=CONDITIONS):
    journal = opened(place)
    journal.begin(starts(**dict.fromkeys(METHODS, conditions)))
    while journal.done < until:
        _, repeat, prompt = journal.next()
        turn = Turn(2, "h", [5, 6], [(0, 0, 0)], 0.1, 0.0, 0.2, "limit")
        journal.append(Sample(prompt.sample_id, repeat, [turn], ["x"]))
    return journal


@pytest.mark.parametrize("standing", range(13))
def test_it_goes_on_at_whatever_line_it_was(tmp_path, standing):
    written(tmp_path, standing)
    assert opened(tmp_path).done == standing
    written(tmp_path, 12).finish({name: {**FACTS, "method": name} for name in METHODS})
    for name in METHODS:
        made = read_records(tmp_path / name / "samples.jsonl", Sample)
        assert [sample.sample_id for sample in made] == ["s0", "s1", "s2", "s3"]
        facts = json.loads((tmp_path / name / "run.json").read_text())
        assert facts["method"] == name
        assert facts["pieces"][0]["first_sample"] == 0
    tidy(tmp_path)
    assert not list(tmp_path.rglob("*.journal"))


def test_killed_between_two_methods_outputs_nothing_is_measured_again(tmp_path):
    journal = written(tmp_path, 12)
    (tmp_path / METHODS[1] / "run.json").mkdir()
    with pytest.raises(OSError, match=METHODS[1]):
        journal.finish({name: {**FACTS, "method": name} for name in METHODS})
    (tmp_path / METHODS[1] / "run.json").rmdir()
    (tmp_path / METHODS[0] / "samples.jsonl").unlink()  # as Snakemake does with incomplete outputs
    (tmp_path / METHODS[0] / "run.json").unlink()
    tidy(tmp_path)
    assert opened(tmp_path).complete


@pytest.mark.parametrize("gone", METHODS)
def test_it_stays_while_any_of_its_outputs_is_missing(tmp_path, gone):
    written(tmp_path, 12).finish({name: {**FACTS, "method": name} for name in METHODS})
    (tmp_path / gone / "run.json").unlink()
    tidy(tmp_path)
    assert opened(tmp_path).complete


def test_of_an_unfinished_job_each_methods_own_samples_are_read(tmp_path):
    journal = written(tmp_path, 7)
    for number, name in enumerate(METHODS):
        asked = [line.prompt.sample_id for line in journal.lines[:7] if line.method == number]
        assert [sample.sample_id for sample in samples(journal.path)[name]] == asked


def test_a_sample_by_another_method_than_the_order_says_is_refused(tmp_path):
    journal = written(tmp_path, 7)
    begun, *samples = journal.path.read_text().splitlines(keepends=True)
    first, second = METHODS[journal.lines[0].method], METHODS[journal.lines[1].method]
    journal.path.write_text(begun + samples[0].replace(f'"method": "{first}"', f'"method": "{second}"'))
    with refused(f"{NAME}, line 2", second, first):
        opened(tmp_path)


def test_other_conditions_of_one_begin_all_afresh(tmp_path):
    written(tmp_path, 7)
    journal = opened(tmp_path)
    journal.begin(starts(chain={"dtype": "bfloat16"}))
    assert journal.done == opened(tmp_path).done == 0
    assert len(opened(tmp_path).state.pieces) == 1


def test_a_sample_without_an_outcome_is_its_own_methods_alone(tmp_path):
    journal = written(tmp_path, 4)
    method = METHODS[journal.next().method]
    journal.lose("timeout", "no answer within 3 seconds")
    assert journal.done == 5
    failures = opened(tmp_path).state.failures
    assert {name: [failure["cause"] for failure in found] for name, found in failures.items()} == {method: ["timeout"]}


def test_a_job_of_one_method_runs_in_the_order_of_its_prompts():
    assert lines(methods=["chain"]) == [(0, repeat, prompt) for repeat in range(2) for prompt in PROMPTS]


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
    order = sorted(complete.methods, key=lambda name: -schedule.priority(complete, specs.grid(complete), name))
    assert order == ["vanilla", "chain", "again"]
    assert schedule.together(complete, METHODS, "chain") == ["chain"]
    assert schedule.place(complete, "r", "m", "d", "chain") == "r/m/d/chain"


def test_an_interleaved_job_has_every_method_and_one_place():
    complete = experiment("interleaved")
    assert schedule.together(complete, METHODS, None) == METHODS
    assert schedule.place(complete, "r", "m", "d", "chain") == "r/m/d"
