"""Choosing a shape: the dynamic programme, what a recorded step says of narrower shapes, and on which texts."""

from __future__ import annotations

import json
import random
from typing import Any

import analysis_steps
import jsonschema
import pytest
import tiny_folder
from refusals import refused
from results_folder import CHAIN, GRID, write_all, write_run
from tables import CPU, Table, TableDrafter, TableTarget, topologies
from tiny import CONTEXT, VOCAB, ours

from longspec.analysis import tables
from longspec.config import specs
from longspec.config.load import load
from longspec.core import registry
from longspec.core.records import Prompt, Turn
from longspec.decoding.autotune import tuning
from longspec.decoding.autotune.prediction import Costs, Step, acceptance_by_rank, predict, recorded
from longspec.decoding.autotune.sequoia import BestTrees
from longspec.decoding.autotune.tuning import Probe
from longspec.decoding.interfaces import Tunable
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree
from longspec.decoding.sampling import Settings
from longspec.decoding.tree import TokenTree
from longspec.decoding.verifiers import keyed
from longspec.drafters.ngram import NGramDrafter
from longspec.measure import session

AUTO = {"sequential": sequential.Method("auto"), "tree": tree.Method("auto")}
OPTION = {"sequential": "gamma", "tree": "tree_shape"}
FREE = Costs(dict.fromkeys(tuning.BUCKETS, 1.0), {1: 0.0}, 0.0)


def value(parents: list[int], acceptance: list[list[float]]) -> float:
    """Expected accepted drafts of one topology, by the definition."""
    chance, depth, children = [1.0], [0], [0] * len(parents)
    for parent in parents[1:]:
        rank, below = children[parent], depth[parent]
        known = below < len(acceptance) and rank < len(acceptance[below])
        children[parent] += 1
        chance.append(chance[parent] * acceptance[below][rank] if known else 0.0)
        depth.append(below + 1)
    return sum(chance[1:])


@pytest.mark.parametrize("seed", range(12))
def test_the_programme_finds_the_best_of_all_trees(seed: int) -> None:
    rng = random.Random(seed)
    acceptance = [[rng.random() for _ in range(rng.choice([1, 2, 4]))] for _ in range(rng.choice([1, 2, 3, 6]))]
    best = BestTrees(acceptance, 6)
    for drafts in range(1, 7):
        found = max(value(parents, acceptance) for parents in topologies(1 + drafts))
        assert best.expected(drafts) == pytest.approx(found)
        parents = best.parents(drafts)
        assert value(parents, acceptance) == pytest.approx(found)
        assert sum(best.widths(drafts)) == len(parents) - 1 <= drafts


def test_a_trees_widths_follow_what_is_accepted() -> None:
    chain, bush = [[0.9, 0.0]] * 4, [[0.3, 0.3, 0.3]] * 4
    assert BestTrees(chain, 4).widths(4) == [1, 1, 1, 1]
    assert BestTrees(bush, 3).widths(3) == [3]


def test_a_recorded_step_knows_the_ranks_of_its_path() -> None:
    drafts = TokenTree([9, 1, 2, 3, 4, 5], [-1, 0, 0, 2, 1, 2], [0, 1, 1, 2, 2, 2])
    step = recorded(drafts, [2, 5, 7])
    assert step.path == [0, 2, 5]
    assert [step.rank(depth) for depth in (0, 1)] == [1, 1]
    assert acceptance_by_rank([step]) == [[0, 1], [0, 1]]
    assert [step.cut(widths) for widths in ([1, 9], [2, 1], [2, 2], [2, 3], [2])] == [
        (0, [1, 1]), (1, [2, 1]), (1, [2, 2]), (2, [2, 3]), (1, [2])
    ]  # fmt: skip
    assert recorded(drafts, [8]).path == [0]


def sampling(seed: int) -> keyed.Verifier:
    return keyed.Verifier(Settings(temperature=0.7), seed, 6, CPU)


def run(method: Any, seed: int, tokens: int) -> Turn:
    """A text of two tables; the drafter's is the target's for even seeds."""
    drafter = TableDrafter(Table(6, seed + seed % 2, order=1))
    return generate(TableTarget(Table(6, seed, order=1)), method, drafter, [1, 2], Limits((), tokens), sampling(seed))


def predicted_length(name: str, widths: list[int], seed: int, tokens: int) -> float:
    probe = Probe(AUTO[name], 1e9)
    steps = probe.steps(run(probe, seed, tokens).output_ids)
    assert len(steps) == tokens - 1
    return predict([steps], widths, FREE).acceptance_length


@pytest.mark.parametrize("seed", [0, 1, 3, 5])
def test_a_chains_predicted_length_on_a_text_is_the_one_that_it_has_there(seed: int) -> None:
    for gamma in (1, 2, 5, 32):
        turn = run(sequential.Method(gamma), seed, 200)
        assert predicted_length("sequential", [1] * gamma, seed, 200) == 199 / len(turn.steps)


