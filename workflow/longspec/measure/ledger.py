"""The journals of one job, written in turn: one a method, all of them together one experiment.

Contract: `lines` are what all of them will hold, in the order in which they are measured (order.py), and what
stands is always a beginning of it: journals that are not one beginning, such as one that lost its file, or that were
made under other conditions, are begun afresh together. So samples that share an order were measured in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longspec.core.records import Prompt, Sample
from longspec.core.run_record import Tuning
from longspec.measure import order
from longspec.measure.journal import Journal
from longspec.measure.order import Line


class Ledger:
    """The unfinished outputs of one job. Open it anew in each process; close it before another writes."""

    def __init__(
        self,
        outputs: Sequence[tuple[Path, Path]],
        key: str,
        methods: Sequence[str],
        prompts: Sequence[Prompt],
        repeats: int,
        seed: int,
    ) -> None:
        """`outputs`: samples.jsonl and run.json of each of `methods`."""
        self.methods, self.prompts = list(methods), list(prompts)
        self.lines: list[Line] = order.lines(methods, prompts, repeats, seed)
        jobs = order.jobs(prompts, repeats)
        self.journals = [Journal(samples, run, key, jobs) for samples, run in outputs]
        self.done = sum(journal.done for journal in self.journals)
        """How many lines stand, the first so many of `lines`."""
        standing = Counter(method for method, _, _ in self.lines[: self.done])
        if any(journal.done != standing[number] for number, journal in enumerate(self.journals)):
            self._forget()

    def _forget(self) -> None:
        self.done = 0
        for journal in self.journals:
            journal.forget()

    @property
    def complete(self) -> bool:
        """Whether every sample stands there."""
        return self.done == len(self.lines)

    def next(self) -> Line:
        """The line that comes next, where one is lacking."""
        return self.lines[self.done]

    def where(self) -> str:
        """That line, in words."""
        method, repeat, prompt = self.next()
        named = f"{self.methods[method]}, " if len(self.methods) > 1 else ""
        return f"{named}sample {prompt.sample_id!r}, repeat {repeat}"

    def begin(
        self, conditions: list[dict[str, Any]], pieces: list[dict[str, Any]], tunings: list[Tuning | None]
    ) -> None:
        """Note a process that is about to append, a piece for each method. Samples made under other conditions are not
        kept, nor are those that were measured in turn with them."""
        if any(journal.facts["conditions"] != now for journal, now in zip(self.journals, conditions, strict=True)):
            self._forget()
        for number, journal in enumerate(self.journals):
            journal.begin(conditions[number], pieces[number], tunings[number])

    def append(self, sample: Sample) -> None:
        """Add the next line; it is on the disk on return, or not there at all."""
        self.journals[self.next()[0]].append(sample)
        self.done += 1

    def lose(self, cause: str, message: str) -> None:
        """Record the next line as a sample without an outcome."""
        self.journals[self.next()[0]].lose(cause, message)
        self.done += 1

    def note_peak(self, peak_memory_bytes: int) -> None:
        """The most memory that the latest process held, for whichever of the methods."""
        for journal in self.journals:
            if journal.facts["pieces"]:
                journal.facts["pieces"][-1]["peak_memory_bytes"] = peak_memory_bytes
                journal.save()

    def finish(self, facts: list[dict[str, Any]]) -> None:
        """Make the outputs; `facts` of each method."""
        for journal, own in zip(self.journals, facts, strict=True):
            journal.finish(own)
