"""Faults of our attention, for tests that plant them: each is called with a `monkeypatch`.

A fault of the attention stays until the test registers ours again (`restore`).
"""

from __future__ import annotations

import torch

from longspec.models.attention import hybrid


def attention_with(change):
    """Make a fault: our attention with other arguments, or with another output."""

    def plant(fault):
        hybrid.AttentionInterface.register(hybrid.NAME, change)

    plant.__name__ = change.__name__
    return plant


def restore():
    """Register our attention again."""
    hybrid.AttentionInterface.register(hybrid.NAME, hybrid.hybrid_attention)


@attention_with
def half_the_output(*tensors, **options):
    mixed, weights = hybrid.hybrid_attention(*tensors, **options)
    return mixed * 0.5, weights


@attention_with
def a_window_off_by_one(*tensors, **options):
    return hybrid.hybrid_attention(*tensors, **{**options, "sliding_window": options["sliding_window"] + 1})


@attention_with
def no_window(module, query, key, value, mask, **options):
    return hybrid.hybrid_attention(module, query, key, value, None, **{**options, "sliding_window": None})


@attention_with
def a_kernel_that_depends_on_the_steps_length(*tensors, **options):
    mixed, weights = hybrid.hybrid_attention(*tensors, **options)
    return mixed * (1.0 if hybrid._running.hidden is None else 1.1), weights


def siblings_see_each_other(fault):
    real = hybrid.Layout

    def blind(hidden, positions, tail_positions):
        is_tree = len(positions) > 1 and bool((positions[1:] <= positions[:-1]).any())
        return real(torch.zeros_like(hidden) if is_tree else hidden, positions, tail_positions)

    fault.setattr(hybrid, "Layout", blind)
