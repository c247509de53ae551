"""Where a step's time goes: the same loop, with a clock around each of its parts.

Contract: runs apart from the measured samples, since the clocks themselves take time (on a GPU each waits for the
device). The loop is the one of `decoding`, unchanged: it is handed parts that time themselves. It writes nothing down
and computes no ratio.
"""

from __future__ import annotations

from typing import Any

import torch

from longspec.core.records import STEP_PARTS
from longspec.decoding.interfaces import Drafter, Method, Rule
from longspec.decoding.loop import Limits, generate, now
from longspec.models.target import CausalLM


class _Timed:
    """Stands in for a part of the loop; calls of the methods named in `timed` are added up in `ledger`."""

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


class _TimedRule(_Timed):
    """A rule whose first decision belongs to prefill."""

    def verify(self, *args: Any) -> Any:
        """The decision; from the second on it counts."""
        started = now(self._device)
        result = self._inner.verify(*args)
        if self._ledger["decisions"]:
            self._ledger["verify"] += now(self._device) - started
        self._ledger["decisions"] += 1
        return result


def profile(
    target: CausalLM, method: Method, drafter: Drafter | None, prompt_ids: list[int], limits: Limits, rule: Rule
) -> dict[str, float]:
    """Seconds of each part over one answer, its steps, and the draft tokens of them."""
    ledger = dict.fromkeys((*STEP_PARTS, "decisions"), 0.0)

    def timed(inner: Any, kind: type[_Timed] = _Timed, **parts: str) -> Any:
        return kind(inner, parts, ledger, target.device)

    turn = generate(
        timed(target, extend="forward", commit="commit"),
        timed(method, propose="draft"),
        None if drafter is None else timed(drafter, commit="draft"),
        prompt_ids,
        limits,
        timed(rule, _TimedRule),
    )
    ledger["other"] = turn.decode_seconds - sum(ledger[part] for part in STEP_PARTS)
    drafted = sum(drafted for drafted, _, _ in turn.steps)
    return {"steps": len(turn.steps), "drafted_tokens": drafted} | {
        f"{part}_seconds": ledger[part] for part in STEP_PARTS
    }
