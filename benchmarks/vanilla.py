"""Is our baseline weak? Vanilla against Hugging Face `generate`, interleaved in one process.

    python benchmarks/vanilla.py [--dtype bfloat16] [--rounds 5] [--output vanilla.json]

Both decode the same prompts greedily to the same length. Printed: the ratio of decode throughputs per round, and
its median. Prefill is taken out of both: Hugging Face's is timed as `generate` with one new token.
"""

from __future__ import annotations

import statistics
import time

import setup  # before longspec: it finds the package
import torch
from transformers import AutoModelForCausalLM

from longspec.decoding import Limits, generate
from longspec.methods import vanilla

NEW_TOKENS = 64


def hf_seconds(model, ids, new_tokens):
    """Wall-clock seconds of one greedy `generate`."""
    mask = torch.ones(1, len(ids), dtype=torch.long)
    started = time.perf_counter()
    model.generate(
        torch.tensor([ids]),
        attention_mask=mask,
        min_new_tokens=new_tokens,
        max_new_tokens=new_tokens,
        do_sample=False,
    )
    return time.perf_counter() - started


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--context", type=int, nargs="+", default=[256, 1024])
    args = parser.parse_args()
    ours = setup.target(args.dtype)
    theirs = AutoModelForCausalLM.from_pretrained(ours.folder, dtype=ours.dtype).eval()
    text = setup.text_ids(__file__, 8)
    raw = []
    for context in args.context:
        ids, limits = text[:context], Limits((), NEW_TOKENS)
        generate(ours, vanilla.Method(), None, ids, limits)
        hf_seconds(theirs, ids, NEW_TOKENS)
        for number in range(args.rounds):
            hf = hf_seconds(theirs, ids, NEW_TOKENS) - hf_seconds(theirs, ids, 1)
            own = generate(ours, vanilla.Method(), None, ids, limits).decode_seconds
            raw.append({"context": context, "round": number, "hf_seconds": hf, "vanilla_seconds": own})
            print(f"context {context}, round {number}: vanilla / generate = {hf / own:.2f}")
        ratios = [row["hf_seconds"] / row["vanilla_seconds"] for row in raw if row["context"] == context]
        print(f"context {context}: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")
    setup.keep(args.output, ours, rounds=raw)


if __name__ == "__main__":
    main()
