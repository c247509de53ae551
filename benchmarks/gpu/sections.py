"""The sections of the GPU benchmark. Each takes the scene and what the sections before it found, and returns figures.

A section yields one figure after the other, so that those it had before a failure are kept.
"""

from __future__ import annotations

import functools
import gc
import random
import time
from collections.abc import Iterator
from typing import Any

import scene  # first: it finds the other benchmarks and the package
import setup
import torch
from replay import Replay

from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.drafters.ngram import NGramDrafter
from longspec.models import machine
from longspec.models.attention import on_device
from longspec.models.target import CausalLM

TREE = (4, 16, 16, 16, 16)
LONGSPEC_LENGTH = 3.3
"""Acceptance length that LongSpec reports for its tree (arXiv 2502.17421)."""
Figures = Iterator[dict[str, Any]]


def device(place: scene.Scene, found: dict[str, Any]) -> Figures:
    """The machine, and its copy bandwidth, which every roofline here divides by."""
    yield {"machine": machine.describe(place.device)}
    yield {"copy_bytes_per_second": place.copy_bytes_per_second()}


def steps(place: scene.Scene, found: dict[str, Any]) -> Figures:
    """A model of Llama-3-8B's shape: vanilla against the roofline, T(8) / T(1) and T(69) / T(1), graphs and eager."""
    model, shape = place.eight_b(), tree.Method(list(TREE))
    speed = found["device"]["copy_bytes_per_second"]
    for engine in (place.engine, "eager"):
        target = CausalLM(model, engine=engine)
        for context in place.contexts:
            ids = random_ids(target, context)
            limits = Limits((), place.new_tokens)
            target.reserve(context + place.new_tokens + 1, shape.max_nodes)
            generate(target, vanilla.Method(), None, ids, Limits((), 3))
            turn = generate(target, vanilla.Method(), None, ids, limits)
            row: dict[str, Any] = {"engine": target.engine, "note": target.engine_note, "context": context}
            row["prefill_seconds"] = turn.prefill_seconds
            row["vanilla_step_seconds"] = turn.decode_seconds / len(turn.steps)
            for queries in (1, 8, shape.max_nodes):
                row[f"forward_seconds_{queries}"] = forward_seconds(place, target, ids, queries)
            row["roofline_seconds"] = scene.step_bytes(target, context) / speed
            yield {f"{engine}, {context}": row}
        del target
        gc.collect()


def attention(place: scene.Scene, found: dict[str, Any]) -> Figures:
    """One layer of that model: bytes of the prefix's keys and values a second, by kernel, prefix and rows."""
    heads, kv_heads, d = (8, 2, 16) if place.tiny else (32, 8, 128)
    shape = tree.Method(list(TREE))
    for prefix in (*place.contexts, 4 * place.contexts[-1]):
        for rows in (1, shape.max_nodes):
            moved = 2 * kv_heads * (prefix + rows) * d * 2
            shape_of_cache = (place.copies(moved), 2, 1, kv_heads, prefix + rows, d)
            caches = torch.randn(shape_of_cache, dtype=torch.bfloat16, device=place.device)
            query = torch.randn(1, heads, rows, d, dtype=torch.bfloat16, device=place.device)
            at = torch.arange(prefix, prefix + rows, device=place.device)
            hidden = ~torch.tril(torch.ones(rows, rows, dtype=torch.bool, device=place.device))
            layout = on_device.StaticLayout(torch.tensor([prefix, rows], device=place.device), hidden, at, at)
            for name, work in kernels(place, query, kv_heads, layout, prefix).items():
                try:
                    seconds = place.seconds_each([functools.partial(work, *cache) for cache in caches])
                    yield {f"{name}, {prefix}, {rows}": {"bytes_per_second": moved / seconds}}
                except Exception as error:  # FlexAttention compiles: what it cannot do is a figure too
                    yield {f"{name}, {prefix}, {rows}": {"error": f"{type(error).__name__}: {str(error)[:300]}"}}


