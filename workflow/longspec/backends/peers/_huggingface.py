"""Hugging Face `generate`, timed by our clock rules: the code that all peers of that library share.

`generate` runs unchanged. A streamer, which it calls after each step, takes the time at which the first tokens are
known (the end of prefill, as in our loop); a hook keeps each forward's ids, from which the steps are counted after the
clock has stopped. With assisted generation the first forward verifies drafts together with the prompt: what it emits
belongs to prefill (`Turn.prefill_tokens`). Library: transformers 5.23, generation/utils.py.
"""

from __future__ import annotations

import time
from typing import Any

import torch
import transformers
from transformers.generation.streamers import BaseStreamer

from longspec.core.errors import UserError
from longspec.core.records import Turn, ids_sha256
from longspec.decoding.loop import Limits, now
from longspec.decoding.sampling import Settings
from longspec.models import model_files


class _Clock(BaseStreamer):
    """Take the time after the first step, and keep the tokens that each step emitted."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.prefilled = 0.0
        self.emitted: list[list[int]] = []
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        """Receive the prompt at the first call, and one step's tokens at each later one."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        if not self.emitted:
            self.prefilled = now(self.device)
        self.emitted.append(value.reshape(-1).tolist())

    def end(self) -> None:
        """Do nothing: no tokens are buffered."""


class Generate:
    """Answer prompts by a model's `generate` with fixed options."""

    def __init__(self, model: Any, options: dict[str, Any], assistant: Any = None, ahead: int = 0) -> None:
        """Answer prompts by `model.generate` with these options of GenerationConfig.

        `assistant`: a smaller model with the same vocabulary, which drafts. `ahead`: how many tokens beyond the longest
        text that is asked for `generate` may still draft."""
        self.model, self.options, self.assistant = model, options, assistant
        self.loop = f"transformers {transformers.__version__} generate"
        run = [(model, ahead)] if assistant is None else [(model, ahead), (assistant, 0)]
        tables = [(model_files.tabled_context(one.config.get_text_config()), more) for one, more in run]
        self.context_tokens = min((table - more for table, more in tables if table), default=None)
        """Most tokens of a text for which each model has learned positions; None without such a limit."""
        self._ran: list[torch.Tensor] = []
        model.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, module: Any, inputs: Any, named: dict[str, Any]) -> None:
        self._ran.append(named["input_ids"])

    def config(self, limits: Limits, settings: Settings, room: int) -> transformers.GenerationConfig:
        """Make one answer's GenerationConfig; no default of the model's folder remains in it."""
        stop_ids = sorted(limits.stop_ids)
        chosen: dict[str, Any] = {"do_sample": False}
        if settings.temperature > 0:
            chosen = {
                "do_sample": True,
                "temperature": settings.temperature,
                "top_k": settings.top_k or 0,
                "top_p": settings.top_p,
                "min_p": settings.min_p or None,
            }
        return transformers.GenerationConfig(
            max_new_tokens=room,
            eos_token_id=stop_ids or None,
            pad_token_id=stop_ids[0] if stop_ids else 0,
            repetition_penalty=settings.repetition_penalty,
            **chosen,
            **self.options,
        )

    @torch.inference_mode()
    def answer(self, prompt_ids: list[int], limits: Limits, settings: Settings, seed: int) -> Turn:
        """Answer one prompt, and count and time it.

        Raises UserError when the text may run past the last learned position of a model."""
        room, at_limit = limits.room(len(prompt_ids))
        if self.context_tokens and len(prompt_ids) + room - 1 > self.context_tokens:
            raise UserError(
                "context",
                f"a text of {len(prompt_ids)} + {room - 1} tokens; {self.loop} would run past a model's last position",
                f"at most {self.context_tokens} for the target",
            )
        device = self.model.device
        self.model.generation_config = self.config(limits, settings, room)
        torch.manual_seed(seed % 2**63)
        clock, self._ran = _Clock(device), []
        extra = {} if self.assistant is None else {"assistant_model": self.assistant}
        began, started = time.monotonic(), now(device)
        ids = torch.tensor([prompt_ids], device=device)
        whole = self.model.generate(ids, attention_mask=torch.ones_like(ids), streamer=clock, **extra)
        ended = now(device)
        total = time.monotonic() - began
        output_ids = whole[0, len(prompt_ids) :].tolist()
        assert output_ids == [token for step in clock.emitted for token in step], "the streamer missed tokens"
        return Turn(
            prompt_tokens=len(prompt_ids),
            prompt_sha256=ids_sha256(prompt_ids),
            output_ids=output_ids,
            steps=[step(ran[0, 1:].tolist(), got) for ran, got in zip(self._ran[1:], clock.emitted[1:], strict=True)],
            prefill_seconds=clock.prefilled - started,
            drafter_prefill_seconds=0.0,
            decode_seconds=ended - clock.prefilled,
            stop_reason="eos" if output_ids[-1] in limits.stop_ids else at_limit,
            prefill_tokens=len(clock.emitted[0]),
            total_seconds=total,
        )


def step(drafted: list[int], emitted: list[int]) -> tuple[int, int, int]:
    """Count (drafted, offered, accepted) tokens of a step that ran `drafted` after the last token.

    `emitted`: the tokens that the step gave. Offered are the positions whose draft was compared (core/records.py)."""
    pairs = zip(drafted, emitted, strict=False)
    accepted = next((n for n, (ours, theirs) in enumerate(pairs) if ours != theirs), min(len(drafted), len(emitted)))
    return len(drafted), accepted + int(accepted < min(len(drafted), len(emitted))), accepted
