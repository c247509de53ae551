"""The compiled step computes what transformers computes, and a row's bits are those of its own text alone."""

from __future__ import annotations

import copy
import functools
import random

import pytest
import torch
import zoo
from tiny import hf_model

from longspec.models.native import architecture, build
from longspec.models.native.engine import PIECE, Nodes, Steps
from longspec.models.native.packing import Packed
from longspec.models.native.weights import Moved

try:
    build.library()
except build.NotBuilt as error:
    pytest.skip(f"not built here: {error}", allow_module_level=True)

EXPRESSED = sorted({*architecture.FAMILIES, "phi3-window", "qwen2-window", "qwen3-window", "smollm3-window",
                    "llama-yarn", "llama-llama3", "llama-linear", "mistral-full"})  # fmt: skip
NUMBERS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@functools.cache
def original(name):
    return zoo.model(name)


def steps(name, dtype=torch.float32, capacity=zoo.CONTEXT):
    made = Steps(copy.deepcopy(original(name)).to(dtype), dtype)
    made.reserve(capacity)
    return made


def text(length, seed=0):
    return torch.randint(3, zoo.VOCAB, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def chain(count, start=-1):
    return list(range(start, start + count))


def append(native, ids):
    """Committed text; the logits of all its tokens."""
    logits = native.run(ids, chain(len(ids)), 0)
    native.cache.commit(list(range(len(ids))))
    return logits


def one_by_one(native, ids):
    return torch.cat([append(native, [token]) for token in ids])


def random_tree(draw, nodes):
    return [draw.randrange(-1, node) for node in range(nodes)]


@pytest.mark.parametrize("name", EXPRESSED)
def test_logits_are_transformers(name):
    ids = text(zoo.CONTEXT - 16)
    with torch.inference_mode():
        expected = original(name)(input_ids=torch.tensor([ids])).logits[0]
    native = steps(name)
    scale = expected.abs().max().item()
    assert (append(native, ids) - expected).abs().max() < 1e-5 * scale
    native.cache.reset()
    append(native, ids[:100])
    assert (one_by_one(native, ids[100:140]) - expected[100:140]).abs().max() < 1e-5 * scale
    native.cache.rewind(60)
    assert (append(native, ids[60:]) - expected[60:]).abs().max() < 1e-5 * scale


@pytest.mark.parametrize("name", EXPRESSED)
def test_in_bfloat16_it_is_at_least_as_near_to_float32_as_transformers_is(name):
    ids = text(120)
    model = copy.deepcopy(original(name)).to(torch.bfloat16)
    with torch.inference_mode():
        exact = copy.deepcopy(model).float()(input_ids=torch.tensor([ids])).logits[0]
        theirs = model(input_ids=torch.tensor([ids])).logits[0].float()
    ours = append(steps(name, torch.bfloat16), ids)
    assert (ours - exact).square().mean() < 1.1 * (theirs - exact).square().mean()


def test_packed_weights_are_what_they_were_made_of():
    for dtype, gated in (
        (torch.float32, False),
        (torch.bfloat16, False),
        (torch.float32, True),
        (torch.bfloat16, True),
    ):
        layers = [torch.nn.Linear(48, rows, dtype=dtype) for rows in (32, 32)]
        packed = Packed(*layers, gated=gated)
        assert torch.equal(packed.to_dense(), torch.cat([layer.weight for layer in layers]).float())
        assert packed.half == (dtype == torch.bfloat16)


@pytest.mark.parametrize("rows", [1, 2, 5, 12, 13, 40])
def test_a_layer_that_moved_computes_what_it_computed(rows):
    for dtype in (torch.float32, torch.bfloat16):
        layer = torch.nn.Linear(96, 70, dtype=dtype)
        x = torch.randn(rows, 96)
        expected = torch.nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double())
        torch.testing.assert_close(Moved(Packed(layer))(x).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("name", ["llama", "qwen3-window", "gemma2", "gemma3_text"])
@pytest.mark.parametrize("seed", range(6))
def test_every_row_of_a_tree_has_the_bits_of_its_text_decoded_token_by_token(name, dtype, seed):
    """Whatever stands beside it: siblings, an earlier part of the same tree, rejected branches, more threads."""
    draw = random.Random(seed)
    length, nodes = draw.choice([1, 15, 16, 17, 31, 100, 127, 128, 129, 150]), draw.randrange(2, 40)
    ids, parents = text(length + nodes, seed), random_tree(draw, nodes)
    prompt, drafts = ids[:length], ids[length:]
    native, alone = (steps(name, NUMBERS[dtype]) for _ in range(2))
    cut = draw.randrange(1, nodes)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        native.cache.reset()
        append(native, prompt)
        found = torch.cat([native.run(drafts[:cut], parents[:cut], 0), native.run(drafts[cut:], parents, cut)])
        for node in draw.sample(range(nodes), min(nodes, 6)):
            path = [node]
            while parents[path[0]] >= 0:
                path.insert(0, parents[path[0]])
            alone.cache.reset()
            one_by_one(alone, prompt)
            expected = one_by_one(alone, [drafts[n] for n in path])
            assert torch.equal(found[path], expected)
        native.cache.commit(path)
        after = text(3, seed + 1)
        assert torch.equal(append(native, after), one_by_one(alone, after)), "what was kept is the path alone"


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("name", ["llama", "qwen3-window"])
@pytest.mark.parametrize("seed", range(4))
def test_texts_that_run_together_have_the_bits_of_each_alone(name, dtype, seed):
    """Of any lengths, with trees of any size: prompts, two parts of a tree, what is kept of it, and what follows."""
    draw = random.Random(seed)
    together, alone = (steps(name, NUMBERS[dtype]) for _ in range(2))
    count = draw.choice([2, 3, 5])
    together.reserve(200, count)
    lengths, sizes = ([draw.randrange(low, high) for _ in range(count)] for low, high in ((1, 140), (2, 20)))
    prompts = [text(length, seed + n) for n, length in enumerate(lengths)]
    drafts = [text(size, seed + 50 + n) for n, size in enumerate(sizes)]
    parents = [random_tree(draw, size) for size in sizes]
    cuts = [draw.randrange(1, size) for size in sizes]

    def run(parts):
        """All texts in one step: ids, parents and first node of each."""
        nodes = [Nodes(cache, *part) for cache, part in zip(together.caches, parts, strict=True)]
        return together.run_together(nodes).split([len(part[0]) for part in parts])

    found = [run([(ids, chain(len(ids)), 0) for ids in prompts])]
    for cache, length in zip(together.caches, lengths, strict=True):
        cache.commit(list(range(length)))
    found.append(run([(d[:cut], p[:cut], 0) for d, p, cut in zip(drafts, parents, cuts, strict=True)]))
    found.append(run([(d[cut:], p, cut) for d, p, cut in zip(drafts, parents, cuts, strict=True)]))
    paths = []
    for cache, tree in zip(together.caches, parents, strict=True):
        paths.append([len(tree) - 1])
        while tree[paths[-1][0]] >= 0:
            paths[-1].insert(0, tree[paths[-1][0]])
        cache.commit(paths[-1])
    found.append(run([([7], [-1], 0)] * count))
    for n in range(count):
        alone.cache.reset()
        expected = [append(alone, prompts[n])]
        expected.append(alone.run(drafts[n][: cuts[n]], parents[n][: cuts[n]], 0))
        expected.append(alone.run(drafts[n][cuts[n] :], parents[n], cuts[n]))
        alone.cache.commit(paths[n])
        expected.append(alone.run([7], [-1], 0))
        assert all(torch.equal(step[n], part) for step, part in zip(found, expected, strict=True))
        for mine, other in zip(together.caches[n].last_layer(), alone.cache.last_layer(), strict=True):
            assert torch.equal(mine, other)


@pytest.mark.parametrize("length", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 3, 1023, 1025])
def test_a_prompt_has_the_bits_of_its_tokens_run_one_by_one(length):
    ids = text(length)
    whole, alone = (steps("llama", capacity=length) for _ in range(2))
    expected = one_by_one(alone, ids)
    assert torch.equal(append(whole, ids), expected)
    whole.cache.reset()
    assert torch.equal(whole.run(ids, chain(length), 0, keep=1), expected[-1:])


