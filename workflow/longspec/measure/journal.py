"""A job's samples as they come: one line each, on the disk before the next sample begins, by one writer.

Contract: beside the job's outputs lie `samples.jsonl.partial` and `run.json.partial`, which Snakemake does not know
and so does not delete. Each line of the first is complete or absent. `finish` makes the outputs of them; they stay
until `tidy`, since Snakemake deletes the outputs of a job whose end it did not see. What an earlier process left is
kept only if it was made from the same key (spec, code, prompts) under the same conditions; its torn last line is
dropped, any other damage is an error that names the line. Nothing here runs under a clock, and nothing here knows
models. Who may write is decided by lock.py; several journals of one job are held together by ledger.py.
"""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longspec.core.errors import UserError
from longspec.core.io import write_whole
from longspec.core.records import SCHEMA_VERSION, Prompt, Sample, Turn, ids_sha256, parse_record, to_line
from longspec.core.run_record import OF_THE_FIRST_PIECE, OF_THE_JOB, Tuning
from longspec.measure.order import Job

AFRESH = "delete it to begin this job afresh"


def key(*parts: Any) -> str:
    """Hash of all that must be the same for two processes to write one journal."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def lost(prompt: Prompt, repeat: int, cause: str) -> Sample:
    """What is recorded of a sample that has no outcome: no tokens, no seconds, and why."""
    turn = Turn(len(prompt.prompt_ids), ids_sha256(prompt.prompt_ids), [], [], 0.0, 0.0, 0.0, cause)
    return Sample(prompt.sample_id, repeat, [turn])


class Journal:
    """The unfinished outputs of one job. Open it anew in each process; close it before another writes."""

    def __init__(self, samples: Path, run: Path, key: str, jobs: Sequence[Job]) -> None:
        self.samples, self.run, self.key, self.jobs = samples, run, key, jobs
        self.partial = samples.with_name(samples.name + ".partial")
        self.partial_run = run.with_name(run.name + ".partial")
        self.facts = self._facts()
        self.done = self._verified() if self.facts["pieces"] else 0
        """How many lines stand, the first so many of `jobs`."""
        stand = {(repeat, prompt.sample_id) for repeat, prompt in jobs[: self.done]}
        self.facts["failures"] = [f for f in self.facts["failures"] if (f["repeat"], f["sample_id"]) in stand]

    def _nothing(self) -> dict[str, Any]:
        """What is written down before a first piece."""
        return {"key": self.key, "pieces": [], "failures": [], **dict.fromkeys(OF_THE_JOB)}

    def _facts(self) -> dict[str, Any]:
        """What the pieces so far wrote down; nothing where they were made from something else."""
        empty = self._nothing()
        try:
            facts = json.loads(self.partial_run.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return empty
        except ValueError as error:
            raise UserError(str(self.partial_run), f"not JSON ({error})", f"what a run wrote: {AFRESH}") from None
        same = isinstance(facts, dict) and facts.get("key") == self.key and facts.keys() == empty.keys()
        return facts if same else empty

    def _verified(self) -> int:
        """Count the lines, each of which must be the next of `jobs`; cut off a torn last one."""
        try:
            content = self.partial.read_bytes()
        except FileNotFoundError:
            return 0
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.split(b"\n")[:-1]
        for number, line in enumerate(lines, start=1):
            where = f"{self.partial}, line {number}"
            try:
                sample = parse_record(where, line.decode(), Sample)
            except UnicodeDecodeError as error:
                raise UserError(where, f"is not UTF-8 text ({error.reason})", f"what a run wrote: {AFRESH}") from None
            expected = "the end"
            if number <= len(self.jobs):
                repeat, prompt = self.jobs[number - 1]
                if (sample.repeat, sample.sample_id) == (repeat, prompt.sample_id):
                    continue
                expected = f"repeat {repeat} of {prompt.sample_id!r}"
            raise UserError(
                where, f"repeat {sample.repeat} of {sample.sample_id!r} stands there", f"{expected}: {AFRESH}"
            )
        if len(whole) < len(content):
            with self.partial.open("r+b") as file:
                file.truncate(len(whole))
                os.fsync(file.fileno())
        return len(lines)

    @property
    def complete(self) -> bool:
        """Whether every sample stands there."""
        return self.done == len(self.jobs)

    def forget(self) -> None:
        """Begin afresh; the disk learns of it by `begin`."""
        self.facts, self.done = self._nothing(), 0

    def begin(self, conditions: dict[str, Any], piece: dict[str, Any], tuning: Tuning | None = None) -> None:
        """Note a process that is about to append. Samples made under other conditions are not kept, nor are pieces
        that made none."""
        if self.facts["conditions"] != conditions:
            self.forget()
        if self.done == 0:
            self.partial.unlink(missing_ok=True)
        pieces = [earlier for earlier in self.facts["pieces"] if earlier["first_sample"] < self.done]
        self.facts |= {
            "conditions": conditions,
            "tuning": tuning,
            "pieces": [*pieces, {**piece, "first_sample": self.done}],
        }
        self.save()

    def save(self) -> None:
        """Put `facts` on the disk."""
        write_whole({self.partial_run: json.dumps(self.facts, indent=2) + "\n"})

    def lose(self, cause: str, message: str) -> None:
        """Record the next sample as one without an outcome."""
        repeat, prompt = self.jobs[self.done]
        failure = {"sample_id": prompt.sample_id, "repeat": repeat, "cause": cause, "message": message}
        self.facts["failures"] = [*self.facts["failures"], failure]
        self.save()  # the reason first: ended in between, it is dropped and the sample tried again
        self.append(lost(prompt, repeat, cause))

    def append(self, sample: Sample) -> None:
        """Add the next line; it is on the disk on return, or not there at all."""
        assert (sample.repeat, sample.sample_id) == (self.jobs[self.done][0], self.jobs[self.done][1].sample_id)
        line = to_line(sample).encode()
        # Unbuffered: what a failed write leaves in a buffer is written when the file closes, behind the truncation.
        with self.partial.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except OSError as error:
                error.filename = error.filename or str(self.partial)
                with contextlib.suppress(OSError):  # a torn line is dropped by the next process too
                    os.truncate(self.partial, size)
                raise
        self.done += 1

    def finish(self, facts: dict[str, Any]) -> None:
        """Make the outputs."""
        assert self.complete
        pieces, failures = self.facts["pieces"], self.facts["failures"]
        peaks = [piece["peak_memory_bytes"] for piece in pieces if piece.get("peak_memory_bytes")]
        first = pieces[0]
        whole = {
            "schema_version": SCHEMA_VERSION,
            **facts,
            **{name: self.facts[name] for name in OF_THE_JOB},
            "samples_sha256": hashlib.sha256(self.partial.read_bytes()).hexdigest(),
            **{name: first[name] for name in OF_THE_FIRST_PIECE},
            "peak_memory_bytes": max(peaks, default=0),
            "pieces": pieces,
            "failures": failures,
        }
        samples = self.partial.read_text(encoding="utf-8")
        write_whole({self.run: json.dumps(whole, indent=2) + "\n", self.samples: samples})


def tidy(results: Path) -> None:
    """Remove the journals of jobs whose outputs stand. For when Snakemake has noted that these jobs are done."""
    for partial in results.rglob("samples.jsonl.partial"):
        samples, run = partial.with_name("samples.jsonl"), partial.with_name("run.json")
        if samples.exists() and run.exists() and filecmp.cmp(samples, partial, shallow=False):
            partial.unlink()
            run.with_name("run.json.partial").unlink(missing_ok=True)
