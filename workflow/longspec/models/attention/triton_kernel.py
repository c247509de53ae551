"""LongSpec's hybrid tree attention (arXiv 2502.17421) in Triton: flash over the prefix, a mask on the tail only.

One launch computes every part, a second one merges the parts by their log-sum-exp (split-KV, "flash-decoding"). The
prefix is cut into as many parts as keep the device busy, and the tail is one part more. The lengths of prefix and tail
are read on the device, so that a captured graph serves every length at a cost in proportion to it. The heads of a group
are further rows of their shared key head: keys and values are read once for all of them, and never repeated.

Importing it needs Triton; with TRITON_INTERPRET=1 it runs on a CPU.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl

LOG2E = 1.4426950408889634
MAX_PARTS = 128
WAVES = 2
"""Programs per multiprocessor that the number of parts aims at."""


@triton.jit
def _add_block(
    q, k_ptr, v_ptr, key, there, seen, k_row, k_dim, v_row, v_dim, best, total, mixed, inner_scale, outer_scale,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
    SOFTCAP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add a block of keys to the online softmax (base 2): positions `key` [N], of which rows `q` see `seen` [M, N]."""
    dim, dim_v = tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_DV)
    k_at = k_ptr + key[None, :] * k_row + dim[:, None] * k_dim
    v_at = v_ptr + key[:, None] * v_row + dim_v[None, :] * v_dim
    keys = tl.load(k_at, mask=there[None, :] & (dim[:, None] < D), other=0.0)
    values = tl.load(v_at, mask=there[:, None] & (dim_v[None, :] < DV), other=0.0)
    scores = tl.dot(q, keys, input_precision=PRECISION) * inner_scale
    if SOFTCAP:
        scores = outer_scale * (2 / (1 + tl.exp(-2 * scores)) - 1)  # tanh
    scores = tl.where(seen, scores, float("-inf"))
    higher = tl.maximum(best, tl.max(scores, 1))
    shift = tl.where(higher == float("-inf"), 0.0, higher)  # a row that has seen nothing yet
    weights = tl.exp2(scores - shift[:, None])
    decay = tl.exp2(best - shift)
    total = total * decay + tl.sum(weights, 1)
    mixed = mixed * decay[:, None] + tl.dot(weights.to(values.dtype), values, input_precision=PRECISION)
    return higher, total, mixed


@triton.jit
def _seen_in_tail(hidden_at, tail_positions_ptr, node, there, position, window, WINDOWED: tl.constexpr):
    """Compute which of the tail's nodes [N] each row sees, [M, N]."""
    seen = there & (tl.load(hidden_at + node[None, :], mask=there, other=1) == 0)
    if WINDOWED:
        node_position = tl.load(tail_positions_ptr + node[None, :], mask=there, other=0).to(tl.int32)
        seen = seen & (position[:, None] - node_position < window)
    return seen


@triton.jit
def _store_part(
    mixed_ptr, lse_ptr, out, real, best, total, mixed, DV: tl.constexpr, BLOCK_DV: tl.constexpr
):  # fmt: skip
    """Store a part's result at rows `out` [M]; for rows that saw nothing, only the log-sum-exp of -inf."""
    dim_v = tl.arange(0, BLOCK_DV)
    some = total != 0  # true for NaN, which must reach the logits
    tl.store(lse_ptr + out, tl.where(some, best + tl.log2(tl.where(some, total, 1.0)), float("-inf")), mask=real)
    out_at = mixed_ptr + out[:, None].to(tl.int64) * DV + dim_v[None, :]
    mixed = mixed / tl.where(some, total, 1.0)[:, None]
    tl.store(out_at, mixed, mask=(real & some)[:, None] & (dim_v[None, :] < DV))


