"""Makes one data set's prompts for one model, as token ids, and a few others to tune on.

Contract: prompts.jsonl, prompts_tuning.jsonl and prompts_summary.json appear complete or not at all. Which prompts
are kept, cut or dropped is decided here and counted, and what data they are of is recorded. No tuning prompt is a kept
one, by id or by content; there are none where every row is kept. It does not know methods.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from longspec.config import prompt_length, templates
from longspec.core import registry
from longspec.core.errors import UserError
from longspec.core.io import write_whole
from longspec.core.records import Prompt, to_line
from longspec.core.spec import DatasetSpec, ModelSpec
from longspec.data import prompting, special_tokens
from longspec.data.sources._interface import Fields
from longspec.models import model_files, trust

STAND_IN = "Yes."
"""An answer, before there are any."""
TUNING = 8
"""Most prompts that are set aside for tuning."""


class Preparer:
    """Turns rows into prompts within the limits of one model."""

    def __init__(self, model: ModelSpec, dataset: DatasetSpec) -> None:
        self.model, self.dataset = model, dataset
        self.where = f"dataset {dataset['name']}"
        self.template = templates.chosen_template(dataset)
        folder, trusted = model_files.folder(model), trust.allowed(model)
        config = model_files.configuration(folder, trusted)
        self.longest = prompt_length.longest(dataset, model_files.context(config, model.get("context")))
        self.vocabulary = model_files.vocabulary(config)
        self.tokenizer = prompting.tokenizer(model)
        self.stop_ids = model_files.stated_stop_ids(folder, config) | prompting.stop_ids(self.tokenizer, model)
        self.counts: Counter[str] = Counter(kept=0, too_short=0, too_long=0, truncated=0)
        self.tuning: list[Prompt] = []

    def prompts(self) -> list[Prompt]:
        """Make all prompts that are kept, and set `self.tuning` aside. UserError for a duplicate id, or no prompt."""
        source = registry.load("sources", self.dataset["source"])
        seen: set[str] = set()
        kept: list[Prompt] = []
        for sample_id, fields in source.read(self.dataset):
            if sample_id in seen:
                raise UserError(self.where, f"two samples are called {sample_id!r}", "one sample an id")
            seen.add(sample_id)
            prompt = self._prompt(sample_id, fields)
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
        """Name what the rows turned out to be: a hub's repository at its commit, or a hash of local data."""
        source = registry.load("sources", self.dataset["source"])
        return str(getattr(source, "resolved", source.fingerprint)(self.dataset))

    def doubts(self, prompts: list[Prompt]) -> list[UserError]:
        """Find what is allowed and rarely meant: special tokens that stand twice, or at which no answer ends."""
        found = special_tokens.doubled(self.tokenizer, self.where, prompts)
        if self.dataset["chat"]:
            found += special_tokens.unstopped(self.tokenizer, f"models.{self.model.get('name')}", self.stop_ids)
        return found

    def _ids(self, where: str, turns: list[str]) -> list[int]:
        """Make the ids of the first turn's prompt; those of the last one's are made too, with answers that stand in,
        so that no job meets messages that the template refuses, or ids that the model does not have."""
        ids = prompting.turn_ids(self.tokenizer, turns, [], self.dataset["chat"])
        later = [STAND_IN] * (len(turns) - 1)
        highest = max(
            prompting.turn_ids(self.tokenizer, turns, later, self.dataset["chat"]) if later else ids, default=0
        )
        if self.vocabulary is not None and highest >= self.vocabulary:
            raise UserError(
                where,
                f"its token {self.tokenizer.convert_ids_to_tokens(highest)!r} has the id {highest}",
                f"ids below {self.vocabulary}, of which the model has embeddings: its own tokenizer and chat template",
            )
        return ids

    def _prompt(self, sample_id: str, fields: Fields) -> Prompt | None:
        where = f"{self.where}, sample {sample_id}"
        turns = templates.messages(self.dataset, self.template, sample_id, fields)
        ids = self._ids(where, turns)
        if not ids:
            raise UserError(where, "the prompt has no tokens", "some text from its template")
        if len(ids) < self.dataset["min_prompt_tokens"]:
            self.counts["too_short"] += 1
            return None
        removed = 0
        if self.longest is not None and len(ids) > self.longest:
            if self.dataset["too_long"] == "drop":
                self.counts["too_long"] += 1
                return None
            turns, ids, removed = self._truncate(where, turns, len(ids))
        return Prompt(sample_id, turns, ids, self.dataset["chat"], removed)

    def _truncate(self, where: str, turns: list[str], before: int) -> tuple[list[str], list[int], int]:
        """Cut the first message in its middle, as LongBench does, until the whole prompt fits."""
        assert self.longest is not None
        body = self.tokenizer(turns[0], add_special_tokens=False)["input_ids"]
        keep = len(body) - (before - self.longest)
        while keep > 0:
            head, tail = body[: (keep + 1) // 2], body[len(body) - keep // 2 :]
            # A cut inside a character leaves a part of it on both sides, which is no text.
            cut = self.tokenizer.decode(head).rstrip(prompting.PART) + self.tokenizer.decode(tail).lstrip(
                prompting.PART
            )
            ids = prompting.turn_ids(self.tokenizer, [cut], [], self.dataset["chat"])
            # Tokens at the seam can merge differently; a few more are then taken away.
            if len(ids) <= self.longest:
                return [cut, *turns[1:]], ids, before - len(ids)
            keep -= len(ids) - self.longest
        raise UserError(
            where,
            f"{self.longest} tokens are too few for the chat template around a message",
            "a larger max_prompt_tokens, or more room in the context",
        )


def _spread(prompts: list[Prompt], wanted: int) -> list[Prompt]:
    """Take `wanted` of the prompts at even distances, so that a few still stand for the whole."""
    if wanted >= len(prompts):
        return prompts
    return [prompts[number * len(prompts) // wanted] for number in range(wanted)]


def _others(prompts: list[Prompt], chosen: list[Prompt]) -> list[Prompt]:
    """Take the prompts that are not chosen, nor the same as a chosen one."""
    taken = {tuple(prompt.prompt_ids) for prompt in chosen}
    return [prompt for prompt in prompts if tuple(prompt.prompt_ids) not in taken]


def write(path: Path, prompts: list[Prompt], tuning: list[Prompt], summary: dict[str, int | str]) -> None:
    """Write the prompts, those to tune on and the summary: all files, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        path.with_name("prompts_summary.json"): json.dumps(summary, indent=2) + "\n",
        path.with_name("prompts_tuning.jsonl"): "".join(map(to_line, tuning)),
        path: "".join(map(to_line, prompts)),
    }
    write_whole(texts)
