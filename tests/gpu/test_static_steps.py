"""Buckets, static buffers and replays give the plain path's ids; with a planted fault they do not."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zoo
from steps import LIMITS, NARROW, assert_vanillas_ids, prompt, recorded, static
from tiny import CONTEXT, WHOLE_OR_CORNERS, ours

from longspec.core.errors import UserError
from longspec.core.records import Prompt, Turn
from longspec.decoding.loop import generate
from longspec.decoding.methods import vanilla
from longspec.measure.session import Runner
from longspec.models import cuda_graphs, packed_linear
from longspec.models.attention import on_device
from longspec.models.cache.static import StaticCache
from longspec.models.cuda_graphs import Buffers, Steps
from longspec.models.target import CausalLM


@pytest.mark.parametrize(("architecture", "whole"), WHOLE_OR_CORNERS)
def test_recorded_steps_give_the_plain_paths_ids(architecture, whole):
    """Recorded behind no prefix and replayed behind every prefix: no length is baked in."""
    assert_vanillas_ids(architecture, recorded, *([] if whole else [(20, CONTEXT - 8), 16, NARROW]))


def test_the_smallest_bucket_that_holds_a_step():
    assert [cuda_graphs.bucket(nodes) for nodes in (1, 2, 3, 5, 9, 17, 69, 128, 129, 1024)] == [
        1, 2, 4, 8, 16, 32, 80, 128, 192, 1024,
    ]  # fmt: skip
    assert cuda_graphs.bucket(1025) is None
    assert list(cuda_graphs.LADDER) == sorted(set(cuda_graphs.LADDER))


def test_only_what_a_method_needs_is_captured():
    rows = []

    def capture(forward, buffers):
        rows.append(len(forward(*buffers)))
        return lambda: forward(*buffers)

    target = static("llama", capture=capture)
    target.reserve(100, nodes=1)
    assert rows == [1], "vanilla has its own graph and no other"
    target.reserve(100, nodes=7)
    assert rows[1:] == [1, 2, 4, 8]
    target.reset(100)
    target.reserve(90, nodes=3)
    assert len(rows) == 5, "nothing changed"
    target.reserve(5000, nodes=3)
    assert rows[5:] == [1, 2, 4, 8], "the storage moved"


def test_nothing_is_captured_beyond_the_last_learned_position():
    """An index out of a table's range would take the whole device away."""
    rows = []

    def capture(forward, buffers):
        rows.append(len(forward(*buffers)))
        return lambda: forward(*buffers)

    target = CausalLM(zoo.model("gpt2"), engine="static")
    target._steps._captures = lambda: capture
    target.reserve(zoo.CONTEXT, nodes=zoo.CONTEXT + 1)
    assert max(rows) > zoo.CONTEXT


def test_a_step_wider_than_any_bucket_runs_plainly(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "LADDER", (1, 2, 4))
    assert_vanillas_ids("llama", lengths=[20])


def test_logits_stay_what_they_were():
    target = static("llama", capture=recorded)
    target.reserve(80, nodes=4)
    target.reset(80)
    target.append(prompt(30))
    first = target.extend([3, 4], [-1, -1])
    kept = first.clone()
    target.extend([5, 6], [0, 1])
    assert torch.equal(first, kept)


def test_what_cannot_be_captured_runs_eagerly_and_says_why():
    def refuse(forward, buffers):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    expected = generate(ours("llama"), vanilla.Method(), None, prompt(20), LIMITS).output_ids
    target = static("llama", capture=refuse)
    assert generate(target, vanilla.Method(), None, prompt(20), LIMITS).output_ids == expected
    assert target.engine == "eager"
    assert target.engine_note == ("graphs not captured: RuntimeError: operation not permitted when stream is capturing")


def test_a_run_whose_engine_changes_between_samples_is_refused():
    backend = SimpleNamespace(engine="graphs", engine_note=None)

    def answer(ids, *rest):
        if len(ids) > 1:
            backend.engine, backend.engine_note = "eager", "graphs not captured: OutOfMemoryError: 2 GiB"
        return Turn(len(ids), "", [], [], 0.0, 0.0, 0.0, "nonfinite")

    backend.answer = answer
    backend.device, backend.processes = torch.device("cpu"), list
    runner = SimpleNamespace(backend=backend, tokenizer=None, limits=LIMITS, _tokenizing=nullcontext())
    short, longer = (Prompt("a", ["x"], ids, False) for ids in ([1], [1, 2]))
    Runner.answer(runner, short, 0)
    with pytest.raises(UserError, match=r"engine.*graphs.*OutOfMemoryError"):
        Runner.answer(runner, longer, 0)


def test_graphs_are_refused_without_a_gpu():
    with pytest.raises(UserError, match=r"engine.*graphs"):
        packed_linear.resolve("graphs", torch.device("cpu"), torch.float32)
    assert packed_linear.resolve("auto", torch.device("cpu"), torch.float64) == "eager"
    assert packed_linear.resolve("auto", torch.device("cuda"), torch.bfloat16) == "graphs"


