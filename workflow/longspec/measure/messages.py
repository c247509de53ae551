"""What a worker tells its supervisor, between clocks: that a sample begins or has ended, and why it gives up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Begins:
    """Something that may take as long as a sample begins: `line` of the journal, or None for warm-up and profile."""

    line: int | None = None


@dataclass(frozen=True)
class Ends:
    """It has ended; `peak_memory_bytes` is the most memory that the worker has held so far."""

    peak_memory_bytes: int


@dataclass(frozen=True)
class Fails:
    """Memory or the device failed: `cause` is a key of records.LOST. The worker ends and says nothing more."""

    cause: str
    message: str


Message = Begins | Ends | Fails
