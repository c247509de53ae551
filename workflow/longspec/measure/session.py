"""Answers samples with a loaded backend (our loop, or a peer's), and shows progress between them.

The only clocks are the backend's. Of failures it handles non-finite logits alone; it reads and writes no results.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from tqdm import tqdm

from longspec.backends.load import load
from longspec.backends.server import ServerError
from longspec.core.errors import UserError
from longspec.core.records import Prompt, Sample, Turn, decoded, prompts_sha256
from longspec.core.run_record import Tuning
from longspec.core.spec import GenerateSpec, SamplingSpec
from longspec.data import prompting
from longspec.decoding.autotune import tuning
from longspec.decoding.loop import Limits
from longspec.decoding.sampling import GREEDY
from longspec.measure import warmup
from longspec.measure.host_load import HostLoad
from longspec.models import machine, model_files
from longspec.models.shared import Shared

PROFILED_SAMPLES = 2
PROFILED_TOKENS = 32
"""Most tokens of a profiled answer."""
PROGRESS_SECONDS = 10.0
"""Least seconds between two progress lines where the output is not a terminal."""


class Runner:
    """Load a backend with its tokenizer, and answer samples of one or more turns with it."""

    def __init__(self, spec: GenerateSpec, shared: Shared | None = None, logs: Path = Path()) -> None:
        """Load the backend of a spec; with `shared`, over weights that other backends of the job use too.

        `logs`: folder of the logs of what is started."""
        self.spec = spec
        self.tokenizer = prompting.tokenizer(spec["model"])
        self.backend = load(spec, shared, logs)
        self.limits = Limits(
            stop_ids=self.backend.stop_ids | prompting.stop_ids(self.tokenizer, spec["model"]),
            max_new_tokens=spec["dataset"]["max_new_tokens"],
            context_tokens=spec["model"].get("context") or self.backend.context_tokens,
        )
        self.concurrency = spec.get("concurrency", 1)
        self._tokenizing = threading.Lock()  # a tokenizer may not be used by two threads

    def outcomes(self, asked: Sequence[tuple[Prompt, int]]) -> Iterator[Sample | ServerError]:
        """Answer samples, (prompt, repeat), in order, `concurrency` of them at a time; yields each when all before it
        have been yielded. A sample that its server failed yields the error."""
        if self.concurrency == 1:
            yield from (self._outcome(*one) for one in asked)
            return
        with ThreadPoolExecutor(self.concurrency, "request") as pool:
            waiting = [pool.submit(self._outcome, *one) for one in asked]
            try:
                yield from (one.result() for one in waiting)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _outcome(self, prompt: Prompt, repeat: int) -> Sample | ServerError:
        try:
            return self.answer(prompt, repeat)
        except ServerError as error:
            return error

    def answer(self, prompt: Prompt, repeat: int) -> Sample:
        """Answer all turns of one sample; each answer goes into the next turn's prompt.

        Raises UserError where the engine falls back meanwhile, since earlier samples were measured by another."""
        turns: list[Turn] = []
        texts: list[str] = []
        engine = self.backend.engine
        load = HostLoad(self.backend.device, self.backend.processes)
        for number in range(len(prompt.turns)):
            with self._tokenizing:
                ids = prompting.asked_ids(self.tokenizer, prompt, texts)
            if self.limits.context_tokens and len(ids) > self.limits.context_tokens:
                break  # the tables count this turn as unanswered
            turns.append(self.backend.answer(ids, self.limits, prompt.sample_id, number))
            if turns[-1].failed:
                break
            with self._tokenizing:
                texts.append(prompting.answer_text(self.tokenizer, turns[-1].output_ids))
        sample = Sample(prompt.sample_id, repeat, turns, texts, load.end())
        if self.backend.engine != engine:
            raise UserError("engine", f"{engine} at first, then {self.backend.engine_note}", "engine: eager here")
        return sample

    def tune(self, prompts: list[Prompt], spare: list[Prompt], known: Tuning | None = None) -> Tuning | None:
        """Choose the method's options that are `auto`, on texts that are not measured; None where there are none."""

        def ids_of(message: str, chat: bool) -> list[int]:
            return prompting.turn_ids(self.tokenizer, [message], [], chat)

        return self.backend.tune(lambda: tuning.texts(prompts, spare, ids_of), self.limits, known)

    def profile(self, prompts: list[Prompt]) -> list[dict[str, float]] | None:
        """Profile the steps of answers to the first prompts that fit the context; None where the backend cannot."""
        limits = dataclasses.replace(self.limits, max_new_tokens=min(PROFILED_TOKENS, self.limits.max_new_tokens))
        room = self.limits.context_tokens
        asked = [p for p in prompts if not room or len(p.prompt_ids) <= room][:PROFILED_SAMPLES]
        found = [self.backend.profile(prompt.prompt_ids, limits, prompt.sample_id) for prompt in asked]
        return [row for row in found if row is not None] or None

    def warm_up(self, prompts: list[Prompt]) -> list[dict[str, int | float]]:
        """Generate before the first sample without measuring (warmup.py); returns lengths and seconds of each."""
        return warmup.warm_up(self.backend, self.limits, prompts, self.spec["warmup"])

    def conditions(self, prompts: list[Prompt]) -> dict[str, object]:
        """Return the conditions that two runs must share before one is divided by the other."""
        return {
            "model": model_files.resolved(self.spec["model"]),
            "prompts_sha256": prompts_sha256(prompts),
            "sampling": sampled(self.spec["sampling"]),
            "seed": self.spec["seed"],
            **self.backend.facts(),
            "device": machine.device_name(self.backend.device),
            "threads": torch.get_num_threads(),
            "stop_ids": sorted(self.limits.stop_ids),
            "max_new_tokens": self.limits.max_new_tokens,
            "context_tokens": self.limits.context_tokens,
            "warmup": self.spec["warmup"],
            "repeats": self.spec["repeats"],
            "schedule": self.spec["schedule"],
        }


def sampled(settings: SamplingSpec) -> str:
    """Describe the sampling settings that differ from greedy decoding's; "greedy" where none do."""
    chosen = {key: value for key, value in settings.items() if value != getattr(GREEDY, key)}
    return ", ".join(f"{key} {value}" for key, value in chosen.items()) or "greedy"


class Bar:
    """Show progress between samples: a bar on a terminal, else a line every `PROGRESS_SECONDS`."""

    def __init__(self, title: str, total: int, done: int) -> None:
        terminal = os.isatty(2)
        self._tokens, self._seconds = 0, 0.0
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=title,
            unit="sample",
            mininterval=0.5 if terminal else PROGRESS_SECONDS,
            ascii=not terminal,
            dynamic_ncols=terminal,
            bar_format=None if terminal else "{desc}: {n_fmt}/{total_fmt} samples{postfix}, {remaining} left\n",
        )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def add(self, sample: Sample) -> None:
        """Count one more sample, and show the tokens per second of all so far."""
        tokens, seconds = decoded(sample)
        self._tokens += tokens
        self._seconds += seconds
        rate = self._tokens / self._seconds if self._seconds else 0.0
        self._bar.set_postfix_str(f"{rate:.1f} tokens/s", refresh=False)
        self._bar.update()
