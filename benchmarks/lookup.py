"""N-gram drafting against Hugging Face's prompt lookup, and both against vanilla, interleaved prompt by prompt.

    python benchmarks/lookup.py [--samples 6] [--new-tokens 64] [--output lookup.json]

The default experiment's data sets, its two n-gram variants, and `generate(prompt_lookup_num_tokens=...)`; greedy, the
same prompts and limits. Decode only: Hugging Face's prefill is timed as a `generate` of one new token and taken out.
"""

from __future__ import annotations

import time

import setup  # before longspec: it finds the package
import torch
from transformers import AutoModelForCausalLM

from longspec.decoding import Limits, generate
from longspec.methods import vanilla
from longspec.target import CausalLM

PEERS = {"hf_generate": {}, "hf_prompt_lookup": {"prompt_lookup_num_tokens": 8}}
"""Options of Hugging Face `generate`."""


def theirs(model, ids: list[int], new_tokens: int, **options) -> tuple[float, int]:
    """(seconds, new tokens) of one greedy `generate`."""
    mask = torch.ones(1, len(ids), dtype=torch.long)
    started = time.perf_counter()
    out = model.generate(
        torch.tensor([ids]), attention_mask=mask, max_new_tokens=new_tokens, do_sample=False, **options
    )
    return time.perf_counter() - started, out.shape[1] - len(ids)


def one_prompt(target: CausalLM, reference, variants: dict, ids: list[int], new_tokens: int) -> list[dict]:
    """Every method once: seconds of decoding, and the tokens decoded in them."""
    rows = []
    for method, (shape, drafter) in variants.items():
        turn = generate(target, shape, drafter, ids, Limits(target.stop_ids, new_tokens))
        rows.append({"method": method, "seconds": turn.decode_seconds, "tokens": len(turn.output_ids) - 1})
    for method, options in PEERS.items():
        prefill, _ = theirs(reference, ids, 1, **options)
        whole, tokens = theirs(reference, ids, new_tokens, **options)
        rows.append({"method": method, "seconds": whole - prefill, "tokens": tokens - 1})
    return rows


def report(dataset: str, rows: list[dict], drafting: list[str]) -> None:
    """Ratios of throughputs, each a ratio of sums."""
    rates = {}
    for method in {row["method"] for row in rows}:
        own = [row for row in rows if row["method"] == method]
        rates[method] = sum(row["tokens"] for row in own) / sum(row["seconds"] for row in own)
    best = max(rates[method] for method in drafting)
    print(
        f"{dataset}: n-gram / vanilla {best / rates['vanilla']:.2f}, "
        f"n-gram / prompt lookup {best / rates['hf_prompt_lookup']:.2f}, "
        f"vanilla / generate {rates['vanilla'] / rates['hf_generate']:.2f}",
        flush=True,
    )


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--new-tokens", type=int, default=64)
    args = parser.parse_args()
    complete = setup.experiment()
    target = setup.target(args.dtype)
    reference = AutoModelForCausalLM.from_pretrained(target.folder, dtype=target.dtype).eval()
    drafting = setup.ngram_variants(complete, target)
    variants = {"vanilla": (vanilla.Method(), None), **drafting}
    raw: list[dict] = []
    for dataset in complete["datasets"]:
        prompts = setup.prompts(complete, dataset, args.samples)
        one_prompt(target, reference, variants, prompts[0].prompt_ids, args.new_tokens)  # warms up
        rows = []
        for prompt in prompts:
            for row in one_prompt(target, reference, variants, prompt.prompt_ids, args.new_tokens):
                rows.append({"dataset": dataset, "sample": prompt.sample_id, **row})
        report(dataset, rows, list(drafting))
        raw += rows
    setup.keep(args.output, target, rows=raw)


if __name__ == "__main__":
    main()
