"""Nothing runs a model beyond its last position, tested on GPT-2, whose positions are rows of a table.

A row beyond the table is an IndexError, so that a single forward that goes one too far fails the test.
"""

from __future__ import annotations

import contextlib
import random

import pytest
import tiny_folder
from refusals import refused
from tables import CPU
from tiny import CONTEXT, VOCAB, hf_model, ours

from longspec.backends.peers import hf_generate, hf_prompt_lookup
from longspec.backends.peers._huggingface import Generate
from longspec.core import registry
from longspec.core.records import Prompt
from longspec.data import prepare
from longspec.decoding import profiling
from longspec.decoding.autotune import tuning
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.decoding.sampling import GREEDY, Settings
from longspec.decoding.verifiers import keyed, residual
from longspec.drafters.causal_lm import CausalLMDrafter
from longspec.drafters.ngram import NGramDrafter
from longspec.measure import warmup

METHODS = {"chain": sequential.Method(5), "tree": tree.Method([3, 4, 4, 2]), "deep": tree.Method([2] * 12)}
AUTO = {"chain": sequential.Method("auto"), "tree": tree.Method("auto")}
LENGTHS = [1, 40, CONTEXT - 1, CONTEXT]
LIMITS = Limits(frozenset(), 60, CONTEXT)


def prompt(length: int) -> list[int]:
    return random.Random(length).choices(range(3, VOCAB), k=length)


def verifier(number: int = 0) -> keyed.Verifier:
    return keyed.Verifier(GREEDY, number, VOCAB, CPU)


@pytest.mark.parametrize("shape", METHODS)
@pytest.mark.parametrize("length", LENGTHS)
def test_drafts_stop_at_the_targets_last_position(shape: str, length: int) -> None:
    target, ids = ours("gpt2"), prompt(length)
    expected = generate(target, vanilla.Method(), None, ids, LIMITS)
    for drafter in (NGramDrafter(3, 1), CausalLMDrafter(ours("gpt2"), VOCAB)):
        turn = generate(target, METHODS[shape], drafter, ids, LIMITS)
        assert (turn.output_ids, turn.stop_reason) == (expected.output_ids, expected.stop_reason)


@pytest.mark.parametrize("shape", METHODS)
@pytest.mark.parametrize("context", [8, 25])
def test_a_drafter_stops_where_its_own_context_ends(shape: str, context: int) -> None:
    """The same weights but for fewer positions: it is always right as far as it goes, and then silent."""
    target, small, limits = ours("gpt2"), ours("gpt2"), Limits(frozenset(), 30, CONTEXT)
    small.model.transformer.wpe.weight.data = small.model.transformer.wpe.weight.data[:context].clone()
    small.model.config.max_position_embeddings = context
    drafter, ran = CausalLMDrafter(small, VOCAB), []
    small.model.transformer.wpe.register_forward_pre_hook(lambda _, inputs: ran.append(int(inputs[0].max())))
    reached = set()
    for length in (3, context - 4, context - 1, context, 80):
        expected = generate(target, vanilla.Method(), None, prompt(length), limits)
        ran.clear()
        turn = generate(target, METHODS[shape], drafter, prompt(length), limits)
        assert turn.output_ids == expected.output_ids
        assert all(accepted == offered for _, offered, accepted in turn.steps)
        assert (ran == []) == (length >= context) == (len(turn.steps) == len(turn.output_ids) - 1)
        reached.update(ran)
    assert max(reached) == context - 1, "its last position is of use"


@pytest.mark.parametrize("shape", ["chain", "tree"])
def test_sampling_by_a_drafter_that_falls_silent_goes_on(shape: str) -> None:
    drafter = CausalLMDrafter(ours("gpt2", seed=1, max_position_embeddings=24), VOCAB)
    for seed in range(4):
        drawn = residual.Verifier(Settings(temperature=1.0), seed, VOCAB, CPU)
        assert len(generate(ours("gpt2"), METHODS[shape], drafter, prompt(15), LIMITS, drawn).output_ids) == 60


def test_a_stated_context_of_the_drafter_binds_it_too(tmp_path) -> None:
    tiny_folder.make(tmp_path)
    target = ours("llama", vocab_size=len(tiny_folder.WORDS))
    made = registry.load("drafters", "causal_lm").make
    for context, limit in ((None, 256), (16, 16)):
        entry = {"path": str(tmp_path), **({} if context is None else {"context": context})}
        assert made(target, model=entry, shared_noise=True).context_tokens == limit


@pytest.mark.parametrize("name", AUTO)
@pytest.mark.parametrize("length", [1, 30, CONTEXT - 3, CONTEXT - 1, CONTEXT, CONTEXT + 20])
def test_auto_is_chosen_within_the_context(name: str, length: int) -> None:
    """Also where the only text to tune on fills it, or is a few tokens too long: its halves were exchanged as words."""
    target = ours("gpt2")
    method, facts = tuning.tune(AUTO[name], target, NGramDrafter(3, 1), [prompt(length)], LIMITS, verifier)
    assert max(facts["costs"]["target"]) == tuning.BUCKETS[-1]
    assert facts["context_tokens"] == min(length, CONTEXT - tuning.BUCKETS[-1])
    ids = prompt(40)
    expected = generate(target, vanilla.Method(), None, ids, LIMITS).output_ids
    assert generate(target, method, NGramDrafter(3, 1), ids, LIMITS).output_ids == expected


