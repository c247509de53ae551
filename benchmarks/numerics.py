"""What `numerics: invariant` costs: vanilla decoding with it and without, interleaved.

    python benchmarks/numerics.py [--rounds N] [--context N ...]

Two copies of the default model in one process take turns. Prints the invariant throughput as a share of the fast one.
"""

from __future__ import annotations

import statistics

import setup  # before longspec: it finds the package

from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import vanilla

NEW_TOKENS = 32


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--context", type=int, nargs="+", default=[256, 4000])
    args = parser.parse_args()
    targets = {numerics: setup.target(args.dtype, numerics=numerics) for numerics in ("fast", "invariant")}
    text, raw = setup.text_ids(__file__, 20), []
    for context in args.context:
        for number in range(args.rounds):
            row: dict[str, float] = {"context": context, "round": number}
            for numerics, target in targets.items():
                turn = generate(target, vanilla.Method(), None, text[:context], Limits((), NEW_TOKENS))
                row[f"{numerics}_seconds_per_token"] = turn.decode_seconds / (NEW_TOKENS - 1)
            raw.append(row)
        shares = [
            row["fast_seconds_per_token"] / row["invariant_seconds_per_token"]
            for row in raw
            if row["context"] == context
        ]
        spread = f"{min(shares):.3f} to {max(shares):.3f}"
        print(f"context {context}: {statistics.median(shares):.3f} of the fast throughput, from {spread}")
    setup.keep(args.output, targets["invariant"], rounds=raw)


if __name__ == "__main__":
    main()
