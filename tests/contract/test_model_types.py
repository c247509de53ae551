"""Every type of model that transformers knows is run exactly, or refused in one line: never anything else.

What passes the check of its engine is held against what the check cannot have seen: whole answers by each shape of
draft, and by transformers' own `generate`.
"""

from __future__ import annotations

import pytest
import torch
import zoo
from refusals import says

from longspec.core.errors import UserError
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.drafters.ngram import NGramDrafter
from longspec.models.target import CausalLM
from longspec.verify.engine import check

RUN = {
    *("llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "gemma4_text", "phi3", "mistral", "mixtral", "gpt2", "opt"),
    *("deepseek_v3", "olmo2", "gpt_neox", "llama-yarn", "llama-llama3", "phi3-window", "cohere2", "gpt_oss", "afmoe"),
    *("phimoe-window", "stablelm", "nemotron", "jetmoe", "granite_swa", "mimo_v2_flash"),
}
REFUSED = {
    *("llama4_text", "openai-gpt", "mamba", "rwkv", "bart"),
    *("gpt_neo", "falcon", "bloom", "mpt", "gemma3n_text"),
    *("gemma4_text-shared", "lfm2", "qwen3_next", "jamba"),
}
STOCK = {"gptj", "codegen", "doge", "xglm", "gpt_neox_japanese"}
"""Whose attention cannot be replaced, but runs over our cache."""
UNSTEADY = {"phi3-longrope": 32, "llama-dynamic": 32}
"""Positions up to which a rotary table does not depend on the longest text so far."""
KNOWN = sorted(RUN | REFUSED | STOCK | set(UNSTEADY))
TOKENS = 20
SPEC = {"seed": 0, "threads": 1, "device": "cpu", "dtype": "float32", "engine": "eager", "numerics": "auto"}


def record(name, monkeypatch, **changes):
    """The record of a model's check, which is given the model as its folder would give it."""
    monkeypatch.setattr(check, "_load", lambda entry, dtype: zoo.model(name).to(dtype))
    return check.check({**SPEC, "model": {"name": name, "path": "nowhere", "context": zoo.CONTEXT}, **changes})


def outcome(name, monkeypatch):
    """`run` or `refused`; what runs gives transformers' own answers, however it is drafted."""
    try:
        found = record(name, monkeypatch)
    except UserError as error:
        assert error.where == f"models.{name}"
        assert says(error.found, zoo.config(name).model_type) or "model_type" not in error.found
        assert len(str(error).splitlines()) == 1
        return "refused"
    assert found["distance"] <= found["bound"] < 1e-3
    if found["steady_positions"] is None:
        answers(name)
    return "run"


def answers(name, engine="eager"):
    """Vanilla's, a chain's and a tree's answer are transformers' greedy one, up to its ties."""
    model = zoo.model(name)
    ids = [number * 7 % 100 + 3 for number in range(30)] * 2
    with torch.inference_mode():
        theirs = model.generate(
            torch.tensor([ids]), max_new_tokens=TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0
        )[0, len(ids) :].tolist()
        logits = model(input_ids=torch.tensor([ids + theirs]), use_cache=False).logits[0, len(ids) - 1 : -1]
    target = CausalLM(model, engine=engine)
    for method, drafts in (
        (vanilla.Method(), False),
        (sequential.Method(gamma=4), True),
        (tree.Method(tree_shape=[3, 2, 1]), True),
    ):
        drafter = NGramDrafter(3, 1) if drafts else None
        ours = generate(target, method, drafter, ids, Limits((), TOKENS)).output_ids
        parted = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), None)
        if parted is not None:
            first, second = logits[parted].topk(2).values
            assert first - second < 1e-3, (name, type(method).__module__, parted)


@pytest.mark.parametrize("name", sorted(STOCK))
def test_a_models_own_attention_is_the_last_resort(name, monkeypatch, tmp_path):
    found = record(name, monkeypatch, engine="auto")
    assert found["engine"] == "stock"
    assert found["distance"] <= found["bound"] < 1e-3
    answers(name, "stock")
    # A job loads it from its folder, and runs what was checked.
    targets = (
        CausalLM.from_folder(zoo.save(name, tmp_path), torch.device("cpu"), torch.float32, "stock"),
        CausalLM(zoo.model(name), engine="stock"),
    )
    logits = []
    for target in targets:
        target.reset(40)
        target.append(list(range(3, 23)))
        logits.append(target.extend([5, 6, 7, 8], [-1, 0, 0, 1]))
    assert torch.equal(*logits)


@pytest.mark.parametrize("name", sorted({*KNOWN} - STOCK))
def test_types_are_run_or_refused(name, monkeypatch):
    assert outcome(name, monkeypatch) == ("refused" if name in REFUSED else "run")


@pytest.mark.parametrize(("name", "steady"), UNSTEADY.items())
def test_a_rotary_table_of_the_longest_text_has_its_limit(name, steady, monkeypatch):
    assert record(name, monkeypatch)["steady_positions"] == steady


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(zoo.NAMES) - set(KNOWN)))
def test_any_other_type_is_run_or_refused(name, monkeypatch):
    assert outcome(name, monkeypatch) in ("run", "refused")


@pytest.mark.parametrize("engine", ["packed", "eager", "static", "native", "stock", "auto"])
def test_every_engine_that_may_be_asked_for_is_recorded(engine, monkeypatch):
    found = record("qwen3", monkeypatch, engine=engine)
    assert engine in (found["engine"], "auto")


def test_the_first_that_passes_is_taken_where_none_is_timed(monkeypatch):
    monkeypatch.setattr(check, "candidates", lambda *_: [("static", "fast"), ("eager", "fast")])  # as on a GPU
    assert record("qwen3", monkeypatch, engine="static")["engine"] == "static"
