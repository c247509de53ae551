"""Sampled tokens have the distribution p, by a G-test of many draws through the verifiers' own code.

Level 1e-6 with fixed seeds: a lossless verifier fails once in a million seeds. The power is shown by a shift between
two ids: 0.007 in total variation at 2 * 10^5 draws; 0.003 at 10^6 and 0.001 at 10^7 (marked slow).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from scipy import stats
from tables import CPU, Table, TableDrafter, TableTarget

from longspec.decoding.methods import sequential, tree
from longspec.decoding.sampling import Settings, warp
from longspec.decoding.tree import TokenTree
from longspec.decoding.verifiers import keyed, residual

LEVEL = 1e-6
CHAIN = TokenTree.rooted_at(0)
for _ in range(499):
    CHAIN.add(0, len(CHAIN) - 1)
"""A chain's nodes see the noise of 500 successive positions."""


def p_value(counts: torch.Tensor, p: torch.Tensor) -> float:
    """G-test of counts [vocab] against p [vocab]; ids that are expected less than ten times share a bin."""
    expected = p.double() * counts.sum()
    if bool((counts[expected == 0] > 0).any()):
        return 0.0
    rare = expected < 10
    observed = torch.cat([counts[~rare].double(), counts[rare].sum()[None].double()])
    wanted = torch.cat([expected[~rare], expected[rare].sum()[None]])
    kept = wanted > 0
    observed, wanted = observed[kept], wanted[kept]
    if len(wanted) == 1:
        return 1.0
    g = 2 * torch.special.xlogy(observed, observed / wanted).sum().item()
    return float(stats.chi2.sf(g, len(wanted) - 1))


def keyed_draws(logits: torch.Tensor, settings: Settings, draws: int) -> Iterator[list[int]]:
    """Choices of the keyed verifier at `draws` positions: 500 positions of one text after another."""
    rows = logits.expand(len(CHAIN), -1)
    nodes = list(range(len(CHAIN)))
    for text in range(draws // len(CHAIN)):
        verifier = keyed.Verifier(settings, text, logits.shape[-1], CPU)
        verifier.start([0])
        yield keyed.choices(verifier._noised(verifier._text.scores(rows, CHAIN, nodes), CHAIN, nodes))[0]


def counted(draws: Iterator[list[int]], vocab: int) -> torch.Tensor:
    return sum((torch.bincount(torch.tensor(some), minlength=vocab) for some in draws), torch.zeros(vocab).long())


def target_logits(vocab: int, spread: float = 1.0) -> torch.Tensor:
    return torch.randn(1, vocab, generator=torch.Generator().manual_seed(vocab)) * spread


def reference(logits: torch.Tensor, settings: Settings) -> torch.Tensor:
    """p [vocab]; the warping itself is held against transformers' elsewhere."""
    return warp(logits, settings)[0].double().softmax(-1)


def shifted(p: torch.Tensor, by: float) -> torch.Tensor:
    """p with probability `by` moved from its likeliest id to its least likely: that far off in total variation."""
    other = p.clone()
    other[p.argmax()] -= by
    other[p.argmin()] += by
    return other


@pytest.mark.parametrize(
    ("draws", "shift"),
    [(200_000, 0.007), *(pytest.param(*many, marks=pytest.mark.slow) for many in ((10**6, 0.003), (10**7, 0.001)))],
)
def test_the_keyed_rule_samples_p_and_a_small_shift_would_be_seen(draws, shift):
    logits, settings = target_logits(10), Settings(1.0)
    counts = counted(keyed_draws(logits, settings, draws), 10)
    assert counts.sum() == draws
    p = reference(logits, settings)
    assert p_value(counts, p) > LEVEL
    assert p_value(counts, shifted(p, shift)) < LEVEL


@pytest.mark.parametrize("share", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("vocab", "draws", "settings"),
    [
        (2, 200_000, Settings(0.3)),
        (10, 100_000, Settings(0.3, top_k=4)),
        (10, 100_000, Settings(2.0, top_p=0.9)),
        (100, 200_000, Settings(1.3, min_p=0.05)),
        (8_193, 20_000, Settings(1.0)),
        (8_193, 20_000, Settings(0.7, top_k=50, top_p=0.95)),
        (49_152, 20_000, Settings(1.0)),
    ],
    ids=str,
)
def test_the_keyed_rule_samples_p_whatever_the_warping(vocab, draws, settings, share):
    logits = target_logits(vocab, spread=2.0)
    counts = counted(keyed_draws(logits, settings, draws // share), vocab)
    assert p_value(counts, reference(logits, settings)) > LEVEL


@pytest.mark.parametrize("draws", [50_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_successive_keyed_tokens_are_independent(draws):
    """Pairs of neighbours, within a text and across texts, have the product of their probabilities."""
    logits, settings = target_logits(6), Settings(1.0)
    texts = list(keyed_draws(logits, settings, draws))
    p = reference(logits, settings)
    pairs = torch.outer(p, p).flatten()
    for first, second in [(texts, [t[1:] for t in texts]), (texts[:-1], texts[1:])]:
        codes = [[6 * a + b for a, b in zip(x, y, strict=False)] for x, y in zip(first, second, strict=True)]
        assert p_value(counted(iter(codes), 36), pairs) > LEVEL


def residual_pairs(method, target: Table, drafter: Table, settings: Settings, draws: int) -> torch.Tensor:
    """Counts [vocab * vocab] of the first two tokens of `draws` texts, by the residual verifier's whole code."""
    counts = torch.zeros(target.vocab**2).long()
    for key in range(draws):
        verifier = residual.Verifier(settings, key, target.vocab, CPU)
        verifier.start([0])
        asked, drafts = TableTarget(target), TableDrafter(drafter)
        asked.reset(9)
        drafts.prefill([0], 9)
        emitted: list[int] = []
        while len(emitted) < 2:
            root = emitted[-1] if emitted else 0
            proposal = method.propose(root, drafts, verifier, (), 2 - len(emitted))
            got = verifier.verify(proposal, asked.extend(proposal.tokens, proposal.parents), (), 9)
            asked.commit(got.path)
            drafts.commit(got.emitted, proposal, got.path)
            emitted += got.emitted
        counts[emitted[0] * target.vocab + emitted[1]] += 1
    return counts


@pytest.mark.parametrize("draws", [4_000, pytest.param(10**6, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])])
@pytest.mark.parametrize("method", [sequential.Method(2), tree.Method([3, 3])], ids=["sequential", "tree"])
@pytest.mark.parametrize("settings", [Settings(0.8), Settings(1.2, top_k=6, top_p=0.9)], ids=str)
def test_the_residual_rule_samples_p_token_after_token(method, settings, draws):
    target, drafter = Table(10, 1, order=1), Table(10, 2, order=1)
    counts = residual_pairs(method, target, drafter, settings, draws)
    first = reference(target.logits([0])[None], settings)
    second = torch.stack([reference(target.logits([token])[None], settings) for token in range(10)])
    p = (first[:, None] * second).flatten()
    assert p_value(counts, p) > LEVEL
    if draws == 10**6:
        assert p_value(counts, shifted(p, 0.003)) < LEVEL
