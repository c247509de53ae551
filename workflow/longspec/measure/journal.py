"""A job's samples as they come: one line each, on the disk before the next sample begins, by one writer.

Contract: beside the job's log lies `generate.journal`, which Snakemake does not know and so does not delete. It is JSON
Lines: one a sample with its method, one for each process that began, for the memory it took, and for each profile
(entries.py). A line is complete or absent. The samples are those of `lines` (order.py) from the first on, so what
stands in one journal was measured in its order. `finish` splits it into each method's outputs; it stays until `tidy`,
since Snakemake deletes the outputs of a job whose end it did not see. What an earlier process left is kept only if it
was made from the same key (spec, code, prompts) under the same conditions; its torn last line is dropped, any other
damage is an error that names the line. Nothing here runs under a clock. Who may write is decided by lock.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from longspec.core import run_record
from longspec.core.errors import UserError
from longspec.core.io import write_whole
from longspec.core.records import Sample, to_line
from longspec.core.run_record import OF_THE_FIRST_PIECE, Tuning
from longspec.measure.entries import (
    AFRESH,
    Begun,
    Entry,
    Facts,
    Inside,
    Measured,
    Peak,
    Start,
    State,
    lost,
    parsed,
    whole_lines,
)
from longspec.measure.order import Line

NAME = "generate.journal"


class Outputs(NamedTuple):
    """The files of one method."""

    samples: Path
    run: Path


class Journal:
    """The unfinished outputs of one job. Open it anew in each process; close it before another writes."""

    def __init__(self, path: Path, key: str, outputs: Mapping[str, Outputs], lines: Sequence[Line]) -> None:
        """`outputs`: by method, in the order that numbers them; `lines`: the samples of the complete job."""
        self.path, self.key, self.outputs, self.lines = path, key, dict(outputs), lines
        self.methods = list(outputs)
        self.state = State()
        entries = whole_lines(path)
        if entries and self._is_ours(entries[0]):
            self._take_in(entries)

    def _is_ours(self, first: bytes) -> bool:
        """Tell whether a journal that begins with this line was made from the same key. UserError if it is damaged."""
        try:
            begun = json.loads(first)
        except ValueError as error:
            raise UserError(f"{self.path}, line 1", f"not JSON ({error})", f"what a run wrote: {AFRESH}") from None
        return isinstance(begun, dict) and begun.get("key") == self.key

    def _take_in(self, entries: list[bytes]) -> None:
        """Read the lines, whose samples must be the first of `lines`; cut off a torn last one."""
        for where, entry in parsed(self.path, entries):
            if isinstance(entry, Measured):
                self._expect(where, entry)
            self.state.note(entry)
        whole = sum(len(entry) + 1 for entry in entries)
        if whole < self.path.stat().st_size:
            with self.path.open("r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())

    def _expect(self, where: str, entry: Measured) -> None:
        """Raise UserError unless a sample is the next of `lines`."""
        found = f"repeat {entry.sample.repeat} of {entry.sample.sample_id!r} by {entry.method!r}"
        expected = "the end"
        if not self.complete:
            method, repeat, prompt = self.next()
            expected = f"repeat {repeat} of {prompt.sample_id!r} by {self.methods[method]!r}"
        if found != expected:
            raise UserError(where, f"{found} stands there", f"{expected}: {AFRESH}")

    @property
    def done(self) -> int:
        """How many samples stand, the first so many of `lines`."""
        return self.state.done

    @property
    def complete(self) -> bool:
        """Tell whether every sample stands."""
        return self.done == len(self.lines)

    def next(self) -> Line:
        """The sample that comes next, where one is lacking."""
        return self.lines[self.done]

    def remaining(self) -> Iterator[Line]:
        """Go through the samples that are lacking; each must be appended before the next is asked for."""
        while not self.complete:
            yield self.next()

    def where(self) -> str:
        """Name the next sample in words."""
        method, repeat, prompt = self.next()
        named = f"{self.methods[method]}, " if len(self.methods) > 1 else ""
        return f"{named}sample {prompt.sample_id!r}, repeat {repeat}"

    def known_tuning(self, method: str, conditions: Facts) -> Tuning | None:
        """What an earlier process chose for a method under the same conditions."""
        start = self.state.pieces[-1].starts[method] if self.state.pieces else None
        return cast(Tuning | None, start.tuning) if start and start.conditions == conditions else None

    def begin(self, starts: Mapping[str, Start]) -> None:
        """Note a process that is about to append. Where one method's conditions have changed, nothing is kept: samples
        that were measured in turn with it would have no partner."""
        folder = self.path.parent
        outputs = {
            method: (os.path.relpath(files.samples, folder), os.path.relpath(files.run, folder))
            for method, files in self.outputs.items()
        }
        begun, pieces = Begun(self.key, outputs, dict(starts)), self.state.pieces
        if pieces and all(pieces[-1].starts[name].conditions == starts[name].conditions for name in starts):
            self._append(begun)
            return
        self.state = State()
        write_whole({self.path: to_line(begun)})
        self.state.note(begun)

    def append(self, sample: Sample, message: str | None = None) -> None:
        """Add the next sample; it is on the disk on return, or not there at all. `message`: why it has no outcome."""
        method, repeat, prompt = self.next()
        assert (sample.repeat, sample.sample_id) == (repeat, prompt.sample_id)
        self._append(Measured(self.methods[method], sample, message))

    def lose(self, cause: str, message: str) -> None:
        """Record the next sample as one without an outcome."""
        _, repeat, prompt = self.next()
        self.append(lost(prompt, repeat, cause), message)

    def note_peak(self, peak_memory_bytes: int) -> None:
        """Record the most memory that the latest process held."""
        if self.state.pieces:
            self._append(Peak(peak_memory_bytes))

    def note_inside(self, method: str, profile: list[dict[str, float]] | None, memory: dict[str, int] | None) -> None:
        """Record where a method's time and memory go."""
        self._append(Inside(method, profile, memory))

    def _append(self, entry: Entry) -> None:
        line = to_line(entry).encode()
        # Unbuffered: what a failed write leaves in a buffer is written when the file closes, behind the truncation.
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except OSError as error:
                error.filename = error.filename or str(self.path)
                with contextlib.suppress(OSError):  # a torn line is dropped by the next process too
                    os.truncate(self.path, size)
                raise
        self.state.note(entry)

    def finish(self, facts: Mapping[str, Facts]) -> None:
        """Make the outputs of every method; `facts`: what its run.json says beside."""
        assert self.complete
        texts = split(self.path)
        for method, files in self.outputs.items():
            run = run_record.text({**facts[method], **self._run(method, texts[method])})
            write_whole({files.run: run, files.samples: texts[method]})

    def _run(self, method: str, samples: str) -> Facts:
        """What run.json says of a method's samples and of the processes that made them (core/run_record.py)."""
        last, inside = self.state.pieces[-1].starts[method], self.state.inside.get(method)
        pieces = self._pieces(method)
        first = pieces[0]
        return {
            "conditions": last.conditions,
            "tuning": last.tuning,
            "profile": inside and inside.profile,
            "memory": inside and inside.memory,
            "samples_sha256": hashlib.sha256(samples.encode()).hexdigest(),
            **{name: first[name] for name in OF_THE_FIRST_PIECE},
            "peak_memory_bytes": max(cast(int, piece.get("peak_memory_bytes", 0)) for piece in pieces),
            "pieces": pieces,
            "failures": self.state.failures.get(method, []),
        }

    def _pieces(self, method: str) -> list[Facts]:
        """The processes that made a sample of a method, and the last one."""
        pieces = self.state.pieces
        ends = [*(piece.first_sample[method] for piece in pieces[1:]), None]
        found = []
        for piece, end in zip(pieces, ends, strict=True):
            if piece.first_sample[method] != end:
                peak = {"peak_memory_bytes": piece.peak_memory_bytes} if piece.peak_memory_bytes else {}
                found.append({**piece.starts[method].piece, "first_sample": piece.first_sample[method], **peak})
        return found


def split(path: Path) -> dict[str, str]:
    """Make the text of each method's samples.jsonl of a journal."""
    texts: dict[str, list[str]] = {}
    for row in map(json.loads, whole_lines(path)):
        if row["kind"] == "measured":
            texts.setdefault(row["method"], []).append(json.dumps(row["sample"], ensure_ascii=False) + "\n")
    return {method: "".join(found) for method, found in texts.items()}


def tidy(results: Path) -> None:
    """Remove the journals of jobs whose outputs stand. For when Snakemake has noted that these jobs are done."""
    for path in results.rglob(NAME):
        with contextlib.suppress(ValueError, LookupError, OSError):  # a damaged one is told of when its job runs
            first, *_ = whole_lines(path)
            texts = split(path)
            places = json.loads(first)["outputs"].items()
            if all(
                (path.parent / run).exists() and (path.parent / samples).read_text(encoding="utf-8") == texts[method]
                for method, (samples, run) in places
            ):
                path.unlink()
