"""Seconds of a step by engine, rows and context, beside the bound that the machine sets, interleaved in one process.

    python benchmarks/native.py [--dtype float32] [--rounds 7] [--context 256 4096] [--rows 1 4 8 16 64]
                                [--engines native packed eager] [--output native.json]

The bound of a step is the larger of its bytes (weights as the native engine stores them, keys and values) over the
bandwidth, and its floating-point operations over the peak; both are measured in this process with its threads: a sum
over 1 GB, and the faster of torch's largest products and ours.
"""

from __future__ import annotations

import ctypes
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import setup  # before longspec: it finds the package
import torch

from longspec.models.native import build
from longspec.models.native.engine import Steps
from longspec.models.native.packing import Packed
from longspec.models.native.structs import pointer
from longspec.models.native.weights import linear as described
from longspec.models.target import CausalLM


def bandwidth() -> float:
    """Bytes a second that a sum over 1 GB reads, at best."""
    numbers = torch.ones(2**28)
    return 4 * numbers.numel() / min(_timed(numbers.sum) for _ in range(7))


def peak(dtype: torch.dtype) -> float:
    """Floating-point operations a second, at best: of torch's product of two square matrices of this number format, and
    of ours of 240 rows in float32."""
    square = torch.randn(2048, 2048, dtype=dtype)
    layer = torch.nn.Linear(512, 4096, bias=False, dtype=torch.bfloat16)
    packed, x, y = Packed(layer), torch.randn(240, 512), torch.empty(240, 4096)
    linear, library, threads = described(packed), build.library(), torch.get_num_threads()

    def run() -> None:
        library.longspec_product(
            ctypes.byref(linear), ctypes.c_void_p(pointer(x)), 240, ctypes.c_void_p(pointer(y)), threads
        )

    ours = 2 * 240 * 512 * 4096 / min(_timed(run) for _ in range(20))
    return max(ours, 2 * 2048**3 / min(_timed(lambda: square @ square) for _ in range(7)))


def _timed(run: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def bounds(steps: Steps, rows: int, context: int, rate: float, most: float) -> dict[str, float]:
    """Seconds that a step takes at least."""
    weights = steps._weights
    matrices = [*(part for layer in weights.packed for part in layer), weights.head]
    c, size = weights.constants, steps._keys.element_size()
    cache = 2 * len(weights.packed) * context * c.kv_heads * c.head_dim * size
    read = sum(part.words.numel() * part.words.element_size() for part in matrices) + cache
    products = 2 * rows * sum(part.rows * part.inputs for part in matrices)
    attention = 4 * rows * context * c.heads * c.head_dim * len(weights.packed)
    return {"bytes_seconds": read / rate, "flop_seconds": (products + attention) / most}


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--context", type=int, nargs="+", default=[256, 4096])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 8, 16, 64])
    parser.add_argument("--engines", nargs="+", default=["native", "packed", "eager"])
    args = parser.parse_args()
    targets: dict[str, CausalLM] = {name: setup.target(args.dtype, engine=name) for name in args.engines}
    first = next(iter(targets.values()))
    text, raw = setup.text_ids(__file__, 20), []
    rate, most = bandwidth(), peak(first.dtype)
    print(f"bandwidth {rate / 1e9:.1f} GB/s, peak {most / 1e9:.0f} GFLOP/s")
    for context in args.context:
        for target in targets.values():
            target.reset(context + max(args.rows))
            for start in range(0, context, 1024):
                target.append(text[start : min(start + 1024, context)])
        for rows in args.rows:
            ids, parents = text[:rows], list(range(-1, rows - 1))
            found: dict[str, list[float]] = {name: [] for name in targets}
            for number in range(args.rounds + 1):
                for name, target in targets.items():
                    target.rewind(context)
                    seconds = _timed(functools.partial(target.extend, ids, parents))
                    if number:  # the first is a warm-up
                        found[name].append(seconds)
            middle = {name: statistics.median(times) for name, times in found.items()}
            bound = bounds(targets["native"].native, rows, context, rate, most) if "native" in targets else {}
            raw.append({"context": context, "rows": rows, "seconds": found, **bound})
            least = max(bound.values(), default=float("nan"))
            print(f"context {context}, {rows:3d} rows: " + ", ".join(f"{n} {1e3 * s:.1f} ms" for n, s in middle.items())
                  + f"; bound {1e3 * least:.1f} ms, native {middle.get('native', float('nan')) / least:.2f} times it",
                  flush=True)  # fmt: skip
    setup.keep(args.output, first, steps=raw, bandwidth=rate, peak=most)


if __name__ == "__main__":
    main()
