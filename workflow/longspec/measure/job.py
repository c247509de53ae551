"""One generate job: what is measured in which order, where it goes, and what is done about a sample that fails.

Contract: plain data that a supervisor hands to its worker; the journal's key follows from it. No torch.
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
    """One method, or several in turn, on one data set with one model.

    `specs`, `outputs`: one a method (config/specs.py). `spare`: prompts to tune on, which are not measured. `version`:
    of code, data and weights. `timeout`: seconds that one sample may take, 0 for no limit. `stop`: whether a sample
    that fails ends the job.
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
        """Names of the methods, in the order of `specs`."""
        return [spec["method"]["name"] for spec in self.specs]

    @property
    def title(self) -> str:
        """Name the job in a line of progress."""
        spec = self.specs[0]
        last = self.methods[0] if len(self.specs) == 1 else f"{len(self.specs)} methods"
        return f"{spec['model']['name']} / {spec['dataset']['name']} / {last}"

    @property
    def lock(self) -> Path:
        """The file that only one process may hold."""
        return self.log.with_name("generate.lock")

    @cached_property
    def lines(self) -> list[order.Line]:
        """Every sample that the job measures, in order."""
        first = self.specs[0]
        return order.lines(self.methods, self.prompts, first["repeats"], first["seed"])

    @cached_property
    def key(self) -> str:
        """Hash of all that must be the same for two processes to write one journal."""
        parts = [self.specs, self.version, prompts_sha256(self.prompts)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def journal(self) -> Journal:
        """Open the journal as it stands on the disk."""
        place = self.log.with_name(NAME)
        return Journal(place, self.key, dict(zip(self.methods, self.outputs, strict=True)), self.lines)

    def finish(self, written: Journal) -> None:
        """Make the outputs of a complete journal."""
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