@pytest.mark.parametrize("seed", [1, 3])
@pytest.mark.parametrize("widths", [[1, 1], [2, 2, 2], [4, 2, 1], [1, 3], [6, 6]])
def test_a_trees_predicted_length_is_at_most_a_little_less_than_it_has(widths: list[int], seed: int) -> None:
    turn = run(tree.Method(widths), seed, 150)
    length = 149 / len(turn.steps)
    assert 0.97 * length < predicted_length("tree", widths, seed, 150) <= length


def test_costs_are_interpolated_and_a_level_costs_one_expansion() -> None:
    costs = Costs({1: 1.0, 3: 2.0, 5: 4.0}, {1: 0.1, 3: 0.3}, 0.01)
    assert costs.step([], 2) == pytest.approx(1.0 + 0.1 + 0.01), "it asked below the root, in vain"
    assert costs.step([1], 1) == pytest.approx(1.5 + 0.1 + 0.01)
    assert costs.step([2, 4], 2) == pytest.approx(6.0 + 0.1 + 0.2 + 0.01)
    assert costs.step([1], 3) == pytest.approx(1.5 + 0.1 + 0.1 + 0.01)


def chains(*accepted: int) -> list[list[Step]]:
    """A text for each number: chains of 32, and at every position that many drafts in a row are right."""
    texts = []
    for length in accepted:
        drafts = TokenTree.rooted_at(0)
        for depth in range(32):
            drafts.add(1 + depth, depth)
        texts.append([recorded(drafts, [*range(1, 1 + length), 99])] * 40)
    return texts


def test_the_shape_with_the_best_throughput_is_chosen() -> None:
    candidates = AUTO["sequential"].candidates([])
    steep = Costs({1: 1.0, 64: 64.0}, {1: 0.0}, 0.0)
    chosen, prediction = tuning.choose(candidates, chains(9, 9), FREE)
    assert chosen.options == {"gamma": 9}, "rows are free; longer ones accept no more, so the shortest of the best"
    assert prediction is not None
    assert prediction.acceptance_length == prediction.speedup == prediction.tokens_per_second == 10
    assert tuning.choose(candidates, chains(0), steep)[0].options == {"gamma": 1}
    assert tuning.choose(candidates, chains(9), steep)[1].speedup <= 1  # type: ignore[union-attr]
    assert tuning.choose(candidates, [[]], FREE) == (candidates[0], None)


def test_a_slow_drafter_makes_drafts_short() -> None:
    lengths = []
    for seconds in (0.0, 0.05, 0.2, 0.6):
        costs = Costs(FREE.target, {1: seconds}, 0.0)
        found = tuning.choose(AUTO["sequential"].candidates([]), chains(0, 1, 2, 3, 4, 6, 8, 16), costs)
        lengths.append(found[0].options["gamma"])
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) > 2


@pytest.mark.parametrize("name", AUTO)
def test_every_candidate_is_a_valid_setting_within_what_was_measured(name: str) -> None:
    rng = random.Random(5)
    widest, described = AUTO[name], registry.options("methods", name)
    for depth in (0, 1, 5, 24):
        found = widest.candidates([sorted((rng.random() / 3 for _ in range(8)), reverse=True)] * depth)
        assert found
        for candidate in found:
            assert set(candidate.options) == set(described)
            jsonschema.validate(candidate.options[OPTION[name]], described[OPTION[name]])
            made = type(widest)(**candidate.options)
            assert made.max_nodes == 1 + sum(candidate.widths) <= tuning.BUCKETS[-1]
            assert not made.auto


def test_auto_is_a_setting_and_other_words_are_not() -> None:
    entries = {"m": {"path": "m"}}, {"d": {"source": "jsonl", "path": "d", "template": "{q}", "max_new_tokens": 4}}
    raw = {"models": entries[0], "datasets": entries[1], "methods": {"vanilla": {"method": "vanilla"}}}
    for name, option in OPTION.items():
        raw["methods"][name] = {"method": name, "drafter": "ngram", option: "auto"}
    assert load(raw).methods["tree"].tree_shape == "auto"
    raw["methods"]["tree"]["tree_shape"] = "wide"
    with refused("methods.tree.tree_shape", "'wide'", "auto"):
        load(raw)


def prompt(name: str, ids: list[int]) -> Prompt:
    return Prompt(name, [" ".join(map(str, ids))], ids, False)


def ids_of(message: str, chat: bool) -> list[int]:
    return [int(word) for word in message.split(" ")]