@pytest.mark.parametrize("context", [1, 2, 3, 20])
def test_auto_measures_what_a_short_context_holds(context: int) -> None:
    target, limits = ours("gpt2", max_position_embeddings=context), Limits(frozenset(), 60, context)
    for name, method in AUTO.items():
        chosen, facts = tuning.tune(method, target, NGramDrafter(3, 1), [prompt(context)], limits, verifier)
        assert not chosen.auto, name
        assert list(facts["costs"]["target"]) == [rows for rows in tuning.BUCKETS if rows < context]


def test_auto_takes_a_text_whose_first_token_ends_it() -> None:
    """No step was taken, so that no draft was recorded."""
    target = ours("gpt2")
    for limits in (Limits(frozenset(range(VOCAB)), 60, CONTEXT), Limits(frozenset(), 1, CONTEXT)):
        _, facts = tuning.tune(AUTO["chain"], target, NGramDrafter(3, 1), [prompt(9)], limits, verifier)
        assert (facts["options"], facts["predicted"], facts["positions"]) == ({"gamma": 1}, None, 0)


def test_warm_up_and_profile_stay_within_the_context() -> None:
    target = ours("gpt2")

    class Backend:
        def answer(self, ids, limits, sample_id, turn):
            return generate(target, METHODS["chain"], NGramDrafter(3, 1), ids, limits)

    for length in (*LENGTHS, CONTEXT + 9):
        warmup.warm_up(Backend(), LIMITS, [Prompt("s", ["x"], prompt(length), False)], 2)
        ids = prompt(min(length, CONTEXT))
        profiling.profile(target, METHODS["tree"], NGramDrafter(3, 1), ids, LIMITS, verifier())


@pytest.mark.parametrize("length", LENGTHS)
def test_peers_stop_there_too(length: int) -> None:
    expected = generate(ours("gpt2"), vanilla.Method(), None, prompt(length), LIMITS).output_ids
    assisted = Generate(hf_model("gpt2"), {}, hf_model("gpt2", num_hidden_layers=2))
    for peer in (hf_generate.make(hf_model("gpt2")), assisted):
        assert peer.answer(prompt(length), LIMITS, GREEDY, 0).output_ids == expected


@pytest.mark.parametrize("drafted", [1, 10])
def test_a_lookup_that_would_run_past_the_table_is_refused(drafted: int) -> None:
    """It drafts past the longest text that it was asked for."""
    peer, most = hf_prompt_lookup.make(hf_model("gpt2"), drafted, 2), CONTEXT + 1 - drafted
    for length in (1, 40, most - 1, most):
        limits = Limits(frozenset(), 60, most)
        expected = generate(ours("gpt2"), vanilla.Method(), None, prompt(length), limits).output_ids
        assert peer.answer(prompt(length), limits, GREEDY, 0).output_ids == expected
        if length + 59 > most:
            with refused("context", length, most):
                peer.answer(prompt(length), Limits(frozenset(), 60, most + 1), GREEDY, 0)


def test_an_assistant_with_fewer_positions_is_refused_and_not_run_past_them() -> None:
    small = Generate(hf_model("gpt2"), {}, hf_model("gpt2", max_position_embeddings=48))
    with refused("context", (5, 59), 48):
        small.answer(prompt(5), LIMITS, GREEDY, 0)
    assert len(small.answer(prompt(5), Limits(frozenset(), 60, 48), GREEDY, 0).output_ids) == 44
    rotary = Generate(hf_model("llama"), {}, hf_model("llama", max_position_embeddings=48))
    assert len(rotary.answer(prompt(5), LIMITS, GREEDY, 0).output_ids) == 60


def test_a_context_beyond_a_table_is_refused(tmp_path) -> None:
    sizes = {"min_prompt_tokens": 0, "max_prompt_tokens": None, "max_new_tokens": 8, "prompt_reserve": None}
    template = {"template": "{q}", "prompt_templates": None, "template_name": None}
    dataset = {"name": "d", "source": "jsonl", "path": "d", "too_long": "truncate", **template, **sizes}
    tiny_folder.make(tmp_path)
    assert prepare.Preparer({"path": str(tmp_path), "context": 300}, dataset).longest == 292
    hf_model("gpt2", vocab_size=len(tiny_folder.WORDS)).save_pretrained(tmp_path)
    with refused("context", 300, CONTEXT):
        prepare.Preparer({"path": str(tmp_path), "context": 300}, dataset)
    assert prepare.Preparer({"path": str(tmp_path), "context": CONTEXT}, dataset).longest == CONTEXT - 8


def test_positions_that_are_not_there_are_an_error() -> None:
    """What the other tests rest on."""
    target = ours("gpt2")
    for length in (CONTEXT, CONTEXT + 1):
        target.reset(length)
        with contextlib.nullcontext() if length == CONTEXT else pytest.raises(IndexError):
            assert target.append(prompt(length)).isfinite().all()