def kernels(place, query, kv_heads, layout, prefix) -> dict[str, Any]:
    """The ways to compute it, as functions of key and value. FlexAttention gets the same mask."""
    _, heads, rows, d = query.shape
    scale = d**-0.5
    added = torch.zeros(rows, rows, dtype=query.dtype, device=query.device).masked_fill_(layout.hidden, float("-inf"))
    folded = query.reshape(1, kv_heads, heads // kv_heads * rows, d)
    tail = added.repeat(heads // kv_heads, 1)
    ways = {
        "ours": lambda key, value: on_device.attend(query, key, value, layout, scale),
        "flash and masked tail": lambda key, value: on_device.prefix_and_tail(folded, key, value, tail, scale),
    }
    if not place.tiny:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        def seen(b, h, q, k):
            return (k < prefix) | ~layout.hidden[q, (k - prefix).clamp(min=0)]

        mask = create_block_mask(seen, None, None, rows, prefix + rows, device=query.device)
        compiled = torch.compile(flex_attention, dynamic=False)
        ways["FlexAttention"] = lambda key, value: compiled(
            query, key, value, block_mask=mask, scale=scale, enable_gqa=True
        )
    return ways


def replayed(place: scene.Scene, found: dict[str, Any]) -> Figures:
    """Speedup of LongSpec's tree over vanilla at its acceptance length, with drafts that cost nothing."""
    target, shape = CausalLM(place.eight_b(), engine=place.engine), tree.Method(list(TREE))
    right = acceptance(LONGSPEC_LENGTH, len(TREE))
    for context in place.contexts:
        ids, limits = random_ids(target, context), Limits((), place.new_tokens)
        recorded = random_ids(target, place.new_tokens)
        target.reserve(context + place.new_tokens + shape.max_nodes, shape.max_nodes)
        for name in ("warm-up", "round 0", "round 1", "round 2"):
            drafter = Replay(recorded, right, target.vocab_size)
            plain = generate(target, vanilla.Method(), None, ids, limits, scene.Recorded(recorded, target))
            drafted = generate(target, shape, drafter, ids, limits, scene.Recorded(recorded, target))
            assert plain.output_ids == drafted.output_ids == recorded
            if name != "warm-up":
                length = (len(recorded) - 1) / len(drafted.steps)
                row = {"engine": target.engine, "acceptance_length": length}
                yield {f"{context}, {name}": {**row, "speedup": plain.decode_seconds / drafted.decode_seconds}}


def acceptance(length: float, depth: int) -> float:
    """Probability a of each further draft with 1 + a + ... + a^depth = length."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(middle**n for n in range(depth + 1)) < length else (low, middle)
    return low


def smollm2(place: scene.Scene, found: dict[str, Any]) -> Figures:
    """The default model end to end: outputs of every method against the plain path's, and tokens a second."""
    methods = {
        "vanilla": (vanilla.Method(), None),
        "ngram, sequential 8": (sequential.Method(8), NGramDrafter(4, 2)),
        "ngram, tree": (tree.Method([4, 4, 3, 2]), NGramDrafter(4, 2)),
    }
    for dtype in (torch.float32, torch.bfloat16):
        model = place.smollm2(dtype)
        plain, target = (CausalLM(model, engine=engine) for engine in ("eager", place.engine))
        prompts = [random_ids(target, 32)] * 2 if place.tiny else source_ids(300)
        limits = Limits((), place.new_tokens)
        expected = [generate(plain, vanilla.Method(), None, ids, limits).output_ids for ids in prompts]
        generate(target, methods["ngram, tree"][0], NGramDrafter(4, 2), prompts[0], limits)  # captures
        for name, (method, drafter) in methods.items():
            turns = [generate(target, method, drafter, ids, limits) for ids in prompts]
            same = sum(turn.output_ids == right for turn, right in zip(turns, expected, strict=True))
            rate = sum(len(turn.output_ids) - 1 for turn in turns) / sum(turn.decode_seconds for turn in turns)
            row = {"engine": target.engine, "identical": same, "prompts": len(prompts), "tokens_per_second": rate}
            yield {f"{name}, {str(dtype).removeprefix('torch.')}": row}
        yield {
            f"Hugging Face generate, {str(dtype).removeprefix('torch.')}": hugging_face(place, dtype, prompts, expected)
        }


def hugging_face(place: scene.Scene, dtype: torch.dtype, prompts, expected) -> dict[str, Any]:
    """transformers' own greedy loop on a model of its own; its tokens a second count the prefill too."""
    model, outputs = place.smollm2(dtype), []
    for number, ids in enumerate([prompts[0], *prompts]):
        if number == 1:  # the first was to warm up
            started, outputs = time.perf_counter(), []
        text = torch.tensor([ids], device=place.device)
        out = model.generate(
            text, attention_mask=torch.ones_like(text), max_new_tokens=place.new_tokens, do_sample=False,
            eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        outputs.append(out[0, len(ids) :].tolist())
    rate = sum(map(len, outputs)) / (time.perf_counter() - started)
    same = sum(output == right for output, right in zip(outputs, expected, strict=True))
    return {"engine": "its own", "identical": same, "prompts": len(prompts), "tokens_per_second": rate}


def forward_seconds(place: scene.Scene, target: CausalLM, ids: list[int], queries: int) -> float:
    """One forward of a chain of `queries` behind the text, its copies to the device included."""
    chain = list(range(-1, queries - 1))
    target.reset(len(ids) + queries)
    target.append(ids)

    def step() -> None:
        target.extend([5] * queries, chain)
        target.rewind(len(ids))

    return place.seconds(step)


def random_ids(target: CausalLM, count: int) -> list[int]:
    """A text of so many ids, the same each time."""
    return random.Random(0).choices(range(3, target.vocab_size), k=count)


def source_ids(length: int) -> list[list[int]]:
    """Prompts from these benchmarks' own source, which every checkout has."""
    ids = setup.text_ids(__file__, 1)
    return [ids[at : at + length] for at in range(0, len(ids) - length, length)][:6]


ALL = {"device": device, "attention": attention, "steps": steps, "replay": replayed, "smollm2": smollm2}
"""In the order in which they run; short ones that others need come first."""