def test_texts_are_never_measured_prompts() -> None:
    measured = [prompt("a", [1, 2, 3]), prompt("b", [2, 3, 1]), prompt("c", [4]), prompt("d", [4, 4])]
    spare = [prompt("a", [7, 7]), prompt("e", [1, 2, 3]), prompt("f", [5, 6])]
    assert tuning.texts(measured, spare, ids_of) == ([[5, 6]], tuning.SPARE)
    assert tuning.texts(measured[:1], [], ids_of)[0] == [[2, 3, 1]]
    for some in (measured, measured[:1], measured[3:]):
        found, source = tuning.texts(some, [prompt(some[0].sample_id, [7]), prompt("e", some[-1].prompt_ids)], ids_of)
        assert len(found) == len(some)
        assert all(ids not in [p.prompt_ids for p in some] for ids in found)
        assert source == tuning.EXCHANGED


@pytest.mark.parametrize("name", AUTO)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_method_is_tuned_on_a_real_model(name: str, temperature: float) -> None:
    target, settings = ours("llama"), Settings(temperature=temperature)
    limits = Limits(frozenset({2}), 24, CONTEXT)
    method, facts = tuning.tune(
        AUTO[name], target, NGramDrafter(3, 1), [[3, 4, 5, 3, 4], list(range(3, VOCAB))], limits,
        lambda number: keyed.Verifier(settings, number, VOCAB, CPU),
    )  # fmt: skip
    assert isinstance(method, Tunable)
    assert not method.auto
    assert json.loads(json.dumps(facts))["options"] == facts["options"]
    assert getattr(method, OPTION[name]) == facts["options"][OPTION[name]]
    assert facts["positions"] > 0
    assert facts["texts"] == 2
    assert facts["predicted"]["tokens_per_second"] > 0
    assert set(facts["costs"]["target"]) == set(tuning.BUCKETS)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tiny_folder.make(tmp_path_factory.mktemp("model"))
    raw = {
        "models": {"m": {"path": str(folder)}},
        "datasets": {"d": {"source": "jsonl", "path": "d", "template": "{q}", "max_new_tokens": 16}},
        "methods": {
            "vanilla": {"method": "vanilla"},
            "auto": {"method": "tree", "drafter": "ngram", "min_ngram": 1, "tree_shape": "auto"},
        },
        "dtype": "float32",
        "device": "cpu",
    }
    return specs.generate_spec(load(raw), "m", "d", "auto")


@pytest.mark.parametrize("spare", [[], [prompt("s", [5, 6, 7, 5, 6])]], ids=["none spare", "one spare"])
def test_a_job_tunes_before_it_measures_and_on_other_texts(job, spare) -> None:
    measured = [prompt(f"p{n}", [3 + n, 4, 5, 6 + n]) for n in range(3)]
    runner = session.Runner(job)
    ran: list[list[int]] = []
    append = runner.backend.target.append
    runner.backend.target.append = lambda ids: (ran.append(list(ids)), append(ids))[1]
    tuned = runner.tune(measured, spare)
    assert tuned is not None
    assert runner.backend.method.tree_shape == tuned["options"]["tree_shape"]
    assert len(ran) >= 2, "a probe, and the forwards that were timed"
    assert all(ids != p.prompt_ids for ids in ran for p in measured)
    assert runner.tune(measured, spare) is None, "nothing is left to choose"
    runner.backend.method, before = AUTO["tree"], len(ran)
    assert runner.tune(measured, spare, {"options": {"tree_shape": [5]}}) == {"options": {"tree_shape": [5]}}
    assert (runner.backend.method.tree_shape, len(ran)) == ([5], before), "another process of this job has chosen"


def test_the_table_sets_predictions_beside_measurements(tmp_path) -> None:
    write_all(tmp_path)
    file = tmp_path / "m" / "d" / "chain" / "run.json"
    facts = json.loads(file.read_text())
    predicted = {"tokens_per_second": 6.0, "acceptance_length": 2.5, "speedup": 3.0}
    shared = {"candidates": 32, "texts": 8, "texts_are": "rows", "positions": 40, "seconds": 1.5}
    file.write_text(json.dumps({**facts, "tuning": {"options": {"gamma": 3}, "predicted": predicted, **shared}}))
    analysis_steps.run(tmp_path, GRID, "metrics", "speedup")
    (row,) = tables.read(tmp_path / "tuning.csv").to_dict("records")
    assert (row["method"], row["chosen"], row["tuning_seconds"]) == ("chain", '{"gamma": 3}', 1.5)
    assert (row["predicted_speedup"], row["measured_speedup"]) == (3.0, 2.5)
    assert (row["predicted_tokens_per_second"], row["measured_tokens_per_second"]) == (6.0, 5.0)
    assert (row["predicted_acceptance_length"], row["measured_acceptance_length"]) == (2.5, 2.0)
    write_run(tmp_path, "chain", CHAIN)
    (tmp_path / "tuning.csv").unlink()
    analysis_steps.run(tmp_path, GRID, "speedup")
    assert not (tmp_path / "tuning.csv").exists()
