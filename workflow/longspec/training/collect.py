"""Collects a target's answers to questions on disk, as training data for a drafter.

answers.json lists the shards in the folder `answers` beside it. An interrupted run continues: shards of the same
version are kept, and the questions go on with another seed. The size is announced and checked against the disk before
the run starts.
"""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from longspec.backends import job_target
from longspec.core.errors import UserError
from longspec.core.spec import AnswersSpec
from longspec.data import prompting
from longspec.models import target_parts
from longspec.training import questions, shards, texts
from longspec.training.answers import QUESTION_TOKENS, Answer, Answering

ASKED_TOKENS = 128
"""Tokens reserved for a question with its chat template."""
log = logging.getLogger("longspec.answer")


def feature_layers(layers: int) -> list[int]:
    """List the decoder layers whose features are kept: at one and two thirds of the depth, and the last (EAGLE-3)."""
    return sorted({layers // 3, 2 * layers // 3, layers - 1})


def announce(folder: Path, spec: AnswersSpec, per_token: float, have: int) -> None:
    """Log the size of the shards still to be written; raises UserError when the disk has too little room.

    `per_token`: bytes of one answer token; `have`: answer tokens that are on the disk already."""
    need, free = per_token * max(0, spec["train_tokens"] - have), shutil.disk_usage(folder).free
    log.info("%d answer tokens, of which %d are there: %.2f GB more on disk", spec["train_tokens"], have, need / 1e9)
    if need > 0.95 * free:
        raise UserError(
            "train_tokens",
            f"{spec['train_tokens']} would take {need / 1e9:.1f} GB more",
            f"at most what {folder} has free, {free / 1e9:.1f} GB",
        )


def produced(spec: AnswersSpec, seed: int) -> Iterator[Answer]:
    """Yield answers to the spec's questions, or its texts unchanged, within the target's context."""
    target = job_target.load(spec)
    target_parts.require_last_layer(target, "glide")
    context = spec["model"].get("context") or target.context_tokens
    tokenizer = prompting.tokenizer(spec["model"])
    layers = feature_layers(target.config.num_hidden_layers)
    if spec["texts"]:
        longest = min(spec["answer_tokens"], context or spec["answer_tokens"])
        yield from texts.run(target, tokenizer, layers, Path(spec["texts"]), longest)
    if spec["questions"]:
        least = QUESTION_TOKENS + spec["answer_tokens"]
        capacity = min(ASKED_TOKENS + QUESTION_TOKENS + least, context or sys.maxsize)
        if capacity <= least:
            raise UserError(
                "answer_tokens",
                f"{spec['answer_tokens']}; with {QUESTION_TOKENS} of a question they fill the context of {context}",
                f"less than {max(0, capacity - QUESTION_TOKENS)}",
            )
        stops = prompting.stop_ids(tokenizer, spec["model"])
        answering = Answering(target, tokenizer, layers, spec["slots"], spec["answer_tokens"], capacity, seed, stops)
        yield from answering.run(questions.draw(Path(spec["questions"]), seed))


def fill(folder: Path, spec: AnswersSpec, have: int) -> None:
    """Write shards until there are `train_tokens` answer tokens, or no more questions; `have` of them exist."""
    number = len(list(folder.glob("*.safetensors")))
    waiting: list[Answer] = []
    started, new = time.monotonic(), 0
    for answer in produced(spec, spec["seed"] + number):
        waiting.append(answer)
        new += len(answer.ids) - answer.prompt
        full = have + new >= spec["train_tokens"]
        if full or len(waiting) == shards.PER_SHARD:
            shards.write(folder / f"{number:05d}.safetensors", waiting)
            number, waiting = number + 1, []
            rate = new / (time.monotonic() - started)
            log.info("%d of %d answer tokens, %.0f a second", have + new, spec["train_tokens"], rate)
        if full:
            return
    if waiting:
        shards.write(folder / f"{number:05d}.safetensors", waiting)


def counted(folder: Path) -> int:
    """Count the answer tokens in a folder's shards."""
    return sum(s.queries + 1 for file in folder.glob("*.safetensors") for s in shards.read(file))
