"""What do the verifiers cost, and what does shared noise gain? Interleaved in one process.

    python benchmarks/sampling.py [--dtype bfloat16] [--rounds 7] [--output sampling.json]

First: vanilla decoding of one prompt under greedy, keyed and residual sampling; ratios of seconds per token, per round.
Then: a drafter (the target without its middle layers) at temperature 1 under the keyed verifier with and without the
target's noise, and under the residual verifier; accepted drafts per draft offered, over the same questions.
"""

from __future__ import annotations

import json
import statistics

import setup  # before longspec: it finds the package
import torch
from transformers import AutoModelForCausalLM

from longspec.data import prompting
from longspec.decoding import gumbel
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, vanilla
from longspec.decoding.sampling import Settings
from longspec.decoding.verifiers import keyed, residual
from longspec.drafters.causal_lm import CausalLMDrafter
from longspec.models.target import CausalLM

VERIFIERS = {
    "greedy": (keyed.Verifier, Settings(0.0)),
    "keyed": (keyed.Verifier, Settings(1.0)),
    "keyed, top-p 0.9": (keyed.Verifier, Settings(1.0, top_p=0.9)),
    "residual": (residual.Verifier, Settings(1.0)),
}
KEPT_LAYERS = 24


def cost(target: CausalLM, ids: list[int], rounds: int) -> list[dict]:
    """Seconds per token of every verifier in every round."""
    raw, limits = [], Limits((), 65)
    for number in range(-1, rounds):  # round -1 warms up
        for name, (verifier, settings) in VERIFIERS.items():
            made = verifier(settings, number + 1, target.vocab_size, target.device)
            turn = generate(target, vanilla.Method(), None, ids, limits, made)
            if number >= 0:
                raw.append({"rule": name, "round": number, "seconds_per_token": turn.decode_seconds / 64})
    return raw


def gain(target: CausalLM, prompts: list[list[int]]) -> dict[str, float]:
    """Acceptance per offered draft, gamma 4."""
    model = AutoModelForCausalLM.from_pretrained(target.folder, dtype=target.dtype).eval()
    half = KEPT_LAYERS // 2
    model.model.layers = torch.nn.ModuleList([*model.model.layers[:half], *model.model.layers[-half:]])
    model.config.num_hidden_layers = KEPT_LAYERS
    for number, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = number
    lm, rates = CausalLM(model), {}
    for name, verifier, shared in [
        ("keyed, shared noise", keyed.Verifier, True),
        ("keyed, not shared", keyed.Verifier, False),
        ("residual", residual.Verifier, False),
    ]:
        steps = []
        for number, ids in enumerate(prompts):
            made = verifier(Settings(1.0), gumbel.key(0, number, 0), target.vocab_size, target.device)
            drafter = CausalLMDrafter(lm, target.vocab_size, shared)
            steps += generate(target, sequential.Method(4), drafter, ids, Limits((), 65), made).steps
        rates[name] = sum(accepted for _, _, accepted in steps) / sum(offered for _, offered, _ in steps)
    return rates


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--context", type=int, default=256)
    args = parser.parse_args()
    target, ids = setup.target(args.dtype), setup.text_ids(__file__, 4)[: args.context]
    tokenizer = prompting.tokenizer(setup.MODEL)
    raw = cost(target, ids, args.rounds)
    seconds = {name: [row["seconds_per_token"] for row in raw if row["rule"] == name] for name in VERIFIERS}
    for name, own in seconds.items():
        ratios = [greedy / mine for greedy, mine in zip(seconds["greedy"], own, strict=True)]
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        print(f"{name}: {statistics.median(ratios):.3f} of greedy's throughput, from {spread}")
    questions = (setup.ROOT / "config/prompts/chat.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in questions.splitlines()]
    prompts = [prompting.turn_ids(tokenizer, [row["question"]], [], chat=True) for row in rows[::3]]
    rates = gain(target, prompts)
    for name, rate in rates.items():
        print(f"{name}: {rate:.3f} of the offered drafts accepted")
    setup.keep(args.output, target, cost=raw, acceptance=rates)


if __name__ == "__main__":
    main()
