"""What a served engine's answer comes to: a Turn, with the counts that its own tokens bear out.

Contract: an engine's counts are taken as far as they agree with the tokens that arrived, and are None where they do
not, or do not tell what is asked; nothing is guessed. What contradicts itself outright is no answer (ValueError).

Formulas: every step of an engine gives its accepted drafts and one token more, so that verification steps = decoded
tokens - accepted drafts, where decoded tokens are those after the first chunk and no accepted draft lies past the end.
Engines count such drafts too (vLLM 0.32, issue 56101; llama.cpp after an end-of-text token): where each step is told,
the last one is cut to what arrived; where totals alone are told, an answer that ended in its limit is exact if the
engine never drafts past it (llama.cpp), and one that ended by itself is not known.
"""

from __future__ import annotations

from collections.abc import Sequence

from longspec.backends.served._interface import Drafting, Said
from longspec.core.records import Served, Turn, ids_sha256
from longspec.decoding.loop import Limits

Step = tuple[int, int, int]


def turn(said: Said, times: Sequence[float], sent: float, origin: float, prompt: list[int], limits: Limits) -> Turn:
    """Make the record of an answer. `times`: of each event; `sent`: of the request; `origin`: of the first request of
    this process; all in seconds of one clock. Raises ValueError where the answer contradicts itself."""
    room, at_limit = limits.room(len(prompt))
    whole = [token for ids in said.ids for token in ids]
    _refuse_contradictions(said, whole, len(prompt), room)
    end = next((n + 1 for n, token in enumerate(whole) if token in set(limits.stop_ids)), len(whole))
    events = _events(said.ids, times, end)
    chunks = _chunks(events)
    output = whole[:end]
    if output[-1] not in limits.stop_ids and (said.ended == "stop" or len(output) < room):
        raise ValueError(f"it ends with id {output[-1]} after {len(output)} of {room} tokens, which ends no text here")
    sizes = [size for size, _ in chunks]
    steps = None if end < len(whole) else _steps([size for size, _ in events], said.drafting)
    steps = steps and steps[sum(arrived == chunks[0][1] for _, arrived in events) - 1 :]
    alone = sizes[0] == events[0][0]
    totals = _totals(len(output) - sizes[0], said, steps, alone) if end == len(whole) else (None, None, None)
    first, last = chunks[0][1], chunks[-1][1]
    return Turn(
        prompt_tokens=len(prompt),
        prompt_sha256=ids_sha256(prompt),
        output_ids=output,
        steps=steps or [],
        prefill_seconds=first - sent,
        drafter_prefill_seconds=0.0,
        decode_seconds=last - first,
        stop_reason="eos" if output[-1] in limits.stop_ids else at_limit,
        prefill_tokens=sizes[0],
        served=Served(
            sent_seconds=sent - origin,
            chunk_tokens=sizes,
            chunk_seconds=[arrived - sent for _, arrived in chunks],
            server_seconds=said.seconds,
            verification_steps=totals[0],
            drafted=totals[1],
            accepted=totals[2],
            accepted_histogram=said.drafting.histogram if said.drafting else None,
        ),
    )


def _refuse_contradictions(said: Said, output: list[int], prompt_tokens: int, room: int) -> None:
    if not output:
        raise ValueError("it has no token")
    if said.output_tokens is not None and said.output_tokens != len(output):
        raise ValueError(f"it counts {said.output_tokens} tokens, and {len(output)} ids arrived")
    if said.prompt_tokens is not None and said.prompt_tokens != prompt_tokens:
        raise ValueError(f"it counts {said.prompt_tokens} tokens of the prompt, and {prompt_tokens} were sent")
    if len(output) > room:
        raise ValueError(f"it has {len(output)} tokens, and {room} were asked for")


def _events(ids: Sequence[Sequence[int]], times: Sequence[float], end: int) -> list[tuple[int, float]]:
    """List (tokens, time of arrival) of the events that have tokens, up to token number `end`."""
    found, before = [], 0
    for some, arrived in zip(ids, times, strict=True):
        size = min(len(some), end - before)
        if size > 0:
            found.append((size, arrived))
            before += size
    return found


def _chunks(events: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Put events together that arrived at once: between them there is no time to be told."""
    found: list[tuple[int, float]] = []
    for size, arrived in events:
        before = found.pop()[0] if found and found[-1][1] == arrived else 0
        found.append((before + size, arrived))
    return found


def _steps(sizes: Sequence[int], drafting: Drafting | None) -> list[Step] | None:
    """List (drafted, offered, accepted) of the steps after the first event, where each is told and fits the events.

    `sizes`: tokens of each event. One with several tokens is the next step that accepted so many; one with a single
    token is a step that accepted nothing, whether it had drafts or not. None where events and steps do not go together,
    as when an event holds two steps."""
    if drafting is None:
        return None
    if drafting.per_step is None:
        return None
    waiting = list(drafting.per_step)
    found: list[Step] = []
    for number, size in enumerate(sizes[1:], start=1):
        last = number == len(sizes) - 1
        if size == 1 and not (waiting and waiting[0][1] == 0) and not (last and len(waiting) == 1):
            found.append((0, 0, 0))
            continue
        if not waiting:
            return None
        drafted, accepted = waiting.pop(0)
        if last and accepted >= size:  # the end came within its drafts
            accepted = size
        elif accepted != size - 1:
            return None
        found.append((drafted, min(drafted, accepted + 1) if accepted < size else accepted, accepted))
    return None if waiting else found


def _totals(
    decoded: int, said: Said, steps: list[Step] | None, alone: bool
) -> tuple[int | None, int | None, int | None]:
    """Sum up (verification steps, drafted, accepted) of an answer; None for what is not known.

    `alone`: whether the first chunk is one event, so that no step after prefill is in it."""
    drafting = said.drafting
    if drafting is None:
        return None, None, None
    if steps is not None:
        return len(steps), sum(step[0] for step in steps), sum(step[2] for step in steps)
    if drafting.per_step is not None or (drafting.accepted and (said.ended == "stop" or not alone)):
        return None, drafting.drafted, None
    if not 0 <= drafting.accepted <= min(drafting.drafted, decoded):
        raise ValueError(f"it accepts {drafting.accepted} of {drafting.drafted} drafts in {decoded} tokens")
    return decoded - drafting.accepted, drafting.drafted, drafting.accepted
