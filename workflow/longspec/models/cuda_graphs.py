"""Runs decoding steps of fixed shapes over buffers that never move, so that CUDA can replay them as graphs.

A step of n nodes runs in the smallest bucket of at least n rows; the remaining rows are padding, which no other row
sees and which the next step overwrites. Everything that differs between steps (ids, positions, slots, the prefix's
length, the tail's mask) is packed into one buffer on the host and sent to the device in one copy; only logits come
back. One graph per bucket serves every length, since lengths are read on the device (on_device.py).

Engines: `graphs` captures with CUDA; `static` runs the same buffers and buckets uncaptured, on any device.
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
"""Numbers of rows that steps are run with. Wider steps, and prompts, run eagerly."""
NODES = 128
"""Widest tail to reserve where the caller does not say how wide tails will be."""
GRAIN = 1024
"""Capacity grows in multiples of this, and by a quarter at least: a new capacity needs new graphs."""

Forward = Callable[..., torch.Tensor]
Capture = Callable[[Forward, list[torch.Tensor]], Callable[[], torch.Tensor]]
"""Captures forward(*buffers); the replay that it returns reads what the buffers hold when it is called."""


def bucket(nodes: int) -> int | None:
    """Return the number of rows that a step of so many nodes runs with; None where no bucket is as wide."""
    return next((rows for rows in LADDER if rows >= nodes), None)


class Fields(NamedTuple):
    """Name the views of a packed buffer (see StaticLayout); `slots` [rows]: where each row's key and value go."""

    lengths: torch.Tensor
    ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    tail_positions: torch.Tensor
    hidden: torch.Tensor


def fields(packed: torch.Tensor, rows: int, tail: int) -> Fields:
    """Split a packed buffer [bytes] into views of its fields."""
    numbers = (2, rows, rows, rows, tail)
    *front, hidden = packed.split([*(8 * count for count in numbers), rows * tail])
    return Fields._make([*(part.view(torch.int64) for part in front), hidden.view(torch.bool).view(rows, tail)])


class Buffers:
    """Hold the inputs of one bucket, on the host and on the device."""

    def __init__(self, rows: int, tail: int, device: torch.device) -> None:
        size = 8 * (2 + 3 * rows + tail) + rows * tail
        self.rows = rows
        self.packed = torch.zeros(size, dtype=torch.uint8, device=device)
        self._staged = torch.zeros(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._host = Fields._make(part.numpy() for part in fields(self._staged, rows, tail))
        self._sent = torch.cuda.Event() if device.type == "cuda" else None

    def fill(self, ids: list[int], first: int, prefix: int, seen: np.ndarray, depths: np.ndarray) -> None:
        """Fill in the rows of the tail's nodes from `first` on, whose `ids` are given, after `prefix` positions.

        `seen` [tail, tail] (bool) and `depths` [tail] describe all nodes of the tail up to the last of them. Padding
        rows see the prefix and the first node: a row that sees nothing would compute NaN.
        """
        if self._sent is not None:
            self._sent.synchronize()  # the last copy may still be reading the host's buffer
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
    """Run a model's steps in buckets, for one sequence at a time."""

    def __init__(self, model: Any, captures: Callable[[], Capture] | None) -> None:
        """Run steps of `model`; `captures` begins a set of graphs that are dropped together, None captures nothing."""
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
        """Reserve room for texts of `capacity` positions and tails of `nodes`, capture graphs, and forget the text.

        `nodes` None: as wide as before, `NODES` at first.
        """
        self.cache.reset()
        tail = bucket(nodes or self._tail or NODES) or LADDER[-1]
        if capacity <= self._capacity and tail <= self._tail:
            return
        if capacity > self._capacity:
            capacity = max(capacity, self._capacity * 5 // 4)
            self._capacity = -(-capacity // GRAIN) * GRAIN
        self._tail = max(tail, self._tail)
        # Graphs and the old storage are freed before the new storage is allocated.
        self._replays.clear()
        self.cache = StaticCache(self._layers, self._capacity + self._tail)
        self._seen = np.zeros((self._tail, self._tail), dtype=bool)
        self._depths = np.zeros(self._tail, dtype=np.int64)
        capture = self._captures() if self._captures else None
        for rows in [rows for rows in LADDER if rows <= self._tail]:
            self._replays[rows] = self._prepare(rows, capture)

    def takes(self, nodes: int) -> bool:
        """Tell if a tail of so many nodes fits into the reserved room."""
        return nodes <= self._tail

    @torch.inference_mode()
    def run(self, ids: list[int], parents: list[int], first: int) -> torch.Tensor:
        """Run the tail's nodes from `first` on, whose `ids` [n] are given; returns their logits [n, vocab].

        `parents` are those of the whole tail."""
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
        """Make a bucket's buffers, filled with a chain after no prefix, and the function that runs them."""
        buffers = Buffers(rows, self._tail, self._model.device)
        # A table of learned positions may be shorter than the widest tail; a look-up beyond its end aborts CUDA.
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
        """Run one step from values on the device alone; returns the logits [rows, vocab]."""
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
    """Begin a set of captures that share a memory pool; `Steps` copies each result before the next replay."""
    pool = torch.cuda.graph_pool_handle()

    def capture(forward: Forward, buffers: list[torch.Tensor]) -> Callable[[], torch.Tensor]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries and kernels initialise at their first calls, outside of a capture
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
