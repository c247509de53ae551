"""What run.json holds: how the samples of one job were made, and by which processes. No torch.

measure/journal.py writes it; analysis/runs.py reads and checks it. A change of a field raises records.SCHEMA_VERSION.
"""

from __future__ import annotations

from typing import (
    Any,
    NotRequired,  # pydantic wants these below Python 3.12
)

from typing_extensions import TypedDict

OF_THE_FIRST_PIECE = ("warmup_samples", "environment", "engine_note", "engine_checks", "load_seconds", "started")
"""Fields of a run that are those of its first process."""


class Conditions(TypedDict):
    """What two runs must share before one is divided by the other. Those that no table reads by name stand in
    measure/session.py and in the backend's `facts`."""

    prompts_sha256: str
    repeats: int
    seed: int
    verification: str  # how tokens come to be: "keyed", "residual", or "own" where a peer samples


class LoopFacts(TypedDict):
    """Conditions that come from the loop that was timed."""

    loop: str  # "longspec", or the peer's library and function
    verification: str
    dtype: str
    attention: str
    engine: str
    numerics: str


class Tuning(TypedDict):
    """What `auto` chose for a job, and what the choice rests on (decoding/autotune/tuning.py)."""

    options: dict[str, Any]  # of the method, as the configuration would give them
    predicted: NotRequired[dict[str, float | None] | None]  # None where no step was measured
    candidates: NotRequired[int]
    texts: NotRequired[int]
    texts_are: NotRequired[str]
    context_tokens: NotRequired[int]
    positions: NotRequired[int]
    acceptance: NotRequired[list[list[float]]]  # [depth][rank], the share accepted
    costs: NotRequired[dict[str, Any]]  # of drafting and of the target's steps, in seconds
    seconds: NotRequired[float]


class Piece(TypedDict):
    """One process that took part."""

    host: str
    first_sample: int  # the first line of samples.jsonl that it wrote
    environment: dict[str, Any]  # hardware, versions, commit (models/machine.py)
    started: NotRequired[str]
    load_seconds: NotRequired[float]
    models: NotRequired[dict[str, Any]]  # option of the method to what its model resolved to
    warmup_samples: NotRequired[list[dict[str, Any]]]  # tokens and seconds of each (measure/warmup.py)
    engine_note: NotRequired[str | None]  # why another engine ran than was to be expected
    engine_checks: NotRequired[dict[str, Any] | None]  # by model: how its engine was checked; None of a peer
    peak_memory_bytes: NotRequired[int]


class Failure(TypedDict):
    """A sample without an outcome, and why."""

    sample_id: str
    repeat: int
    cause: str  # a key of records.LOST
    message: str


class RunRecord(TypedDict):
    """run.json. What is not required is shown where it is known and needed by no ratio."""

    schema_version: NotRequired[int]
    model: str
    dataset: str
    method: str
    spec: dict[str, Any]  # all that decided the output, but for the prompts (config/specs.py)
    conditions: Conditions
    samples_sha256: NotRequired[str]  # of samples.jsonl, as it was written
    tuning: NotRequired[dict[str, Any] | None]  # what `auto` chose and predicted
    profile: NotRequired[list[dict[str, float]] | None]  # seconds by part of a step, after the measured samples
    memory: NotRequired[dict[str, int] | None]  # bytes by holder
    environment: dict[str, Any]
    warmup_samples: NotRequired[list[dict[str, Any]]]
    engine_note: NotRequired[str | None]
    engine_checks: NotRequired[dict[str, Any] | None]
    load_seconds: NotRequired[float]
    started: NotRequired[str]  # ISO 8601, UTC
    peak_memory_bytes: int
    pieces: list[Piece]
    failures: NotRequired[list[Failure]]
