"""Audit stored tokens: are they the model's? Asked of Hugging Face's model, and of nothing of ours.

Contract: every turn of every job is scored again by one plain forward over its prompt and output, with transformers'
own model, attention and logits processors; each stored token must be the one with the best (noised) score. Of our
code only the records, the rule that names the noise, the noise itself and one bound take part: no loop, cache, engine,
method or drafter. Tokens that are not the best are ties when their gap is below twice the rounding, since either score
can be off by it: the largest difference there between that forward and one in float32 (in a float32 run, between that
forward and one of prompt and output apart); and below the bound between two engines (analysis/verdict.py). Under the
residual rule each token must be one that can be sampled.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.utils import logging as transformers_logging

from longspec.analysis import tables, verdict
from longspec.core import run_record
from longspec.core.errors import UserError
from longspec.core.records import Prompt, Sample, read_records
from longspec.core.run_record import RunRecord
from longspec.data import prompting
from longspec.decoding import gumbel
from longspec.models import machine, model_files, trust
from longspec.verify import replays

transformers_logging.disable_progress_bar()
COLUMNS = [*tables.NAMES, "tokens", "agreeing", "ties", "largest_gap", "worst_sample", "verdict"]


@functools.lru_cache(maxsize=2)  # one model in its own format and in float32: jobs of one model follow each other
def load(folder: Path, dtype: torch.dtype, device: torch.device, trusted: bool) -> Any:
    """Load Hugging Face's model; `trusted`: code that its folder brings may run."""
    return model_files.causal_lm(folder, dtype, trusted).to(device)


class Scorer:
    """Hugging Face's model, as a job's run.json describes it."""

    def __init__(self, run: RunRecord) -> None:
        self.spec = run.spec
        self.drawn = run.conditions.verification != "keyed"
        torch.set_num_threads(machine.resolve_threads(self.spec["threads"]))
        device = machine.resolve_device(self.spec["device"])
        format_name = str(run.conditions.dtype)
        dtype = getattr(torch, format_name)
        self.folder = model_files.folder(self.spec["model"])
        self.trusted = trust.allowed(self.spec["model"])
        self.model = load(self.folder, dtype, device, self.trusted)
        self.tokenizer = prompting.tokenizer(self.spec["model"])
        sampling = self.spec["sampling"]
        self.sampled = sampling["temperature"] > 0
        unit = verdict.bound(format_name, 1.0, verdict.BETWEEN)
        self.bound = replays.warped(unit, sampling["repetition_penalty"], sampling["temperature"])
        if self.sampled:
            config = GenerationConfig(do_sample=True, **{**sampling, "top_k": sampling["top_k"] or 0})
        else:
            config = GenerationConfig(do_sample=False, repetition_penalty=sampling["repetition_penalty"])
        self.processors = self.model._get_logits_processor(config, input_ids_seq_length=1)

    def logits(self, prompt_ids: list[int], output_ids: list[int]) -> torch.Tensor:
        """Compute the logits before each output token by one forward: [n, vocab] float32."""
        ids = torch.tensor([prompt_ids + output_ids[:-1]], device=self.model.device)
        logits: torch.Tensor = self.model(ids, logits_to_keep=len(output_ids)).logits[0].float()
        return logits

    def logits_again(self, prompt_ids: list[int], output_ids: list[int]) -> torch.Tensor:
        """Compute them by other arithmetic: in float32, or, where that is the format, prompt and output apart."""
        ids, cut = torch.tensor([prompt_ids + output_ids[:-1]], device=self.model.device), len(prompt_ids)
        if self.model.dtype != torch.float32:
            exact = load(self.folder, torch.float32, self.model.device, self.trusted)
            again: torch.Tensor = exact(ids, logits_to_keep=len(output_ids)).logits[0]
            return again
        before = self.model(ids[:, :cut], use_cache=True, logits_to_keep=1)
        if ids.shape[1] == cut:
            return before.logits[0]
        after = self.model(ids[:, cut:], past_key_values=before.past_key_values, use_cache=True)
        return torch.cat([before.logits[0], after.logits[0]])

    def scores(self, logits: torch.Tensor, sample_id: str, number: int, prompt_ids: list[int], ids: list[int]) -> Any:
        """Scores [n, vocab]: processed by transformers, and noised where the keyed rule was used."""
        texts = (torch.tensor([prompt_ids + ids[:position]], device=logits.device) for position in range(len(ids)))
        scores = torch.cat([self.processors(text, row[None].clone()) for text, row in zip(texts, logits, strict=True)])
        if self.sampled and not self.drawn:
            key = gumbel.key(self.spec["seed"], sample_id, number)
            scores = scores + gumbel.GumbelNoise(key, scores.shape[-1], scores.device).rows(list(range(len(ids))))
        return scores

    def turn(self, sample_id: str, number: int, prompt_ids: list[int], ids: list[int]) -> tuple[list[float], int]:
        """(gaps of the tokens that are not the best, how many of these are ties)"""
        asked = (sample_id, number, prompt_ids, ids)
        logits = self.logits(prompt_ids, ids)
        scores = self.scores(logits, *asked)
        stored = scores.gather(-1, torch.tensor(ids, device=scores.device)[:, None])[:, 0]
        gaps = torch.where(stored.isfinite(), 0.0, float("inf")) if self.drawn else scores.amax(-1) - stored
        wrong = (gaps > 0).nonzero()[:, 0]
        if not len(wrong):
            return [], 0
        again = self.scores(self.logits_again(prompt_ids, ids), *asked)
        both = scores.isfinite() & again.isfinite()
        rounding = torch.where(both, (scores - again).abs(), 0.0).amax(-1)
        limit = torch.minimum(2 * rounding, self.bound * replays.scale(logits))
        return gaps[wrong].tolist(), int((gaps[wrong] < limit[wrong]).sum())


@torch.inference_mode()
def audit(folder: Path) -> dict[str, object]:
    """Score every token of the job in `folder` again; returns its row of audit_tokens.csv."""
    run = run_record.read(folder / "run.json")
    prompts = {prompt.sample_id: prompt for prompt in read_records(folder.parent / "prompts.jsonl", Prompt)}
    scorer = Scorer(run)
    tokens, ties = 0, 0
    gaps: list[tuple[float, str]] = []
    for sample in read_records(folder / "samples.jsonl", Sample):
        if sample.sample_id not in prompts:
            raise UserError(
                str(folder / "samples.jsonl"),
                f"sample {sample.sample_id!r}",
                f"one of {folder.parent / 'prompts.jsonl'}",
            )
        for number, turn in enumerate(sample.turns):
            ids = prompting.answered_ids(scorer.tokenizer, prompts[sample.sample_id], sample, number)
            if not turn.output_ids:
                continue
            found, tied = scorer.turn(sample.sample_id, number, ids, turn.output_ids)
            tokens, ties = tokens + len(turn.output_ids), ties + tied
            gaps += [(gap, sample.sample_id) for gap in found]
    worst = max(gaps, default=(None, None))
    verdict = "agrees" if not gaps else "ties only" if ties == len(gaps) else "disagrees"
    return {
        **run.names,
        "tokens": tokens,
        "agreeing": tokens - len(gaps),
        "ties": ties,
        "largest_gap": worst[0],
        "worst_sample": worst[1],
        "verdict": verdict,
    }
