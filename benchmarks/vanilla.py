"""Is our baseline weak? Vanilla against Hugging Face `generate`, interleaved in one process.

    python benchmarks/vanilla.py [--dtype bfloat16] [--rounds 5] [--context 256 4096] [--output vanilla.json]

Both decode the same prompts greedily to the same length, under the same clock: prefill ends with the first token
(peers/hf_generate.py). Printed: the ratio of decode throughputs per round, and its median.
"""

from __future__ import annotations

import statistics

import setup  # before longspec: it finds the package

from longspec.backends.peers import hf_generate
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import vanilla
from longspec.decoding.sampling import GREEDY
from longspec.models import model_files

NEW_TOKENS = 64


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--context", type=int, nargs="+", default=[256, 1024])
    args = parser.parse_args()
    ours = setup.target(args.dtype)
    theirs = hf_generate.make(model_files.plain(setup.MODEL, ours.dtype, ours.device))
    text = setup.text_ids(__file__, 20)
    raw = []
    for context in args.context:
        ids, limits = text[:context], Limits((), NEW_TOKENS)
        generate(ours, vanilla.Method(), None, ids, limits)
        theirs.answer(ids, limits, GREEDY, 0)
        for number in range(args.rounds):
            hf = theirs.answer(ids, limits, GREEDY, 0).decode_seconds
            own = generate(ours, vanilla.Method(), None, ids, limits).decode_seconds
            raw.append({"context": context, "round": number, "hf_seconds": hf, "vanilla_seconds": own})
            print(f"context {context}, round {number}: vanilla / generate = {hf / own:.2f}")
        ratios = [row["hf_seconds"] / row["vanilla_seconds"] for row in raw if row["context"] == context]
        print(f"context {context}: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")
    setup.keep(args.output, ours, rounds=raw)


if __name__ == "__main__":
    main()