def test_layers_of_another_shape_get_storage_of_their_own():
    cache = StaticCache(3, 20)
    shapes = [(2, 4), (1, 8), (2, 4)]
    for number, (heads, size) in enumerate(shapes):
        states = torch.randn(1, heads, 6, size)
        cache.update(states, states + 1, number)
        assert torch.equal(cache.stack[number].keys[:, :, :6], states)
    cache.commit([0, 2, 5])
    for number, (heads, size) in enumerate(shapes):
        more = torch.randn(1, heads, 1, size)
        keys, values = cache.update(more, more, number)
        assert cache.stack[number].written == 4
        assert torch.equal(keys[:, :, 3], more[:, :, 0])
        assert torch.equal(keys[:, :, :3] + 1, values[:, :, :3])


MUTANTS = {}
RECORDED = dict.fromkeys(["a_length_of_the_host_is_baked_in", "the_host_asks_the_device_for_a_number"], recorded)


def mutant(plant):
    MUTANTS[plant.__name__] = plant
    return plant


@mutant
def the_bucket_beside_is_replayed(monkeypatch):
    real = Steps.run

    def run(self, ids, parents, first):
        rows = cuda_graphs.bucket(len(ids))
        other = next((r for r in self._replays if r > rows), rows)
        right = self._replays[rows]
        self._replays[rows] = (right[0], self._replays[other][1])
        try:
            return real(self, ids, parents, first)
        finally:
            self._replays[rows] = right

    monkeypatch.setattr(Steps, "run", run)


@mutant
def a_bucket_too_small(monkeypatch):
    monkeypatch.setattr(
        cuda_graphs, "bucket", lambda nodes: next(r for r in cuda_graphs.LADDER if r >= max(1, nodes - 1))
    )


def fill(change):
    """A planter: `change(host, count)` after the host's buffer was filled."""

    def plant(monkeypatch):
        real = Buffers.fill

        def filled(self, ids, first, prefix, seen, depths):
            real(self, ids, first, prefix, seen, depths)
            change(self._host, len(ids), prefix)
            self.packed.copy_(self._staged)

        monkeypatch.setattr(Buffers, "fill", filled)

    return plant


def padding_overwrites_the_prefix(host, count, prefix):
    host.slots[count:] = 0


def padding_is_seen(host, count, prefix):
    host.lengths[1] += len(host.ids) - count
    host.hidden[:] = False


def siblings_see_each_other(host, count, prefix):
    host.hidden[:count] = np.triu(np.ones(host.hidden[:count].shape, dtype=bool), 1 + host.lengths[1] - count)


def a_prefix_one_too_short(host, count, prefix):
    host.lengths[0] -= 1


def positions_by_node_number(host, count, prefix):
    host.positions[:count] = prefix + np.arange(count)


for change in (
    padding_overwrites_the_prefix, padding_is_seen, siblings_see_each_other, a_prefix_one_too_short,
    positions_by_node_number,
):  # fmt: skip
    MUTANTS[change.__name__] = fill(change)


@mutant
def a_stale_slot_after_a_rejected_branch(monkeypatch):
    monkeypatch.setattr(StaticCache, "commit", lambda self, path: self.rewind(self.committed + len(path)))


@mutant
def padding_counts_as_written(monkeypatch):
    real = StaticCache.advance
    monkeypatch.setattr(StaticCache, "advance", lambda self, n: real(self, cuda_graphs.bucket(n)))


@mutant
def the_tails_mask_is_not_sent(monkeypatch):
    real = Buffers.fill

    def fill(self, ids, first, prefix, seen, depths):
        before = self.packed[-self._host.hidden.size :].clone()
        real(self, ids, first, prefix, seen, depths)
        self.packed[-self._host.hidden.size :] = before

    monkeypatch.setattr(Buffers, "fill", fill)


@mutant
def a_length_of_the_host_is_baked_in(monkeypatch):
    """Right where each step runs anew: only a recording tells."""
    real = Steps._forward

    def forward(self, inputs):
        prefix = torch.tensor([self.cache.committed])
        return real(self, inputs._replace(lengths=torch.cat([prefix, inputs.lengths[1:]])))

    monkeypatch.setattr(Steps, "_forward", forward)


@mutant
def the_host_asks_the_device_for_a_number(monkeypatch):
    real = on_device._seen

    def seen(layout, capacity, window):
        assert int(layout.lengths[1]) > 0
        return real(layout, capacity, window)

    monkeypatch.setattr(on_device, "_seen", seen)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_caught(name, monkeypatch):
    MUTANTS[name](monkeypatch)
    with pytest.raises((AssertionError, IndexError, ValueError, RuntimeError)):
        assert_vanillas_ids("llama", RECORDED.get(name), lengths=[20])
