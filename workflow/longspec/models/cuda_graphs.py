"""Steps of fixed shape over buffers that never move, so that CUDA can replay them as graphs.

A step of n nodes runs in the smallest bucket of at least n rows; the rows that are left are padding, which nobody sees
and which the next step overwrites. Everything that differs between steps (ids, positions, slots, the prefix's length,
the tail's mask) goes into one buffer on the host and from there to the device in one copy, and nothing comes back but
logits. One graph per bucket serves every length, for lengths are read on the device (on_device.py).

Engines: `graphs` captures with CUDA; `static` runs the same buffers and buckets uncaptured, on any device.
This module does not know methods, drafters or rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from longspec.models.attention import hybrid
from longspec.models.attention.on_device import StaticLayout
from longspec.models.cache.static import StaticCache
from longspec.models.model_files import tabled_context

LADDER = (1, 2, 4, 8, *range(16, 128, 16), *range(128, 1025, 64))
"""Rows of a step. Wider steps, and prompts, run as the plain engine runs them."""
NODES = 128
"""Widest tail that is provided for where nobody said how wide it will be."""
GRAIN = 1024
"""Capacity grows by multiples of this, and by a quarter at least: a new capacity means new graphs."""

Forward = Callable[..., torch.Tensor]
Capture = Callable[[Forward, list[torch.Tensor]], Callable[[], torch.Tensor]]
"""Makes a replay of forward(*buffers): it reads what the buffers hold then, and nothing else may have changed."""


def bucket(nodes: int) -> int | None:
    """Rows that a step of so many nodes runs in; None where there is no bucket as wide."""
    return next((rows for rows in LADDER if rows >= nodes), None)


class Fields(NamedTuple):
    """Views of a packed buffer; see StaticLayout. `slots` [rows]: where each row's key and value go."""

    lengths: torch.Tensor
    ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    tail_positions: torch.Tensor
    hidden: torch.Tensor


def fields(packed: torch.Tensor, rows: int, tail: int) -> Fields:
    """`packed` [bytes] as what it holds."""
    numbers = (2, rows, rows, rows, tail)
    *front, hidden = packed.split([*(8 * count for count in numbers), rows * tail])
    return Fields._make([*(part.view(torch.int64) for part in front), hidden.view(torch.bool).view(rows, tail)])


