"""The drafter's arithmetic against a second implementation, written from the paper's description alone.

It keeps no cache: each draft is computed anew from the whole text, one query at a time, in plain loops.
"""

from __future__ import annotations

import math

import pytest
import torch
from tiny import CONTEXT, VOCAB, ours

from longspec.decoding.sampling import GREEDY
from longspec.decoding.tree import TokenTree
from longspec.decoding.verifiers import keyed
from longspec.drafters.glide import checkpoints
from longspec.drafters.glide.drafter import GlideDrafter
from longspec.drafters.glide.model import Glide, Sizes
from longspec.drafters.glide.native_layer import NativeLayer
from longspec.drafters.glide.torch_layer import TorchLayer
from longspec.models.target_parts import TargetParts

LAYERS = [0, 1, 2]


def random_model(target, norm=False, bias=True, features=False, seed=3):
    torch.manual_seed(seed)
    model = Glide(Sizes.of(target.config), bias=bias, norm=norm, feature_layers=len(LAYERS) if features else 0)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return model


class Paper:
    """h = embed; + self-attention in a window; + cross-attention to the target's last layer; + SwiGLU; head."""

    def __init__(self, target, tensors, window):
        self.parts = TargetParts(target)
        self.target, self.w, self.window = target, {k: v.double() for k, v in tensors.items()}, window
        self.sizes = Sizes.of(target.config)

    def norm(self, x, name):
        return x / torch.sqrt((x * x).mean() + self.sizes.eps) * self.w[name]

    def project(self, x, name):
        y = self.w[f"{name}.weight"] @ x
        return y + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else y

    def rope(self, x, position):
        """x [heads, d]: pairs (i, i + r/2) turned by position * theta^(-2i/r)."""
        cos, sin = (table[position].double() for table in self.parts.rotary(position + 1))
        r = len(cos)
        out = x.clone()
        for i in range(r // 2):
            a, b = x[:, i], x[:, i + r // 2]
            out[:, i] = a * cos[i] - b * sin[i]
            out[:, i + r // 2] = b * cos[i] + a * sin[i]
        return out

    def attention(self, query, keys, values):
        """query [heads, d]; keys and values: a list of [kv_heads, d]."""
        s = self.sizes
        mixed = []
        for head in range(s.heads):
            group = head // (s.heads // s.kv_heads)
            scores = torch.stack([query[head] @ key[group] for key in keys]) / math.sqrt(s.head_dim)
            mixed.append(scores.softmax(0) @ torch.stack([value[group] for value in values]))
        return torch.cat(mixed)

    def own(self, token, position):
        x = self.norm(self.embed(token), "input_layernorm.weight")
        key, value = (self.project(x, f"self_attn.{n}_proj").view(-1, self.sizes.head_dim) for n in "kv")
        return self.rope(key, position), value

    def embed(self, token):
        return self.parts.embed(torch.tensor([token]))[0].double()

    def logits(self, text, verified, features=None):
        """After the last token of `text`, with the target's keys and values of `verified` first positions."""
        position, lag = len(text) - 1, len(text) - verified
        h = self.embed(text[-1])
        if features is not None:
            parts = [self.norm(f.double(), f"fusion.norms.{i}.weight") for i, f in enumerate(features)]
            h = h + self.w["fusion.proj.weight"] @ torch.cat(parts) + self.w["lag_embedding"][lag - 1]
        first = max(0, position - self.window)
        pairs = [self.own(token, place) for place, token in enumerate(text)][first:]
        x = self.norm(h, "input_layernorm.weight")
        query = self.rope(self.project(x, "self_attn.q_proj").view(self.sizes.heads, -1), position)
        h = h + self.project(self.attention(query, *zip(*pairs, strict=True)), "self_attn.o_proj")
        x = self.norm(h, "post_self_attention_layernorm.weight")
        query = self.rope(self.project(x, "cross_attn.q_proj").view(self.sizes.heads, -1), position)
        keys, values = (states.double().transpose(0, 1) for states in self.target.last_layer())
        assert len(keys) == verified
        h = h + self.project(self.attention(query, keys, values), "cross_attn.o_proj")
        x = self.norm(h, "post_cross_attention_layernorm.weight")
        gate, up = self.project(x, "mlp.gate_proj"), self.project(x, "mlp.up_proj")
        h = h + self.project(gate * torch.sigmoid(gate) * up, "mlp.down_proj")
        if "norm.weight" in self.w:
            h = self.norm(h, "norm.weight")
        return self.parts.head_rows(torch.arange(VOCAB)).double() @ h


class Recorder(keyed.Verifier):
    """The greedy verifier, which keeps the logits that it is asked to draft from."""

    def __init__(self, target):
        super().__init__(GREEDY, 0, target.vocab_size, target.device)
        self.start([1])

    def draft(self, logits, tree, nodes, width, informed=True, ids=None):
        self.logits = logits.clone()
        if ids is not None:
            self.logits = torch.full((len(nodes), VOCAB), float("-inf"))
            self.logits[:, ids] = logits
        return super().draft(logits, tree, nodes, width, informed, ids)


COMPILED = {"qwen3": {}, "llama": {"head_dim": 16}, "mistral": {"head_dim": 16}}
"""Targets of sizes that the compiled step takes."""
LAYERS_BY = ["torch", "compiled"]


def setup(architecture="llama", window=6, draft_ids=None, by="torch", **parts):
    """`by`: what is to run the layer; the compiled step only where there is a compiler."""
    if by == "compiled":
        target = ours(architecture, engine="auto", **COMPILED[architecture])
        if target.engine != "native":
            pytest.skip(target.engine_note)
    else:
        target = ours(architecture, engine="packed")
    model = random_model(target, **parts)
    tensors = {name: tensor.clone() for name, tensor in checkpoints.stored(model.state_dict()).items()}
    layers = LAYERS if parts.get("features") else []
    drafter = GlideDrafter(target, model, window, draft_ids, layers)
    assert type(drafter.layer) is {"torch": TorchLayer, "compiled": NativeLayer}[by]
    return target, drafter, Paper(target, tensors, window)


def start(target, drafter, prompt, first):
    target.reset(CONTEXT)
    target.append(prompt)
    drafter.prefill([*prompt, first], CONTEXT)


TREE = TokenTree([9, 4, 5, 6, 7, 8, 10, 11], [-1, 0, 0, 1, 1, 2, 3, 5], [0, 1, 1, 2, 2, 2, 3, 3])
LEVELS = [[0], [1, 2], [3, 4, 5], [6, 7]]


def check_tree(target, drafter, paper, text, features=None):
    """Every node of a tree against its own path, computed alone."""
    verifier = Recorder(target)
    tree = TokenTree([text[-1], *TREE.tokens[1:]], TREE.parents, TREE.depths)
    for level in LEVELS:
        drafter.expand(tree, level, 3, verifier)
        for row, node in enumerate(level):
            path = [tree.tokens[n] for n in tree.path(node)[1:]]
            expected = paper.logits([*text, *path], len(text) - 1, features)
            torch.testing.assert_close(verifier.logits[row].double(), expected, atol=1e-5, rtol=1e-5)
    return tree


PARTS = [{}, {"norm": True, "bias": False}, {"features": True, "norm": True, "bias": False}]


@pytest.mark.parametrize("parts", PARTS, ids=["published", "with a norm", "hybrid"])
@pytest.mark.parametrize(
    ("architecture", "by"),
    [
        *((name, "torch") for name in ("llama", "gemma3_text", "gpt_neox", "qwen3", "phi3")),
        *((name, "compiled") for name in COMPILED),
    ],
)
def test_each_node_of_a_tree_equals_its_path_alone(architecture, by, parts):
    """Also after steps that accepted nothing, a part, and all of a branch (a start with two tokens or more)."""
    target, drafter, paper = setup(architecture, by=by, **parts)
    text = [3, 5, 7, 3, 9, 4, 6]
    start(target, drafter, text[:-1], text[-1])
    last = -1
    for path in ([0], [0, 1, 3], [0, 2, 5, 7], [0]):
        features = target.features(LAYERS, last) if parts.get("features") else None
        tree = check_tree(target, drafter, paper, text, features)
        target.extend(tree.tokens, tree.parents)
        with torch.inference_mode():
            target.commit(path)
        emitted = [tree.tokens[n] for n in path[1:]] + [12]
        drafter.commit(emitted, tree, path)
        text, last = text + emitted, path[-1]


@pytest.mark.parametrize("by", LAYERS_BY)
def test_the_window_is_that_of_a_full_cache(by):
    """Prompts shorter than the window, as long, and several times as long."""
    for length in (2, 5, 6, 7, 8, 30):
        target, drafter, paper = setup("qwen3", window=6, by=by)
        text = [3 + (i * 5) % 19 for i in range(length)]
        start(target, drafter, text[:-1], text[-1])
        check_tree(target, drafter, paper, text)


@pytest.mark.parametrize("by", LAYERS_BY)
def test_a_text_that_outgrows_the_window_many_times_costs_no_more_memory(by):
    """Step by step: what lies in memory is the window, and drafts are those of the whole text."""
    target, drafter, paper = setup("qwen3", window=9, by=by, features=True)
    held, last = drafter.layer.bytes, -1
    text = [3 + (i * 5) % 19 for i in range(20)]
    start(target, drafter, text[:-1], text[-1])
    for step in range(34):
        tree, verifier = TokenTree([text[-1], 4, 5], [-1, 0, 1], [0, 1, 2]), Recorder(target)
        for node in (0, 1):
            drafter.expand(tree, [node], 1, verifier)
            read = [*text, *tree.tokens[1 : 1 + node]]
            expected = paper.logits(read, len(text) - 1, target.features(LAYERS, last))
            torch.testing.assert_close(verifier.logits[0].double(), expected, atol=1e-5, rtol=1e-5)
        path = [0, 1, 2][: 1 + (step + 1) % 3]
        target.extend(tree.tokens, tree.parents)
        target.commit(path)
        emitted = [tree.tokens[node] for node in path[1:]] + [6 + step % 7]
        drafter.commit(emitted, tree, path)
        text, last = text + emitted, path[-1]
    assert len(text) > 9 * 9
    assert drafter.layer.bytes == held


@pytest.mark.parametrize("by", LAYERS_BY)
def test_a_draft_of_more_nodes_than_there_is_room_for_is_whole(by):
    """Room grows in the middle of a draft, and what was drafted before is still seen."""
    target, drafter, paper = setup("qwen3", by=by)
    text = [3, 5, 7, 9]
    start(target, drafter, text[:-1], text[-1])
    verifier, wide = Recorder(target), 1400
    tokens, parents = [9, *(3 + n % 20 for n in range(wide)), 7], [-1, *[0] * wide, 1]
    tree = TokenTree(tokens, parents, [0, *[1] * wide, 2])
    for level in ([0], list(range(1, wide + 1)), [wide + 1]):
        drafter.expand(tree, level, 1, verifier)
    expected = paper.logits([*text, tree.tokens[1], 7], len(text) - 1)
    torch.testing.assert_close(verifier.logits[0].double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("by", LAYERS_BY)
def test_a_reduced_vocabulary_and_the_texts_own_ids(by):
    """Drafted are the draft vocabulary and what the text holds, with the very logits of the full head."""
    target, drafter, paper = setup("qwen3", draft_ids=torch.tensor([3, 4, 5, 8]), by=by)
    text = [3, 20, 7, 20, 9]
    start(target, drafter, text[:-1], text[-1])
    verifier = Recorder(target)
    drafter.expand(TokenTree.rooted_at(9), [0], 3, verifier)
    allowed = sorted({3, 4, 5, 8, 20, 7, 9})
    expected = paper.logits(text, 4)[allowed]
    torch.testing.assert_close(verifier.logits[0, allowed].double(), expected, atol=1e-5, rtol=1e-5)
    assert verifier.logits[0].isfinite().sum() == len(allowed)
    tree = TokenTree.rooted_at(9)
    target.extend(tree.tokens, tree.parents)
    target.commit([0])
    drafter.commit([15], tree, [0])
    drafter.expand(TokenTree.rooted_at(15), [0], 3, verifier)
    assert verifier.logits[0].isfinite().nonzero()[:, 0].tolist() == sorted([*allowed, 15])
