"""What a GLIDE drafter costs and gains: interleaved in one process.

    python benchmarks/glide.py [--weights FOLDER] [--context 256 4096] [--samples 60] [--output glide.json]

Cost ratio c: a draft step of one token over a forward of the target of one token, at each context length. Then the
held-out chat prompts (config/prompts/chat.jsonl and chat_heldout.jsonl; no drafter was trained on them), greedy, 96
new tokens, vanilla and each shape of draft in turn: tokens per verification step (tau), speedup of the decode loop.
"""

from __future__ import annotations

import json
import os
import statistics
import time

import setup  # before longspec: it finds the package
import torch

from longspec.data import prompting
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.decoding.sampling import GREEDY
from longspec.decoding.tree import TokenTree
from longspec.decoding.verifiers import keyed
from longspec.drafters import glide
from longspec.models import model_files

STEPS = 24
FOLDER = setup.ROOT / "config" / "drafters" / "smollm2-135m-hybrid"
PROMPTS = ("chat.jsonl", "chat_heldout.jsonl")
SHAPES = {
    "gamma 1": sequential.Method(1),
    "gamma 2": sequential.Method(2),
    "gamma 3": sequential.Method(3),
    "gamma 4": sequential.Method(4),
    "tree 2 2": tree.Method([2, 2]),
    "tree 3 2 2": tree.Method([3, 2, 2]),
    "tree 2 2 2": tree.Method([2, 2, 2]),
    "tree 3 3 3": tree.Method([3, 3, 3]),
    "tree 4 4 4": tree.Method([4, 4, 4]),
}


@torch.inference_mode()
def cost(target, drafter, ids: list[int]) -> dict:
    """Medians of draft steps at depths 0 to 3 and of the target's steps, in turn."""
    verifier = keyed.Verifier(GREEDY, 0, target.vocab_size, target.device)
    verifier.start(ids)
    target.reset(len(ids) + 2 * STEPS)
    target.append(ids[:-1])
    drafter.prefill(ids, len(ids) + 2 * STEPS)
    drafts, steps, heads = [], [], []
    for _ in range(STEPS):
        line = TokenTree.rooted_at(ids[-1])
        node = 0
        for depth in range(4):
            started = time.perf_counter()
            (token, _), *_ = drafter.expand(line, [node], 1, verifier)[0]
            (heads if depth == 0 else drafts).append(time.perf_counter() - started)
            node = line.add(token, node)
        drafter.layer.take(None)
        started = time.perf_counter()
        target.extend([ids[-1]], [-1])
        steps.append(time.perf_counter() - started)
        target.rewind(len(ids) - 1)
    row = {"first": heads, "draft": drafts, "target": steps}
    return {"context": len(ids), **{f"{name}_seconds": statistics.median(times) for name, times in row.items()}}


def chat_ids() -> list[list[int]]:
    """The held-out prompts, through the model's chat template."""
    tokenizer = model_files.tokenizer(model_files.folder(setup.MODEL))
    files = [setup.ROOT / "config" / "prompts" / name for name in PROMPTS]
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [prompting.turn_ids(tokenizer, [row["question"]], [], True) for row in rows]


def speed(target, drafter, prompts: list[list[int]], shapes: dict) -> dict:
    """Tokens, steps and seconds of each shape, prompt by prompt in turn."""
    limits = Limits(target.stop_ids, 96)
    rows: dict[str, list] = {name: [] for name in ("vanilla", *shapes)}
    for number, ids in enumerate([prompts[0], *prompts]):
        for name in rows:
            method = shapes.get(name, vanilla.Method())
            turn = generate(target, method, drafter if name in shapes else None, ids, limits)
            if number:  # the first is a warm-up
                rows[name].append([len(turn.output_ids) - 1, len(turn.steps), turn.decode_seconds])
    return rows


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--weights", default=str(FOLDER))
    parser.add_argument("--context", type=int, nargs="*", default=[256, 4096])
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    target = setup.target(args.dtype)
    drafter = glide.make(target, weights={"path": args.weights}, window=512)
    text = setup.text_ids(__file__, 1 + max([0, *args.context]) // 1500)
    costs = [cost(target, drafter, text[:n]) for _ in range(args.rounds) for n in args.context]
    for row in costs:
        ratio = row["draft_seconds"] / row["target_seconds"]
        milli = {k: f"{1000 * v:.2f}" for k, v in row.items() if k != "context"}
        print(f"context {row['context']}: c {ratio:.3f}", milli)
    rows = {}
    if args.samples:
        prompts = chat_ids()
        prompts = prompts[:: max(1, len(prompts) // args.samples)][: args.samples]
        rows = speed(target, drafter, prompts, {name: SHAPES[name] for name in args.shapes})
        base = sum(s for _, _, s in rows["vanilla"]) / sum(n for n, _, _ in rows["vanilla"])
        for name, turns in rows.items():
            tokens, steps, seconds = (sum(column) for column in zip(*turns, strict=True))
            print(f"{name}: tau {tokens / steps:.3f}, {tokens / seconds:.1f} tokens/s, {base * tokens / seconds:.3f}x")
    setup.keep(args.output, target, weights=os.path.relpath(args.weights, setup.ROOT), costs=costs, runs=rows)


if __name__ == "__main__":
    main()