class Buffers:
    """The inputs of one bucket, on the host and on the device."""

    def __init__(self, rows: int, tail: int, device: torch.device) -> None:
        size = 8 * (2 + 3 * rows + tail) + rows * tail
        self.rows = rows
        self.packed = torch.zeros(size, dtype=torch.uint8, device=device)
        self._staged = torch.zeros(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._host = Fields._make(part.numpy() for part in fields(self._staged, rows, tail))
        self._sent = torch.cuda.Event() if device.type == "cuda" else None

    def fill(self, ids: list[int], first: int, prefix: int, seen: np.ndarray, depths: np.ndarray) -> None:
        """Rows for the tail's nodes from `first` on, whose ids are given, behind a prefix of so many positions.

        `seen` [tail, tail] (bool) and `depths` [tail] speak of all nodes of the tail up to the last of them. Padding
        sees the prefix and the first node, so that it computes with numbers.
        """
        if self._sent is not None:
            self._sent.synchronize()  # the last copy may still be reading; in a decoding loop it never is
        host, count = self._host, len(ids)
        host.lengths[:] = prefix, first + count
        host.ids[:count] = ids
        host.ids[count:] = 0
        host.positions[:count] = prefix + depths[first : first + count]
        host.positions[count:] = prefix
        host.slots[:] = np.arange(prefix + first, prefix + first + self.rows)
        host.tail_positions[: first + count] = prefix + depths[: first + count]
        np.logical_not(seen[first : first + count], out=host.hidden[:count])
        host.hidden[count:, 0] = False
        host.hidden[count:, 1:] = True
        self.packed.copy_(self._staged, non_blocking=True)
        if self._sent is not None:
            self._sent.record()


class Steps:
    """Runs a model's steps in buckets. One sequence at a time; a step's logits are the caller's own."""

    def __init__(self, model: Any, captures: Callable[[], Capture] | None) -> None:
        """`captures` begins a set of captures that are dropped together; None: run each step anew."""
        self._model = model
        self._captures = captures
        config = model.config.get_text_config()
        self._layers = int(config.num_hidden_layers)
        self._last_position = (tabled_context(config) or LADDER[-1]) - 1
        self._replays: dict[int, tuple[Buffers, Callable[[], torch.Tensor]]] = {}
        self._capacity = self._tail = 0
        self.cache = StaticCache(self._layers, 0)

    @torch.inference_mode()
    def reserve(self, capacity: int, nodes: int | None = None) -> None:
        """Room for texts of `capacity` positions and tails of `nodes` (None: as wide as before, NODES at first).

        Captures what that needs, and forgets the text.
        """
        self.cache.reset()
        tail = bucket(nodes or self._tail or NODES) or LADDER[-1]
        if capacity <= self._capacity and tail <= self._tail:
            return
        if capacity > self._capacity:
            capacity = max(capacity, self._capacity * 5 // 4)
            self._capacity = -(-capacity // GRAIN) * GRAIN
        self._tail = max(tail, self._tail)
        # Graphs and the old storage go before the new storage comes.
        self._replays.clear()
        self.cache = StaticCache(self._layers, self._capacity + self._tail)
        self._seen = np.zeros((self._tail, self._tail), dtype=bool)
        self._depths = np.zeros(self._tail, dtype=np.int64)
        capture = self._captures() if self._captures else None
        for rows in [rows for rows in LADDER if rows <= self._tail]:
            self._replays[rows] = self._prepare(rows, capture)

    def takes(self, nodes: int) -> bool:
        """Whether a tail of so many nodes fits."""
        return nodes <= self._tail

    @torch.inference_mode()
    def run(self, ids: list[int], parents: list[int], first: int) -> torch.Tensor:
        """Logits [n, vocab] of `ids` [n], the tail's nodes from `first` on; parents speak of the whole tail."""
        rows = bucket(len(ids))
        assert rows is not None and self.takes(len(parents))
        assert self.cache.get_seq_length() == self.cache.committed + first
        buffers, replay = self._replays[rows]
        for node in range(first, len(parents)):
            parent = parents[node]
            self._seen[node] = self._seen[parent] if parent >= 0 else False
            self._seen[node, node] = True
            self._depths[node] = self._depths[parent] + 1 if parent >= 0 else 0
        buffers.fill(ids, first, self.cache.committed, self._seen, self._depths)
        logits = replay()
        self.cache.advance(len(ids))
        return logits[: len(ids)].clone()  # the next replay writes to the same place

    def _prepare(self, rows: int, capture: Capture | None) -> tuple[Buffers, Callable[[], torch.Tensor]]:
        """The bucket's buffers, filled with a chain behind no prefix, and what runs them."""
        buffers = Buffers(rows, self._tail, self._model.device)
        # A table of learned positions may be shorter than the widest tail: beyond its end the driver would abort.
        depths = np.minimum(np.arange(self._tail), self._last_position)
        buffers.fill([0] * rows, 0, 0, np.tri(self._tail, dtype=bool), depths)

        def forward(packed: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
            return self._forward(fields(packed, rows, self._tail))

        if capture is None:
            return buffers, lambda: forward(buffers.packed)
        if not self.cache.blocks:
            forward(buffers.packed)  # allocates the storage
        return buffers, capture(forward, [buffers.packed, *self.cache.tensors])

    def _forward(self, inputs: Fields) -> torch.Tensor:
        """Logits [rows, vocab] of one step, read from the device's own numbers alone."""
        layout = StaticLayout(inputs.lengths, inputs.hidden, inputs.positions, inputs.tail_positions)
        self.cache.slots = inputs.slots
        try:
            with hybrid.laid_out(layout):
                output = self._model(
                    input_ids=inputs.ids[None],
                    position_ids=inputs.positions[None],
                    past_key_values=self.cache,
                    use_cache=True,
                )
        finally:
            self.cache.slots = None
        logits: torch.Tensor = output.logits[0]
        return logits


def cuda_capture() -> Capture:
    """Captures that share a memory pool: they never run at the same time, and what they return is copied."""
    pool = torch.cuda.graph_pool_handle()

    def capture(forward: Forward, buffers: list[torch.Tensor]) -> Callable[[], torch.Tensor]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries and kernels set themselves up before they may be captured
            for _ in range(2):
                forward(*buffers)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            logits = forward(*buffers)

        def replay() -> torch.Tensor:
            graph.replay()
            return logits

        return replay

    return capture
