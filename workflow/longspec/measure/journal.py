"""The journal of a job: one line per sample, on the disk before the next sample begins. One process writes at a time.

`generate.journal` lies beside the job's log; Snakemake does not know it and so does not delete it. It is JSON Lines:
one line for each sample with its method, for each process that began, for its peak memory, and for each profile
(entries.py). A line is complete or absent. The samples are those of `lines` (order.py) from the first on. `finish`
splits the journal into each method's outputs; the file is kept until `tidy`, since Snakemake deletes the outputs of a
job whose end it did not see. The samples of an earlier process are kept only if they have the same key (spec, code,
prompts) and conditions; its incomplete last line is dropped, and any other damage is an error that names the line.
Nothing here runs under a clock. lock.py makes sure that there is one writer.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
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
    Measured,
    Peak,
    Profiled,
    Start,
    State,
    lost,
    parsed,
    whole_lines,
)
from longspec.measure.order import Line

NAME = "generate.journal"


class Outputs(NamedTuple):
    """Hold the paths of one method's output files."""

    samples: Path
    run: Path


class Journal:
    """Keep the samples of an unfinished job on the disk, and continue those of an earlier process."""

    def __init__(self, path: Path, key: str, outputs: Mapping[str, Outputs], lines: Sequence[Line]) -> None:
        """Read the journal at `path` if it has the same `key`; raises UserError if it is damaged.

        `outputs`: by method, whose order numbers the methods; `lines`: all samples of the job, in order."""
        self.path, self.key, self.outputs, self.lines = path, key, dict(outputs), lines
        self.methods = list(outputs)
        self.state = State()
        entries = whole_lines(path)
        if entries and self._is_ours(entries[0]):
            self._take_in(entries)

    def _is_ours(self, first: bytes) -> bool:
        """Compare the key in a journal's first line with this job's; raises UserError if the line is not JSON."""
        try:
            begun = json.loads(first)
        except ValueError as error:
            raise UserError(f"{self.path}, line 1", f"not JSON ({error})", f"what a run wrote: {AFRESH}") from None
        return isinstance(begun, dict) and begun.get("key") == self.key

    def _take_in(self, entries: list[bytes]) -> None:
        """Read the lines, whose samples must be the first of `lines`; cut off an incomplete last line."""
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
            raise UserError(where, found, f"{expected}: {AFRESH}")

    @property
    def done(self) -> int:
        """Count the samples that are on the disk: the first so many of `lines`."""
        return self.state.done

    @property
    def complete(self) -> bool:
        """Tell if every sample is on the disk."""
        return self.done == len(self.lines)

    def next(self) -> Line:
        """Return the next sample to measure; the journal must not be complete."""
        return self.lines[self.done]

    def next_pass(self) -> list[Line]:
        """List the next sample to measure and those after it that are of the same method and repeat."""
        left = self.lines[self.done :]
        return list(itertools.takewhile(lambda line: line[:2] == left[0][:2], left))

    def where(self) -> str:
        """Describe the next sample for messages."""
        method, repeat, prompt = self.next()
        named = f"{self.methods[method]}, " if len(self.methods) > 1 else ""
        return f"{named}sample {prompt.sample_id!r}, repeat {repeat}"

    def known_tuning(self, method: str, conditions: Facts) -> Tuning | None:
        """Return the shape that an earlier process chose for a method under the same conditions; else None."""
        start = self.state.pieces[-1].starts[method] if self.state.pieces else None
        return cast(Tuning | None, start.tuning) if start and start.conditions == conditions else None

    def begin(self, starts: Mapping[str, Start]) -> None:
        """Record that a process begins to append; earlier samples are dropped if any method's conditions have changed.

        All methods' samples are dropped then: those measured in turn with that method would have no counterpart."""
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
        """Append the next sample; on return it is on the disk, after an OSError none of it is.

        `message`: why the sample failed, for one that was lost."""
        method, repeat, prompt = self.next()
        assert (sample.repeat, sample.sample_id) == (repeat, prompt.sample_id)
        self._append(Measured(self.methods[method], sample, message))

    def lose(self, cause: str, message: str) -> None:
        """Append the next sample as lost, with the cause (a key of records.LOST) and a message."""
        _, repeat, prompt = self.next()
        self.append(lost(prompt, repeat, cause), message)

    def note_peak(self, peak_memory_bytes: int) -> None:
        """Record the peak memory of the latest process."""
        if self.state.pieces:
            self._append(Peak(peak_memory_bytes))

    def note_profile(self, method: str, profile: list[dict[str, float]] | None, memory: dict[str, int] | None) -> None:
        """Record the profile of a method's steps, and its memory by part."""
        self._append(Profiled(method, profile, memory))

    def _append(self, entry: Entry) -> None:
        line = to_line(entry).encode()
        # Unbuffered: what a failed write left in a buffer would be written when the file closes, after the truncation.
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except OSError as error:
                error.filename = error.filename or str(self.path)
                with contextlib.suppress(OSError):  # the next process drops an incomplete line too
                    os.truncate(self.path, size)
                raise
        self.state.note(entry)

    def finish(self, facts: Mapping[str, Facts]) -> None:
        """Write the outputs of every method; `facts`: further fields of its run.json."""
        assert self.complete
        texts = split(self.path)
        for method, files in self.outputs.items():
            run = run_record.text({**facts[method], **self._run(method, texts[method])})
            write_whole({files.run: run, files.samples: texts[method]})

    def _run(self, method: str, samples: str) -> Facts:
        """Make the fields of run.json that the journal knows (core/run_record.py)."""
        last, profiled = self.state.pieces[-1].starts[method], self.state.profiles.get(method)
        pieces = self._pieces(method)
        first = pieces[0]
        return {
            "conditions": last.conditions,
            "tuning": last.tuning,
            "profile": profiled and profiled.profile,
            "memory": profiled and profiled.memory,
            "samples_sha256": hashlib.sha256(samples.encode()).hexdigest(),
            **{name: first[name] for name in OF_THE_FIRST_PIECE},
            "peak_memory_bytes": max(cast(int, piece.get("peak_memory_bytes", 0)) for piece in pieces),
            "pieces": pieces,
            "failures": self.state.failures.get(method, []),
        }

    def _pieces(self, method: str) -> list[Facts]:
        """List the processes that measured a sample of a method, and the last process in any case."""
        pieces = self.state.pieces
        ends = [*(piece.first_sample[method] for piece in pieces[1:]), None]
        found = []
        for piece, end in zip(pieces, ends, strict=True):
            if piece.first_sample[method] != end:
                peak = {"peak_memory_bytes": piece.peak_memory_bytes} if piece.peak_memory_bytes else {}
                found.append({**piece.starts[method].piece, "first_sample": piece.first_sample[method], **peak})
        return found


def split(path: Path) -> dict[str, str]:
    """Split a journal into the text of each method's samples.jsonl."""
    texts: dict[str, list[str]] = {}
    for row in map(json.loads, whole_lines(path)):
        if row["kind"] == "measured":
            texts.setdefault(row["method"], []).append(json.dumps(row["sample"], ensure_ascii=False) + "\n")
    return {method: "".join(found) for method, found in texts.items()}


def tidy(results: Path) -> None:
    """Remove the journals of jobs whose outputs are complete; call it after Snakemake has noted the jobs as done."""
    for path in results.rglob(NAME):
        with contextlib.suppress(ValueError, LookupError, OSError):  # a damaged journal is reported when its job runs
            first, *_ = whole_lines(path)
            texts = split(path)
            places = json.loads(first)["outputs"].items()
            if all(
                (path.parent / run).exists() and (path.parent / samples).read_text(encoding="utf-8") == texts[method]
                for method, (samples, run) in places
            ):
                path.unlink()