@triton.jit
def _parts_kernel(
    q_ptr, k_ptr, v_ptr, hidden_ptr, lengths_ptr, positions_ptr, tail_positions_ptr, mixed_ptr, lse_ptr,
    q_head, q_row, q_dim, k_head, k_row, k_dim, v_head, v_row, v_dim, hidden_row,
    rows, heads, inner_scale, outer_scale, window,
    GROUPS: tl.constexpr, D: tl.constexpr, DV: tl.constexpr, PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
    SOFTCAP: tl.constexpr, WINDOWED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute part `program_id(2)` of the softmax over keys, for BLOCK_M (head of group, row) pairs of one key head.

    Writes `mixed` [PARTS, heads, rows, DV] and `lse` [PARTS, heads, rows] (base 2). The last part is the tail.
    """
    key_head, part = tl.program_id(1), tl.program_id(2)
    pair, dim, column = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N)
    real = pair < GROUPS * rows
    head, row = key_head * GROUPS + pair // rows, pair % rows
    q_at = q_ptr + head[:, None] * q_head + row[:, None] * q_row + dim[None, :] * q_dim
    q = tl.load(q_at, mask=real[:, None] & (dim[None, :] < D), other=0.0)
    position = tl.load(positions_ptr + row, mask=real, other=0).to(tl.int32)
    k_ptr, v_ptr = k_ptr + key_head.to(tl.int64) * k_head, v_ptr + key_head.to(tl.int64) * v_head
    best = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total, mixed = tl.zeros([BLOCK_M], tl.float32), tl.zeros([BLOCK_M, BLOCK_DV], tl.float32)
    prefix, tail = tl.load(lengths_ptr).to(tl.int32), tl.load(lengths_ptr + 1).to(tl.int32)
    if part < PARTS - 1:
        first = tl.maximum(0, prefix - window + 1) if WINDOWED else 0
        size = tl.cdiv(tl.cdiv(prefix - first, PARTS - 1), BLOCK_N) * BLOCK_N
        start = first + part * size
        end = tl.minimum(start + size, prefix)
        for at in range(start, end, BLOCK_N):
            key = at + column
            seen = real[:, None] & (key < end)[None, :]
            if WINDOWED:
                seen = seen & (position[:, None] - key[None, :] < window)
            best, total, mixed = _add_block(
                q, k_ptr, v_ptr, key, key < end, seen, k_row, k_dim, v_row, v_dim, best, total, mixed,
                inner_scale, outer_scale, D, DV, BLOCK_D, BLOCK_DV, SOFTCAP, PRECISION,
            )  # fmt: skip
    else:
        for at in range(0, tail, BLOCK_N):
            node = at + column
            seen = _seen_in_tail(
                hidden_ptr + row[:, None] * hidden_row, tail_positions_ptr, node,
                real[:, None] & (node < tail)[None, :], position, window, WINDOWED,
            )  # fmt: skip
            best, total, mixed = _add_block(
                q, k_ptr, v_ptr, prefix + node, node < tail, seen, k_row, k_dim, v_row, v_dim, best, total, mixed,
                inner_scale, outer_scale, D, DV, BLOCK_D, BLOCK_DV, SOFTCAP, PRECISION,
            )  # fmt: skip
    _store_part(mixed_ptr, lse_ptr, (part * heads + head) * rows + row, real, best, total, mixed, DV, BLOCK_DV)


@triton.jit
def _merge_kernel(
    mixed_ptr, lse_ptr, out_ptr, out_head, out_row, rows, heads,
    DV: tl.constexpr, PARTS: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """Merge the parts' results for one row of one head, weighted by their share of the softmax's sum."""
    head, row = tl.program_id(1), tl.program_id(0)
    part, dim = tl.arange(0, PARTS), tl.arange(0, BLOCK_DV)
    at = (part * heads + head) * rows + row
    lse = tl.load(lse_ptr + at)
    weight = tl.exp2(lse - tl.max(lse, 0))
    some = (weight > 0)[:, None] & (dim[None, :] < DV)
    mixed = tl.load(mixed_ptr + at[:, None].to(tl.int64) * DV + dim[None, :], mask=some, other=0.0)
    merged = tl.sum(mixed * weight[:, None], 0) / tl.sum(weight, 0)
    tl.store(out_ptr + head * out_head + row * out_row + dim, merged.to(out_ptr.dtype.element_ty), mask=dim < DV)


@functools.cache
def _processors(device: torch.device) -> tuple[int, bool]:
    """Count a GPU's multiprocessors, and tell if each has Hopper's 227 KiB of shared memory; (4, False) on a CPU."""
    if device.type != "cuda":
        return 4, False
    properties = torch.cuda.get_device_properties(device)
    return properties.multi_processor_count, properties.shared_memory_per_block_optin >= 200 * 1024


def blocks(pairs: int, d: int, itemsize: int, large: bool) -> tuple[int, int, int]:
    """Choose rows and keys of a block, and warps, for `pairs` rows of one key head with a padded head size of `d`.

    Blocks are as large as ptxas compiles without spilling (float32 is multiplied exactly, without tensor cores), within
    100 KiB of shared memory, or 160 KiB where it is `large`.
    """
    if itemsize > 2:
        return 16, 16, 4
    most = 128 if d <= 64 or (d <= 128 and large) else 64 if d <= 128 or large else 32
    block_m = min(most, max(16, triton.next_power_of_2(pairs)))
    return block_m, 64 if d <= 128 else 32, 8 if block_m == 128 else 4


def parts(key_heads: int, row_blocks: int, processors: int) -> int:
    """Choose the number of parts, the tail's included: a power of two that fills the device about WAVES times."""
    wanted = max(2, WAVES * processors // (key_heads * row_blocks))
    return int(min(MAX_PARTS, 1 << (wanted.bit_length() - 1)))


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    hidden: torch.Tensor,
    lengths: torch.Tensor,
    positions: torch.Tensor,
    tail_positions: torch.Tensor,
    scaling: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Compute attention of query [1, heads, n, d] over key [1, key_heads, capacity, d] and value [.., dv].

    Strides are free; the other arguments are those of on_device.StaticLayout. Returns [1, n, heads, dv], contiguous, in
    query's dtype. The host reads nothing back.
    """
    _, heads, rows, d = query.shape
    key_heads, dv = key.shape[1], value.shape[3]
    groups = heads // key_heads
    block_d, block_dv = (max(16, triton.next_power_of_2(size)) for size in (d, dv))
    processors, large = _processors(query.device)
    block_m, block_n, warps = blocks(groups * rows, max(block_d, block_dv), query.dtype.itemsize, large)
    row_blocks = triton.cdiv(groups * rows, block_m)
    count = parts(key_heads, row_blocks, processors)
    mixed = query.new_empty(count, heads, rows, dv, dtype=torch.float32)
    lse = query.new_empty(count, heads, rows, dtype=torch.float32)
    out = query.new_empty(1, rows, heads, dv)
    _parts_kernel[(row_blocks, key_heads, count)](
        query, key, value, hidden.view(torch.uint8), lengths, positions, tail_positions, mixed, lse,
        *query.stride()[1:], *key.stride()[1:], *value.stride()[1:], hidden.stride(0),
        rows, heads,
        *((scaling * LOG2E, 1.0) if softcap is None else (scaling / softcap, softcap * LOG2E)), window or 0,
        GROUPS=groups, D=d, DV=dv, PARTS=count,
        BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d, BLOCK_DV=block_dv,
        SOFTCAP=softcap is not None, WINDOWED=window is not None,
        PRECISION="ieee" if query.dtype == torch.float32 else "tf32",
        num_warps=warps, num_stages=2,
    )  # fmt: skip
    _merge_kernel[(rows, heads)](
        mixed, lse, out, out.stride(2), out.stride(1), rows, heads, DV=dv, PARTS=count, BLOCK_DV=block_dv, num_warps=4
    )
    return out
