"""Runs given texts through a target, as training data for a drafter in place of answers (LongSpec's recipe)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from longspec.core.errors import UserError, one_of
from longspec.core.records import read_rows
from longspec.core.text import require_whole
from longspec.models.target import CausalLM
from longspec.training.answers import TOP, Answer


def run(target: CausalLM, tokenizer: Any, layers: list[int], file: Path, longest: int) -> Iterator[Answer]:
    """Yield texts in pieces of at most `longest` tokens as answers, the first token of each being its question."""
    target.watch(layers)
    for text in read(file):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids) - 1, longest):
            piece = ids[start : start + longest + 1]
            if len(piece) > 2:
                yield _run_text(target, layers, piece)


def read(file: Path) -> Iterator[str]:
    """Read the field `text` of each row. UserError names the line where it is missing, empty or no text."""
    for number, row in read_rows(file):
        where = f"{file}, line {number}"
        if "text" not in row:
            raise UserError(where, "has no field 'text'", one_of(row))
        text = row["text"]
        if not isinstance(text, str) or not text.strip():
            raise UserError(where, f"'text' is {repr(text)[:160]}", "some text")
        yield require_whole(where, "'text'", text)


@torch.inference_mode()
def _run_text(target: CausalLM, layers: list[int], ids: list[int]) -> Answer:
    n = len(ids) - 1
    target.reset(n)
    logits = target.extend(ids[:-1], list(range(-1, n - 1)))
    target.commit(list(range(n)))
    best = logits.topk(TOP)
    keys, values = (states.transpose(0, 1).clone() for states in target.last_layer())
    return Answer(
        ids=torch.tensor(ids, dtype=torch.int32),
        prompt=1,
        top_ids=best.indices.int(),
        top_log_p=(best.values.float() - logits.float().logsumexp(-1, keepdim=True)).half(),
        features=torch.stack([target.features(layers, node) for node in range(n)]),
        keys=keys,
        values=values,
    )
