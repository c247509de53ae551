"""How near is a step to what the memory allows, and what does a longer draft cost? Interleaved in one process.

    python benchmarks/engine.py [--dtype bfloat16] [--context 256 4096] [--rounds 5] [--output engine.json]

T(q) is one forward of q tokens behind the context, T(q) / T(1) its price. Roofline: the bytes of the weights and of
the keys and values that a step reads, over the bandwidth with which this process reads a large tensor, measured
between the forwards. Overhead: what a vanilla step takes beyond its forward, as a share of the step.
"""

from __future__ import annotations

import statistics
import time

import setup  # before longspec: it finds the package
import torch

from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import vanilla
from longspec.models.target import CausalLM

QUERIES = (1, 4, 8, 16, 64)
STEPS = 8
READ_BYTES = 2**29


def seconds(work) -> float:
    """Of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bandwidth(block: torch.Tensor) -> float:
    """Bytes read a second, the best of three passes over a tensor larger than any cache."""
    return block.numel() * block.element_size() / min(seconds(block.sum) for _ in range(3))


def forward_seconds(target: CausalLM, context: int, queries: int) -> float:
    """Median over some forwards of `queries` tokens, none of them kept."""
    times = []
    for _ in range(STEPS):
        times.append(seconds(lambda: target.extend(list(range(500, 500 + queries)), list(range(-1, queries - 1)))))
        target.rewind(context)
    return statistics.median(times)


@torch.inference_mode()
def measure(target: CausalLM, ids: list[int], block: torch.Tensor) -> dict:
    """One round at one context length."""
    limits = Limits((), STEPS * 4 + 1)
    step = generate(target, vanilla.Method(), None, ids, limits).decode_seconds / (STEPS * 4)
    target.reset(len(ids) + max(QUERIES) + STEPS * 8)
    target.append(ids)
    row = {"context": len(ids), "vanilla_step_seconds": step, "bytes_per_second": bandwidth(block)}
    for queries in QUERIES:
        row[f"forward_seconds_{queries}"] = forward_seconds(target, len(ids), queries)
    # The same positions as the vanilla steps saw, one by one, without the loop around them.
    alone = []
    for _ in range(STEPS * 4):
        alone.append(seconds(lambda: target.extend([500], [-1])))
        target.commit([0])
    row["vanilla_forward_seconds"] = statistics.mean(alone)
    return row


def read_bytes(target: CausalLM, context: int) -> int:
    """Bytes that one step must read: the weights once (tied embeddings once), the keys and values of the context."""
    config = target.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = 2 * config.num_hidden_layers * config.num_key_value_heads * head * context
    return (target.parameters + cache) * target.dtype.itemsize


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--context", type=int, nargs="+", default=[256, 4096])
    args = parser.parse_args()
    target, text = setup.target(args.dtype, args.engine), setup.text_ids(__file__, 8)
    block, raw = torch.ones(READ_BYTES // 4), []
    for number in range(args.rounds):
        for context in args.context:
            raw.append({"round": number, **measure(target, text[:context], block)})
    print(f"{target.dtype}, engine {target.engine}, {torch.get_num_threads()} threads")
    for context in args.context:
        rows = [row for row in raw if row["context"] == context]

        def median(figure, rows=rows) -> float:
            return statistics.median(map(figure, rows))

        base = median(lambda row: row["forward_seconds_1"])
        roofline = median(lambda row: row["forward_seconds_1"] * row["bytes_per_second"]) / read_bytes(target, context)
        prices = {q: median(lambda row, q=q: row[f"forward_seconds_{q}"] / row["forward_seconds_1"]) for q in QUERIES}
        beyond = median(lambda row: 1 - row["vanilla_forward_seconds"] / row["vanilla_step_seconds"])
        print(
            f"context {context}: T(1) {base * 1e3:.1f} ms, {roofline:.2f} times the roofline; "
            + ", ".join(f"T({q})/T(1) {price:.2f}" for q, price in prices.items() if q > 1)
            + f"; outside the forward {beyond:.1%} of a vanilla step"
        )
    setup.keep(args.output, target, rounds=raw)


if __name__ == "__main__":
    main()
