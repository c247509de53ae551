"""The description of one generate job: its samples, their order, its outputs, and what happens when a sample fails.

It is plain data that a supervisor hands to its worker, and decides the journal's key. No torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from longspec.core.records import Prompt, prompts_sha256
from longspec.core.spec import GenerateSpec
from longspec.measure import order
from longspec.measure.entries import Facts
from longspec.measure.journal import NAME, Journal, Outputs


@dataclass(frozen=True)
class Job:
    """Describe one generate job: one method, or several in turn, on one data set with one model.

    `specs`, `outputs`: one for each method (config/specs.py). `spare`: prompts to tune on, which are not measured.
    `version`: of code, data and weights. `timeout`: seconds that one sample may take, 0 for no limit. `stop`: true if a
    sample that fails ends the job.
    """

    specs: list[GenerateSpec]
    outputs: list[Outputs]
    prompts: list[Prompt]
    spare: list[Prompt]
    log: Path
    version: str = ""
    timeout: float = 0.0
    stop: bool = False

    @cached_property
    def methods(self) -> list[str]:
        """List the names of the methods, in the order of `specs`."""
        return [spec["method"]["name"] for spec in self.specs]

    @property
    def title(self) -> str:
        """Name the job for lines of progress."""
        spec = self.specs[0]
        last = self.methods[0] if len(self.specs) == 1 else f"{len(self.specs)} methods"
        return f"{spec['model']['name']} / {spec['dataset']['name']} / {last}"

    @property
    def lock(self) -> Path:
        """Return the path of the lock that the job's only writer holds."""
        return self.log.with_name("generate.lock")

    @cached_property
    def lines(self) -> list[order.Line]:
        """List every sample that the job measures, in order."""
        first = self.specs[0]
        return order.lines(self.methods, self.prompts, first["repeats"], first["seed"])

    @cached_property
    def key(self) -> str:
        """Hash what two processes must have in common to write one journal: specs, version and prompts."""
        parts = [self.specs, self.version, prompts_sha256(self.prompts)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def journal(self) -> Journal:
        """Open the job's journal, and read what it holds on the disk."""
        place = self.log.with_name(NAME)
        return Journal(place, self.key, dict(zip(self.methods, self.outputs, strict=True)), self.lines)

    def finish(self, written: Journal) -> None:
        """Write the outputs of a complete journal."""
        facts: dict[str, Facts] = {
            spec["method"]["name"]: {
                "model": spec["model"]["name"],
                "dataset": spec["dataset"]["name"],
                "method": spec["method"]["name"],
                "spec": spec,
            }
            for spec in self.specs
        }
        written.finish(facts)
