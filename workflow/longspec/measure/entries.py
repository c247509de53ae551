"""The lines of a job's journal: what each kind holds, how they are read, and what they say together. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from longspec.core.errors import UserError
from longspec.core.records import SCHEMA_VERSION, Prompt, Sample, Turn, ids_sha256, of_another_version
from longspec.core.run_record import Failure

AFRESH = "delete it to begin this job afresh"
Facts = dict[str, object]
"""What a process notes as JSON: it is compared and written down, and nothing reads a field of it here."""


@dataclass(frozen=True)
class Start:
    """What a process notes of one method before it measures."""

    conditions: Facts
    piece: Facts
    tuning: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Begun:
    """A process that is about to append. `outputs`: samples.jsonl and run.json by method, from the journal's folder."""

    key: str
    outputs: dict[str, tuple[str, str]]
    starts: dict[str, Start]
    kind: Literal["begun"] = "begun"


@dataclass(frozen=True)
class Measured:
    """A sample; `message`: why it has no outcome, where it has none."""

    method: str
    sample: Sample
    message: str | None = None
    kind: Literal["measured"] = "measured"


@dataclass(frozen=True)
class Peak:
    """The most memory that the latest process held, for whichever of the methods."""

    peak_memory_bytes: int
    kind: Literal["peak"] = "peak"


@dataclass(frozen=True)
class Inside:
    """Where a method's time and memory go (core/run_record.py)."""

    method: str
    profile: list[dict[str, float]] | None
    memory: dict[str, int] | None
    kind: Literal["inside"] = "inside"


Entry = Begun | Measured | Peak | Inside
_ADAPTER: pydantic.TypeAdapter[Entry] = pydantic.TypeAdapter(Annotated[Entry, pydantic.Field(discriminator="kind")])


def whole_lines(path: Path) -> list[bytes]:
    """Read a journal's lines that are complete; none where there is no such file."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def parsed(path: Path, lines: list[bytes]) -> Iterator[tuple[str, Entry]]:
    """Parse a journal's lines: (place, entry) of each. Raises UserError that names the first damaged one."""
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            entry = _ADAPTER.validate_json(line, strict=True)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            found = f"not a journal's line ({'.'.join(map(str, first['loc']))}: {first['msg']})"
            raise UserError(where, found, f"what a run wrote: {AFRESH}") from None
        if isinstance(entry, Measured) and entry.sample.schema_version != SCHEMA_VERSION:
            raise of_another_version(where, entry.sample.schema_version)
        yield where, entry


def samples(path: Path, method: str) -> list[Sample]:
    """Read what stands of a method in a journal that is perhaps being written."""
    entries = (entry for _, entry in parsed(path, whole_lines(path)))
    return [entry.sample for entry in entries if isinstance(entry, Measured) and entry.method == method]


def lost(prompt: Prompt, repeat: int, cause: str) -> Sample:
    """Make the sample that stands for one without an outcome: no tokens, no seconds, and why."""
    turn = Turn(len(prompt.prompt_ids), ids_sha256(prompt.prompt_ids), [], [], 0.0, 0.0, 0.0, cause)
    return Sample(prompt.sample_id, repeat, [turn])


@dataclass
class Piece:
    """A process that took part: what it noted, and how many samples of each method stood when it began."""

    starts: dict[str, Start]
    first_sample: dict[str, int]
    peak_memory_bytes: int | None = None


@dataclass
class State:
    """What the lines so far say."""

    done: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    failures: dict[str, list[Failure]] = field(default_factory=dict)
    inside: dict[str, Inside] = field(default_factory=dict)

    def note(self, entry: Entry) -> None:
        """Go one line further."""
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
            case Inside(method):
                self.inside[method] = entry
