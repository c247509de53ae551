"""How far a text's logits move with how it is run: within our engines, within transformers, and between the two.

    python benchmarks/rounding.py [--model all|smollm2|tiny] [--texts N] [--tokens N]

The gate's bounds (analysis/verdict.py) are chosen from these figures. Each figure is that of one position of a text:
the largest minus the least difference of two runs' logits over the vocabulary (verify/replays.py), in units of the
format's `eps` times the scale of the logits there. The first run is always one token a step.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import setup  # before longspec: it finds the package
import torch

from longspec.core.errors import UserError
from longspec.models import model_files
from longspec.models.target import CausalLM
from longspec.verify import replays

sys.path.insert(0, str(setup.ROOT / "tests"))
import tiny

DTYPES = ("float32", "bfloat16", "float16")
ENGINES = (("eager", "fast"), ("packed", "fast"), ("packed", "invariant"))
SHARES = (0.5, 0.9, 0.99, 0.999, 1.0)
Text = tuple[list[int], list[int]]
"""What is run as a prompt, and what then is run step by step."""


def real_texts(count: int, tokens: int) -> list[Text]:
    """Modules of the standard library and their docstrings, behind prompts of 32 to 1,000 tokens."""
    tokenizer = model_files.tokenizer(model_files.folder(setup.MODEL))
    files = sorted(Path(ast.__file__).parent.glob("*.py"))[:: max(1, 150 // count)][:count]
    texts = []
    for number, file in enumerate(files):
        source = file.read_text(encoding="utf-8")
        if number % 2:
            source = (ast.get_docstring(ast.parse(source)) or source) + source
        ids = tokenizer(source)["input_ids"]
        prompt = min((32, 200, 500, 1000)[number % 4], max(1, len(ids) - tokens))
        texts.append((ids[:prompt], ids[prompt : prompt + tokens]))
    return texts


def tiny_texts(count: int, tokens: int) -> list[Text]:
    """Ids drawn at random."""
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randint(3, tiny.VOCAB, (count, tiny.CONTEXT), generator=draw).tolist()
    return [(ids[: 8 + number], ids[8 + number : 8 + number + min(tokens, 64)]) for number, ids in enumerate(drawn)]


class Ledger:
    """Figures by what was compared."""

    def __init__(self) -> None:
        self.units: dict[str, list[float]] = {}

    def add(self, what: str, some: torch.Tensor, others: torch.Tensor, dtype: torch.dtype) -> None:
        """Two runs' logits [n, vocab] of one text."""
        units = replays.moved(some, others) / (torch.finfo(dtype).eps * replays.scale(some))
        self.units.setdefault(what, []).extend(round(unit, 3) for unit in units.tolist())


def ours(target: CausalLM, text: Text) -> Iterator[tuple[str, torch.Tensor]]:
    """(what was run, logits [n, vocab]); one token a step comes first."""
    prompt, ids = text
    target.reset(len(prompt) + len(ids) + 16)
    target.append(prompt)

    def run(logits: Iterator[torch.Tensor]) -> torch.Tensor:
        target.rewind(len(prompt))
        return torch.cat(list(logits)).clone()

    yield "alone", run(replays.chained(target, ids, 1))
    for step in (2, 8, 17):
        yield "chain", run(replays.chained(target, ids, step))
    for shape in replays.BRANCHED:
        yield "tree", run(replays.branched(target, ids, *shape))


def theirs(model: Any, text: Text) -> tuple[torch.Tensor, torch.Tensor]:
    """transformers' logits [n, vocab]: of one forward, and of one token a step."""
    prompt, ids = text
    whole = model(torch.tensor([prompt + ids])).logits[0, len(prompt) :]
    cache, rows = model(torch.tensor([prompt]), use_cache=True).past_key_values, []
    for token in ids:
        output = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
        rows.append(output.logits[0, -1])
    return whole, torch.stack(rows)


@torch.inference_mode()
def measure(ledger: Ledger, name: str, load: Any, texts: list[Text], dtype: torch.dtype) -> None:
    """All pairs of one model in one number format."""
    label = f"{name} {str(dtype).removeprefix('torch.')}"
    plain: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    model = load(dtype)
    own = model.config._attn_implementation
    """transformers' choice: sdpa, but for models that it knows not to take it."""
    for attention in dict.fromkeys((own, "eager")):
        model.set_attn_implementation(attention)
        plain[attention] = [theirs(model, text) for text in texts]
        for whole, alone in plain[attention]:
            ledger.add(f"{label}: transformers {attention}, whole", alone, whole, dtype)
    if own != "eager":
        for (_, some), (_, others) in zip(plain[own], plain["eager"], strict=True):
            ledger.add(f"{label}: transformers {own} and eager", some, others, dtype)
    for engine, numerics in ENGINES:
        try:
            target = CausalLM(load(dtype), engine=engine, numerics=numerics)
        except UserError as error:
            print(f"{label}: no {engine} {numerics}: {error.found}")
            continue
        for text, (_, other) in zip(texts, plain[own], strict=True):
            (_, alone), *rest = ours(target, text)
            for kind, logits in rest:
                ledger.add(f"{label}: {engine} {numerics}, {kind}", alone, logits, dtype)
            ledger.add(f"{label}: {engine} {numerics} and transformers", alone, other, dtype)


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--model", choices=("all", "smollm2", "tiny"), default="all")
    parser.add_argument("--texts", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=64)
    args = parser.parse_args()
    dtypes = [getattr(torch, name) for name in (DTYPES if args.dtype == "auto" else [args.dtype])]
    ledger = Ledger()
    for dtype in dtypes:
        if args.model != "tiny":
            load = functools.partial(model_files.causal_lm, model_files.folder(setup.MODEL))
            measure(ledger, "smollm2", load, real_texts(args.texts, args.tokens), dtype)
        for name in tiny.ARCHITECTURES if args.model != "smollm2" else ():
            texts = tiny_texts(args.texts, args.tokens)
            measure(ledger, f"tiny {name}", lambda dtype, name=name: tiny.hf_model(name).to(dtype), texts, dtype)
    found: dict[str, dict[str, float]] = {}
    for what, units in ledger.units.items():
        shares = torch.quantile(torch.tensor(units), torch.tensor(SHARES)).tolist()
        found[what] = {"positions": len(units), **dict(zip(map(str, SHARES), shares, strict=True))}
        print(what, " ".join(f"{name}: {value:.1f}" for name, value in found[what].items()))
    setup.keep(args.output, setup.target("float32"), units=found)


if __name__ == "__main__":
    main()
