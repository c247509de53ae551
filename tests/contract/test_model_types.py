"""Every type of model that transformers knows is run exactly, or refused in one line: never anything else.

What passes the check of its engine is held against what the check cannot have seen: whole answers by each shape of
draft, and by transformers' own `generate`. docs/models.md, written from the same check, says what is to be found.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
import torch
import transformers
import zoo
from refusals import says
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from longspec.core.errors import UserError
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.drafters.ngram import NGramDrafter
from longspec.models.target import CausalLM
from longspec.verify.engine import check

ROOT = Path(__file__).parents[2]
FAST = {
    *("llama", "qwen3", "gemma3_text", "mistral", "gpt2", "mixtral", "deepseek_v3", "gpt_oss", "stablelm"),
    *("gemma4_text-shared", "phi3-longrope", "gptj", "falcon", "bloom", "llama4_text", "gpt_neo", "roberta"),
    *("qwen3_next", "mamba", "openai-gpt"),
}
"""Of each engine, of each kind of layer, of each kind of refusal; the others take minutes."""
OURS = {"native", "packed", "eager"}
"""One of them runs what our attention and cache are exact for; which one hangs on the machine."""
TOKENS = 20
SPEC = {"seed": 0, "threads": 1, "device": "cpu", "dtype": "float32", "engine": "auto", "numerics": "auto"}
METHODS = {
    "vanilla": (vanilla.Method(), False),
    "chain": (sequential.Method(gamma=4), True),
    "tree": (tree.Method(tree_shape=[3, 2, 1]), True),
}


@functools.cache
def page():
    """Engine by type, `refused`, or `not tried`, as docs/models.md has it."""
    said = {}
    for section in (ROOT / "docs/models.md").read_text().split("\n## ")[1:]:
        title, *lines = section.splitlines()
        for line in lines:
            if found := re.match(r"\| `([^`]+)`†? \| (\w+)", line):
                said[found[1]] = found[2] if title == "Run" else title.lower()
    return said


def record(name, monkeypatch, **changes):
    """The record of a model's check, which is given the model as its folder would give it."""
    monkeypatch.setattr(check, "_load", lambda entry, dtype: zoo.model(name).to(dtype))
    return check.check({**SPEC, "model": {"name": name, "path": "nowhere", "context": zoo.CONTEXT}, **changes})


def outcome(name, monkeypatch):
    """The engine that a type runs by, or `refused`; what runs gives transformers' answers, however it is drafted."""
    try:
        found = record(name, monkeypatch)
    except UserError as error:
        assert error.where == f"models.{name}"
        assert says(error.found, zoo.config(name).model_type) or "model_type" not in error.found
        assert len(str(error).splitlines()) == 1
        return "refused"
    assert found["distance"] <= found["bound"] < 1e-3
    if found["steady_positions"] is None:
        answers(name, found["engine"])
    return found["engine"]


def answers(name, engine, prompt_tokens=60, context=None):
    """Vanilla's answer is transformers' greedy one, up to its ties, and a chain's and a tree's are vanilla's."""
    model = zoo.model(name)
    ids = [number * 7 % 100 + 3 for number in range(prompt_tokens // 2)] * 2
    ids += [5] * (prompt_tokens - len(ids))
    limits = Limits((), TOKENS, context)
    room, _ = limits.room(len(ids))
    with torch.inference_mode():
        theirs = model.generate(
            torch.tensor([ids]), max_new_tokens=room, do_sample=False, eos_token_id=None, pad_token_id=0
        )[0, len(ids) :].tolist()
        logits = model(input_ids=torch.tensor([ids + theirs[:-1]]), use_cache=False).logits[0, len(ids) - 1 :]
    target = CausalLM(model, engine=engine)
    for method, drafts in METHODS.values():
        drafter = NGramDrafter(3, 1) if drafts else None
        ours = generate(target, method, drafter, ids, limits).output_ids
        parted = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), None)
        if parted is not None:
            first, second = logits[parted].topk(2).values
            assert first - second < 1e-3, (name, type(method).__module__, parted)


def as_written(name, found):
    """Whether docs/models.md says what was found."""
    return page()[name] == found or {page()[name], found} <= OURS


def test_every_type_has_its_row():
    locked = re.search(r"^transformers==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[1]
    assert says((ROOT / "docs/models.md").read_text(), locked)
    if transformers.__version__ != locked:
        pytest.skip(f"transformers {transformers.__version__} knows other types than {locked}")
    assert set(page()) == {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *zoo.VARIANTS}
    assert {name for name, said in page().items() if said == "not tried"} == {*zoo.UNBUILT}


@pytest.mark.parametrize("name", sorted(FAST))
def test_types_are_run_or_refused(name, monkeypatch):
    assert as_written(name, outcome(name, monkeypatch))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(zoo.NAMES) - FAST))
def test_any_other_type_is_run_or_refused(name, monkeypatch):
    assert as_written(name, outcome(name, monkeypatch))


@pytest.mark.parametrize("name", ["gptj", "falcon", "bloom"])
def test_a_job_runs_what_was_checked(name, tmp_path):
    """A model's own attention, which no one replaces when it comes from its folder."""
    engine = page()[name]
    targets = (
        CausalLM.from_folder(zoo.save(name, tmp_path), torch.device("cpu"), torch.float32, engine),
        CausalLM(zoo.model(name), engine=engine),
    )
    logits = []
    for target in targets:
        target.reset(40)
        target.append(list(range(3, 23)))
        logits.append(target.extend([5, 6, 7, 8], [-1, 0, 0, 1]))
    assert torch.equal(*logits)


@pytest.mark.parametrize("name", ["plbart", "llama4_text"])
def test_positions_taken_from_the_cache_are_seen_in_16_bits_too(name, monkeypatch):
    """What they do to a tree's logits is less than bfloat16 tells."""
    assert record(name, monkeypatch, dtype="bfloat16")["engine"] == "branches"


@pytest.mark.parametrize(
    ("name", "beyond"), [("phi3-longrope", True), ("phimoe-longrope", True), ("llama-dynamic", False)]
)
def test_a_rotary_table_of_the_longest_text_has_its_limit(name, beyond, monkeypatch):
    """Up to the switch, and with two tables beyond it, texts are transformers' own."""
    found = record(name, monkeypatch, engine="eager")
    assert (found["steady_positions"], found["steady_beyond"]) == (32, beyond)
    for prompt_tokens in (20, 31, 32):
        answers(name, "eager", prompt_tokens, context=32)
    for prompt_tokens in (33, 34, 60) if beyond else ():
        answers(name, "eager", prompt_tokens)


@pytest.mark.parametrize("engine", ["packed", "eager", "static", "native", "stock", "branches", "auto"])
def test_every_engine_that_may_be_asked_for_is_recorded(engine, monkeypatch):
    found = record("qwen3", monkeypatch, engine=engine)
    assert engine in (found["engine"], "auto")


def test_the_first_that_passes_is_taken_where_none_is_timed(monkeypatch):
    monkeypatch.setattr(check, "candidates", lambda *_: [("static", "fast"), ("eager", "fast")])  # as on a GPU
    assert record("qwen3", monkeypatch, engine="static")["engine"] == "static"
