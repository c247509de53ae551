"""A loaded model with one method, and the loop over its samples.

Contract: a sample is answered under the clock of `decoding` alone; progress is shown between samples. It does not know
files, and no failure but numbers that are none.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from tqdm import tqdm

from longspec import attention, machine, model_files, plugins, prompting, tuning
from longspec.decoding import Limits, generate
from longspec.drafters._interface import Drafter
from longspec.errors import UserError
from longspec.journal import Job
from longspec.methods._interface import Method, Tunable
from longspec.records import Prompt, Sample, Turn, decoded, prompts_sha256
from longspec.sampling import GREEDY
from longspec.stages import _target
from longspec.target import CausalLM

WARMUP_NEW_TOKENS = 32
PROGRESS_SECONDS = 10.0
"""Between two progress lines where the output is no terminal."""


class Runner:
    """A loaded target with one method, ready to answer prompts."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.tokenizer = prompting.tokenizer(spec["model"])
        self.target = _target.load(spec)
        self.method, self.drafter = build(spec["method"], self.target)
        self.limits = Limits(
            stop_ids=self.target.stop_ids,
            max_new_tokens=spec["dataset"]["max_new_tokens"],
            context_tokens=spec["model"].get("context") or self.target.context_tokens,
        )

    def answer(self, prompt: Prompt, repeat: int) -> Sample:
        """All turns of one sample; each answer goes into the next turn's prompt."""
        turns: list[Turn] = []
        texts: list[str] = []
        for number in range(len(prompt.turns)):
            ids = prompting.asked_ids(self.tokenizer, prompt, texts)
            if self.limits.context_tokens and len(ids) > self.limits.context_tokens:
                break  # the tables count it as unanswered
            rule = _target.rule(self.spec, self.target, prompt.sample_id, number)
            turns.append(generate(self.target, self.method, self.drafter, ids, self.limits, rule))
            if turns[-1].failed:
                break
            texts.append(self.tokenizer.decode(turns[-1].output_ids, skip_special_tokens=True))
        return Sample(prompt.sample_id, repeat, turns, texts)

    def tune(
        self, prompts: list[Prompt], spare: list[Prompt], known: dict[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Choose what the method leaves to `auto`, on texts that are not measured; None where it leaves nothing.

        `known`: what an earlier process chose for the same job; one job has one shape.
        """
        if not isinstance(self.method, Tunable) or not self.method.auto:
            return None
        if known is not None:
            self.method = type(self.method)(**known["options"])
            return known
        assert self.drafter is not None
        texts, source = tuning.texts(
            prompts, spare, lambda message, chat: prompting.turn_ids(self.tokenizer, [message], [], chat)
        )
        # No sample has an empty name. Texts of the residual rule differ with what is drafted; the keyed one stands in.
        rules = functools.partial(_target.rule, {**self.spec, "verification": "keyed"}, self.target, "")
        self.method, found = tuning.tune(self.method, self.target, self.drafter, texts, self.limits, rules)
        return {"texts_are": source, **found}

    def warm_up(self, prompts: list[Prompt]) -> list[dict[str, Any]]:
        """Unmeasured generations, the same for every method, on a prompt that is not in the data.

        Its ids are those of the data's median-length prompt with its halves exchanged: as long, not the same.
        """
        ids = sorted((p.prompt_ids for p in prompts), key=len)[len(prompts) // 2]
        ids = ids[len(ids) // 2 :] + ids[: len(ids) // 2]
        limits = Limits((), min(WARMUP_NEW_TOKENS, self.limits.max_new_tokens), self.limits.context_tokens)
        done = []
        for number in range(self.spec["warmup"]):
            started = time.perf_counter()
            rule = _target.rule(self.spec, self.target, "", number)  # no sample has an empty name
            turn = generate(self.target, self.method, self.drafter, ids, limits, rule)
            seconds = time.perf_counter() - started
            done.append({"prompt_tokens": len(ids), "output_tokens": len(turn.output_ids), "seconds": seconds})
        return done

    def conditions(self, prompts: list[Prompt]) -> dict[str, Any]:
        """What two runs must share before one is divided by the other."""
        return {
            "model": model_files.resolved(self.spec["model"]),
            "prompts_sha256": prompts_sha256(prompts),
            "sampling": sampled(self.spec["sampling"]),
            "verification": _target.rule_name(self.spec),
            "seed": self.spec["seed"],
            "dtype": str(self.target.dtype).removeprefix("torch."),
            "attention": attention.NAME,
            "engine": self.target.engine,
            "numerics": self.target.numerics,
            "device": machine.device_name(self.target.device),
            "threads": torch.get_num_threads(),
            "max_new_tokens": self.limits.max_new_tokens,
            "context_tokens": self.limits.context_tokens,
            "warmup": self.spec["warmup"],
            "repeats": self.spec["repeats"],
        }


def sampled(settings: dict[str, Any]) -> str:
    """What differs from plain greedy decoding, as a reader wants it."""
    chosen = {key: value for key, value in settings.items() if value != getattr(GREEDY, key)}
    return ", ".join(f"{key} {value}" for key, value in chosen.items()) or "greedy"


def build(method: dict[str, Any], target: CausalLM) -> tuple[Method, Drafter | None]:
    """The method and its drafter from a config entry; each gets its own options, by keyword."""
    module = plugins.load("methods", method["method"])
    chosen = {name: method[name] for name in plugins.options("methods", method["method"])}
    drafter = None
    if name := method.get("drafter"):
        options = {option: method[option] for option in plugins.options("drafters", name)}
        drafter = plugins.load("drafters", name).make(target, **options)
    return module.Method(**chosen), drafter


def measured(
    runner: Runner, jobs: Sequence[Job], title: str, done: int = 0, before: Callable[[], None] = lambda: None
) -> Iterator[Sample]:
    """The samples of `jobs` from number `done` on, with progress between them; `before` is called ahead of each."""
    terminal = os.isatty(2)
    bar = tqdm(
        total=len(jobs),
        initial=done,
        desc=title,
        unit="sample",
        mininterval=0.5 if terminal else PROGRESS_SECONDS,
        ascii=not terminal,
        dynamic_ncols=terminal,
        bar_format=None if terminal else "{desc}: {n_fmt}/{total_fmt} samples{postfix}, {remaining} left\n",
    )
    tokens, seconds = 0, 0.0
    engine = runner.target.engine
    with bar:
        for repeat, prompt in jobs[done:]:
            before()
            sample = runner.answer(prompt, repeat)
            if runner.target.engine != engine:
                raise UserError(
                    f"engine: {engine} at first, then {runner.target.engine_note}; expected engine: eager here"
                )
            sample_tokens, sample_seconds = decoded(sample)
            tokens += sample_tokens
            seconds += sample_seconds
            bar.set_postfix_str(f"{tokens / seconds if seconds else 0:.1f} tokens/s", refresh=False)
            bar.update()
            yield sample
