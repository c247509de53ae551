"""Messages that a worker sends to its supervisor while no clock runs: a sample begins, has ended, or has failed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Begins:
    """Say that a sample begins, so that its time limit holds; `line` of the journal, None for warm-up and profile."""

    line: int | None = None


@dataclass(frozen=True)
class Ends:
    """Say that it has ended; `peak_memory_bytes` is the worker's peak so far."""

    peak_memory_bytes: int


@dataclass(frozen=True)
class Fails:
    """Say that memory or the device failed, and that the worker ends; `cause` is a key of records.LOST."""

    cause: str
    message: str


Message = Begins | Ends | Fails
