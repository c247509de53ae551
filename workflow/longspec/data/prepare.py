"""One data set's prompts for one model, as token ids, and a few others to tune on.

Contract: prompts.jsonl, prompts_tuning.jsonl and prompts_summary.json appear complete or not at all. Which prompts
are kept, cut or dropped is decided here and counted, and what data they are of is recorded. No tuning prompt is a kept
one, by id or by content; there are none where every row is kept. It does not know methods.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from longspec.config import templates
from longspec.core import registry
from longspec.core.errors import UserError
from longspec.core.io import write_whole
from longspec.core.records import Prompt, to_line
from longspec.core.spec import DatasetSpec, ModelSpec
from longspec.data import prompting
from longspec.models import model_files, trust

PART = "\ufffd"
TUNING = 8
"""Most prompts that are set aside for tuning."""


class Preparer:
    """Turns rows into prompts within the limits of one model."""

    def __init__(self, model: ModelSpec, dataset: DatasetSpec) -> None:
        self.dataset = dataset
        self.where = f"dataset {dataset['name']}"
        self.tokenizer = prompting.tokenizer(model)
        self.template = templates.chosen_template(dataset, dataset["prompt_templates"])
        trusted = trust.allowed(model)
        folder = model_files.folder(model)
        self.longest = self._longest(model_files.context(folder, trusted, model.get("context")))
        self.vocabulary = model_files.vocabulary(folder, trusted)
        self.counts: Counter[str] = Counter(kept=0, too_short=0, too_long=0, truncated=0)
        self.tuning: list[Prompt] = []

    def _longest(self, context: int | None) -> int | None:
        """Most prompt tokens: what the data set says, and never so many that no answer has room."""
        wanted: int | None = self.dataset["max_prompt_tokens"]
        if context is None:
            return wanted
        key = "max_new_tokens" if self.dataset["prompt_reserve"] is None else "prompt_reserve"
        reserved = self.dataset["prompt_reserve"] or self.dataset["max_new_tokens"]
        room = context - reserved
        if room < 1:
            raise UserError(
                self.where,
                f"{key} {reserved} leaves no room for a prompt",
                f"less than the model's context of {context} tokens",
            )
        return room if wanted is None else min(wanted, room)

    def prompts(self) -> list[Prompt]:
        """All prompts that are kept; `self.tuning` are set aside. UserError for a duplicate id or an empty data set."""
        source = registry.load("sources", self.dataset["source"])
        seen: set[str] = set()
        kept: list[Prompt] = []
        for sample_id, row in source.read(self.dataset):
            if sample_id in seen:
                raise UserError(self.where, f"two samples are called {sample_id!r}", "one sample an id")
            seen.add(sample_id)
            prompt = self._prompt(sample_id, row)
            if prompt is not None:
                kept.append(prompt)
        if not seen:
            raise UserError(self.where, "the source has no rows", "at least one")
        if not kept:
            raise UserError(
                self.where,
                f"all {len(seen)} prompts were dropped ({dict(self.counts)})",
                "at least one to be kept, by min_prompt_tokens, max_prompt_tokens and too_long",
            )
        wanted = self.dataset["samples"]
        chosen = kept if wanted is None else _spread(kept, wanted)
        self.counts["kept"] = len(chosen)
        self.counts["truncated"] = sum(prompt.truncated_tokens > 0 for prompt in chosen)
        self.tuning = _spread(_others(kept, chosen), TUNING)
        return chosen

    def data(self) -> str:
        """What the rows turned out to be: a hub's repository at its commit, or the fingerprint of local data."""
        source = registry.load("sources", self.dataset["source"])
        return str(getattr(source, "resolved", source.fingerprint)(self.dataset))

    def _ids(self, turns: list[str]) -> list[int]:
        return prompting.turn_ids(self.tokenizer, turns, [], self.dataset["chat"])

    def _prompt(self, sample_id: str, row: dict[str, Any]) -> Prompt | None:
        where = f"{self.where}, sample {sample_id}"
        _require_whole_characters(self.where, [sample_id])
        turns = templates.messages(self.dataset, self.template, sample_id, row)
        _require_whole_characters(where, turns)
        ids = self._ids(turns)
        if not ids:
            raise UserError(where, "the prompt has no tokens", "some text from its template")
        if self.vocabulary is not None and max(ids) >= self.vocabulary:
            raise UserError(
                where,
                f"its token {self.tokenizer.convert_ids_to_tokens(max(ids))!r} has the id {max(ids)}",
                f"ids below {self.vocabulary}, of which the model has embeddings: its own tokenizer and chat template",
            )
        if len(ids) < self.dataset["min_prompt_tokens"]:
            self.counts["too_short"] += 1
            return None
        removed = 0
        if self.longest is not None and len(ids) > self.longest:
            if self.dataset["too_long"] == "drop":
                self.counts["too_long"] += 1
                return None
            turns, ids, removed = self._truncate(sample_id, turns, len(ids))
        return Prompt(sample_id, turns, ids, self.dataset["chat"], removed)

    def _truncate(self, sample_id: str, turns: list[str], before: int) -> tuple[list[str], list[int], int]:
        """Cut the first message in its middle, as LongBench does, until the whole prompt fits."""
        assert self.longest is not None
        body = self.tokenizer(turns[0], add_special_tokens=False)["input_ids"]
        keep = len(body) - (before - self.longest)
        while keep > 0:
            head, tail = body[: (keep + 1) // 2], body[len(body) - keep // 2 :]
            # A cut inside a character leaves a part of it on both sides, which is no text.
            cut = self.tokenizer.decode(head).rstrip(PART) + self.tokenizer.decode(tail).lstrip(PART)
            ids = self._ids([cut, *turns[1:]])
            # Tokens at the seam can merge differently; a few more are then taken away.
            if len(ids) <= self.longest:
                return [cut, *turns[1:]], ids, before - len(ids)
            keep -= len(ids) - self.longest
        raise UserError(
            f"{self.where}, sample {sample_id}",
            f"{self.longest} tokens are too few for the chat template around a message",
            "a larger max_prompt_tokens, or more room in the context",
        )


def _require_whole_characters(where: str, texts: list[str]) -> None:
    for text in texts:
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise UserError(where, f"half of a UTF-16 pair in {ascii(text)[:80]}", "Unicode characters")


def _spread(prompts: list[Prompt], wanted: int) -> list[Prompt]:
    """`wanted` of the prompts at even distances, so that a few still stand for the whole."""
    if wanted >= len(prompts):
        return prompts
    return [prompts[number * len(prompts) // wanted] for number in range(wanted)]


def _others(prompts: list[Prompt], chosen: list[Prompt]) -> list[Prompt]:
    """The prompts that are not chosen, nor the same as a chosen one."""
    taken = {tuple(prompt.prompt_ids) for prompt in chosen}
    return [prompt for prompt in prompts if tuple(prompt.prompt_ids) not in taken]


def write(path: Path, prompts: list[Prompt], tuning: list[Prompt], summary: dict[str, int | str]) -> None:
    """All files, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        path.with_name("prompts_summary.json"): json.dumps(summary, indent=2) + "\n",
        path.with_name("prompts_tuning.jsonl"): "".join(map(to_line, tuning)),
        path: "".join(map(to_line, prompts)),
    }
    write_whole(texts)
