"""The one decoding loop: prefill, then propose, extend, verify, commit until the text ends.

Every method and drafter goes through it and is timed in the same way. Nothing is logged, copied or printed between the
clock's readings.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

import torch

from longspec.core.records import Turn, ids_sha256
from longspec.decoding.interfaces import Drafter, Method, Verifier
from longspec.decoding.sampling import GREEDY
from longspec.decoding.tree import TokenTree
from longspec.decoding.verifiers import keyed
from longspec.models.target import CausalLM


@dataclass(frozen=True)
class Limits:
    """Define where a text ends: after a stop id, after `max_new_tokens`, or when `context_tokens` are full."""

    stop_ids: Collection[int]
    max_new_tokens: int
    context_tokens: int | None = None

    def room(self, prompt_tokens: int) -> tuple[int, str]:
        """Return the most tokens that may follow a prompt, and the stop reason on reaching that number.

        The last token of a text is never run through the model, so it may lie one past the context.
        """
        if self.context_tokens is not None:
            left = self.context_tokens - prompt_tokens + 1
            if left < self.max_new_tokens:
                return max(left, 1), "context"
        return self.max_new_tokens, "limit"


def now(device: torch.device) -> float:
    """Read a monotonic clock in seconds, after waiting for the device's queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@torch.inference_mode()
def generate(
    target: CausalLM,
    method: Method,
    drafter: Drafter | None,
    prompt_ids: list[int],
    limits: Limits,
    verifier: Verifier | None = None,
) -> Turn:
    """Answer one prompt, and count and time it; greedy decoding if no verifier is given.

    The first output token is timed as part of prefill, the others as decoding.
    """
    verifier = verifier or keyed.Verifier(GREEDY, 0, target.vocab_size, target.device)
    room, at_limit = limits.room(len(prompt_ids))
    capacity = len(prompt_ids) + room + method.max_nodes
    target.reserve(capacity, method.max_nodes)
    began, started = time.monotonic(), now(target.device)
    target.reset(capacity)
    verifier.start(prompt_ids)
    first = verifier.verify(TokenTree.rooted_at(prompt_ids[-1]), target.append(prompt_ids)[None], limits.stop_ids, room)
    output_ids, steps, stop_reason = list(first.emitted), [], first.stop_reason
    prefilled = now(target.device)
    if drafter is not None:
        drafter.prefill(prompt_ids + output_ids, capacity)
    ready = now(target.device)

    while stop_reason is None:
        left = room - len(output_ids)
        tree = method.propose(output_ids[-1], drafter, verifier, limits.stop_ids, left - 1)
        acceptance = verifier.verify(tree, target.extend(tree.tokens, tree.parents), limits.stop_ids, left)
        target.commit(acceptance.path)
        if drafter is not None:
            drafter.commit(acceptance.emitted, tree, acceptance.path)
        output_ids += acceptance.emitted
        steps.append((tree.drafted, acceptance.offered, acceptance.accepted))
        stop_reason = acceptance.stop_reason
    ended, total = now(target.device), time.monotonic() - began

    return Turn(
        prompt_tokens=len(prompt_ids),
        prompt_sha256=ids_sha256(prompt_ids),
        output_ids=output_ids,
        steps=steps,
        prefill_seconds=prefilled - started,
        drafter_prefill_seconds=ready - prefilled,
        decode_seconds=ended - ready,
        stop_reason=at_limit if stop_reason == "limit" else stop_reason,
        total_seconds=total,
    )
