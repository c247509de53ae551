"""Profile where a step's time goes, by timing each part of the decoding loop.

The loop is the same (loop.py); its parts are wrapped in clocks. Since clocks themselves take time (on a GPU each waits
for the device), profiles are taken apart from the measured samples.
"""

from __future__ import annotations

from typing import Any

import torch

from longspec.core.records import STEP_PARTS
from longspec.decoding.interfaces import Drafter, Method, Verifier
from longspec.decoding.loop import Limits, generate, now
from longspec.models.target import CausalLM


class _Timed:
    """Wrap a part of the loop and add up the seconds of its methods.

    `timed` maps a method's name to the entry of `ledger` that its seconds are added to."""

    def __init__(self, inner: Any, timed: dict[str, str], ledger: dict[str, float], device: torch.device) -> None:
        self._inner, self._timed, self._ledger, self._device = inner, timed, ledger, device

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        part = self._timed.get(name)
        if part is None:
            return value

        def call(*args: Any, **options: Any) -> Any:
            started = now(self._device)
            result = value(*args, **options)
            self._ledger[part] += now(self._device) - started
            return result

        return call


class _TimedVerifier(_Timed):
    """Wrap a verifier and time all decisions but the first, which belongs to prefill."""

    def verify(self, *args: Any) -> Any:
        """Verify a tree, and add its seconds from the second call on."""
        started = now(self._device)
        result = self._inner.verify(*args)
        if self._ledger["decisions"]:
            self._ledger["verify"] += now(self._device) - started
        self._ledger["decisions"] += 1
        return result


def profile(
    target: CausalLM, method: Method, drafter: Drafter | None, prompt_ids: list[int], limits: Limits, verifier: Verifier
) -> dict[str, float]:
    """Answer one prompt, and return its steps, its draft tokens, and the seconds of each part of the loop."""
    ledger = dict.fromkeys((*STEP_PARTS, "decisions"), 0.0)

    def timed(inner: Any, kind: type[_Timed] = _Timed, **parts: str) -> Any:
        return kind(inner, parts, ledger, target.device)

    turn = generate(
        timed(target, extend="forward", commit="commit"),
        timed(method, propose="draft"),
        None if drafter is None else timed(drafter, commit="draft"),
        prompt_ids,
        limits,
        timed(verifier, _TimedVerifier),
    )
    ledger["other"] = turn.decode_seconds - sum(ledger[part] for part in STEP_PARTS)
    drafted = sum(drafted for drafted, _, _ in turn.steps)
    return {"steps": len(turn.steps), "drafted_tokens": drafted} | {
        f"{part}_seconds": ledger[part] for part in STEP_PARTS
    }
