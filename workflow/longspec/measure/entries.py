"""The lines of a job's journal: the fields of each kind, how they are read, and what they add up to. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from longspec.core.errors import UserError
from longspec.core.records import SCHEMA_VERSION, Prompt, Sample, Turn, first_fault, ids_sha256, of_another_version
from longspec.core.run_record import Failure

AFRESH = "delete it to begin this job afresh"
Facts = dict[str, object]
"""What a process notes as JSON: it is compared and written down, and nothing reads a field of it here."""


@dataclass(frozen=True)
class Start:
    """Describe how a process will measure one method: its conditions, facts of the process, the tuned shape."""

    conditions: Facts
    piece: Facts
    tuning: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Begun:
    """Record that a process begins to append.

    `outputs`: paths of samples.jsonl and run.json by method, relative to the journal's folder."""

    key: str
    outputs: dict[str, tuple[str, str]]
    starts: dict[str, Start]
    kind: Literal["begun"] = "begun"


@dataclass(frozen=True)
class Measured:
    """Record a sample of a method; `message`: why it failed, for one that was lost."""

    method: str
    sample: Sample
    message: str | None = None
    kind: Literal["measured"] = "measured"


@dataclass(frozen=True)
class Peak:
    """Record the peak memory of the latest process, over all of its methods."""

    peak_memory_bytes: int
    kind: Literal["peak"] = "peak"


@dataclass(frozen=True)
class Profiled:
    """Record the profile of a method's steps and its memory by part (core/run_record.py)."""

    method: str
    profile: list[dict[str, float]] | None
    memory: dict[str, int] | None
    kind: Literal["inside"] = "inside"


Entry = Begun | Measured | Peak | Profiled
_ADAPTER: pydantic.TypeAdapter[Entry] = pydantic.TypeAdapter(Annotated[Entry, pydantic.Field(discriminator="kind")])


def whole_lines(path: Path) -> list[bytes]:
    """Read the complete lines of a journal; none where there is no such file."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def parsed(path: Path, lines: list[bytes]) -> Iterator[tuple[str, Entry]]:
    """Parse a journal's lines into pairs (place, entry). Raises UserError that names the first damaged line."""
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            entry = _ADAPTER.validate_json(line, strict=True)
        except pydantic.ValidationError as error:
            found = f"not a journal's line ({': '.join(first_fault(error))})"
            raise UserError(where, found, f"what a run wrote: {AFRESH}") from None
        if isinstance(entry, Measured) and entry.sample.schema_version != SCHEMA_VERSION:
            raise of_another_version(where, entry.sample.schema_version)
        yield where, entry


def samples(path: Path) -> dict[str, list[Sample]]:
    """Read the samples of each method in a journal that is perhaps being written."""
    found: dict[str, list[Sample]] = {}
    for _, entry in parsed(path, whole_lines(path)):
        if isinstance(entry, Measured):
            found.setdefault(entry.method, []).append(entry.sample)
    return found


def lost(prompt: Prompt, repeat: int, cause: str) -> Sample:
    """Make the sample that records a failure: no tokens, no seconds, and `cause` (a key of records.LOST)."""
    turn = Turn(len(prompt.prompt_ids), ids_sha256(prompt.prompt_ids), [], [], 0.0, 0.0, 0.0, cause)
    return Sample(prompt.sample_id, repeat, [turn])


@dataclass
class Piece:
    """Hold what one process of a job noted, and how many samples each method had when that process began."""

    starts: dict[str, Start]
    first_sample: dict[str, int]
    peak_memory_bytes: int | None = None


@dataclass
class State:
    """Sum up the lines of a journal read so far."""

    done: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    failures: dict[str, list[Failure]] = field(default_factory=dict)
    profiles: dict[str, Profiled] = field(default_factory=dict)

    def note(self, entry: Entry) -> None:
        """Add one line."""
        match entry:
            case Begun():
                first = {method: self.counts.get(method, 0) for method in entry.starts}
                self.pieces.append(Piece(entry.starts, first))
            case Measured(method, sample, message):
                self.done += 1
                self.counts[method] = self.counts.get(method, 0) + 1
                if message is not None:
                    failure = Failure(
                        sample_id=sample.sample_id,
                        repeat=sample.repeat,
                        cause=sample.turns[-1].stop_reason,
                        message=message,
                    )
                    self.failures.setdefault(method, []).append(failure)
            case Peak(peak):
                self.pieces[-1].peak_memory_bytes = peak
            case Profiled(method):
                self.profiles[method] = entry