def test_nothing_is_written_past_the_end_of_the_cache():
    native = steps("llama", capacity=20)
    append(native, text(native.capacity - 2))
    with pytest.raises(IndexError, match=str(native.capacity)):
        native.run(text(3), [-1, 0, 0], 0)


def test_what_layers_put_out_and_the_last_layers_keys():
    ids = text(70)
    model = copy.deepcopy(original("llama"))
    with torch.inference_mode():
        expected = model.model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=True)
    native = steps("llama")
    native.watch([1, 2])
    append(native, ids)
    for layer in (1, 2):
        torch.testing.assert_close(native.watched[layer], expected.hidden_states[layer + 1][0], atol=1e-4, rtol=1e-4)
    keys, values = native.cache.last_layer()
    torch.testing.assert_close(keys, expected.past_key_values.layers[-1].keys[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(values, expected.past_key_values.layers[-1].values[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", sorted({*zoo.NAMES} - set(EXPRESSED)))
@pytest.mark.slow
def test_every_other_type_is_refused_or_run_right(name):
    try:
        native = steps(name)
    except architecture.Inexpressible:
        return
    ids = text(100)
    with torch.inference_mode():
        expected = original(name)(input_ids=torch.tensor([ids])).logits[0]
    assert (append(native, ids) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_model_whose_rows_end_inside_a_panel_is_refused():
    """A product writes whole panels of outputs: the last of a row's would reach into the next row's first."""
    model = hf_model("qwen3", hidden_size=48)
    with pytest.raises(architecture.Inexpressible, match="hidden 48"):
        Steps(model, torch.float32)
