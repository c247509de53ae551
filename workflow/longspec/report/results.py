"""Read what the pages show into typed classes: grid, configuration, summary.json, run.json files, tables.

Contract: the only module of this folder that knows how these files look. A file that is not as expected is refused in
one line that names its key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pydantic

from longspec.analysis import claims, runs, tables
from longspec.core.errors import UserError, one_line
from longspec.core.run_record import RunRecord
from longspec.core.spec import Grid

TABLES = (*tables.OF_SAMPLES, "lossless", "speedup", "costs", "audit")
MOST_CLAIMS = 100
"""Claims that are printed on the page; summary.json has all."""
Cell = tuple[str, str]
"""A model and a data set."""
Names = tuple[str, str, str]
"""A model, a data set and a method."""
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class ModelEntry:
    """Where a model of the configuration comes from, if that is a hub."""

    hub: str | None = None


@dataclass(frozen=True)
class DatasetEntry:
    """What tells a published data set: LongBench's task, or a hub's repository."""

    task: str | None = None
    repository: str | None = None


@dataclass(frozen=True)
class MethodEntry:
    """The shape that a variant of the configuration drafts in."""

    method: str


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen, as far as a page asks."""

    temperature: float = 0.0


@dataclass(frozen=True)
class Config:
    """The configuration: what the pages ask of it, and as `whole` all of it, to be printed."""

    whole: Mapping[str, object]
    methods: dict[str, MethodEntry]
    models: dict[str, ModelEntry] = field(default_factory=dict)
    datasets: dict[str, DatasetEntry] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)
    drafters: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """What may be said of one method's speedup, from summary.json; None stands for what was not measured."""

    model: str
    dataset: str
    method: str
    baseline: str
    number_format: str | None
    peer: bool
    kind: str  # "faster", "slower", "no difference shown", "withheld"
    claim: str | None
    reason: str | None
    verdict: str
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    fastest: bool
    variants: int
    simultaneous_low: float | None
    simultaneous_high: float | None
    over_reference: float | None
    over_reference_low: float | None
    over_reference_high: float | None
    end_to_end_speedup: float | None
    end_to_end_speedup_low: float | None
    end_to_end_speedup_high: float | None
    prompts_paired: int
    samples_paired: int
    identical_outputs: int

    @property
    def name(self) -> str:
        """The method, with its number format where that is not the baseline's, and whether it is a peer."""
        return claims.labelled(self.method, self.number_format) + " (peer)" * self.peer

    @property
    def withheld(self) -> str:
        """The sentence that stands where no claim may: the method, its baseline and the reason."""
        name = claims.labelled(self.method, self.number_format)
        return f"{name} over {self.baseline} on {self.dataset} with {self.model}: {self.reason}."

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The interval that a claim rests on."""
        return claims.interval(vars(self))


@dataclass(frozen=True)
class Reference:
    """Another library's plain decoding, which the baseline was compared with."""

    reference: str


@dataclass(frozen=True)
class Verdict:
    """Four short answers of the whole experiment."""

    lossless: str
    audit: str
    noise: str
    baseline: str


@dataclass(frozen=True)
class Summary:
    """summary.json, as far as pages show it."""

    baseline: str
    started: str
    verdict: Verdict
    references: list[Reference]
    claims: list[Claim]


@dataclass(frozen=True)
class PromptCounts:
    """What became of a data set's prompts, and the commit or fingerprint of the data that they are of."""

    kept: int
    too_short: int
    too_long: int
    truncated: int
    data: str | None = None


@dataclass(frozen=True)
class Results:
    """All that the pages show."""

    folder: Path
    grid: Grid
    config: Config
    summary: Summary
    jobs: dict[Names, RunRecord]
    tables: dict[str, pd.DataFrame]
    prompts: dict[Cell, PromptCounts]
    training: dict[str, pd.DataFrame]  # by drafter that the workflow trained

    @property
    def served(self) -> list[str]:
        """The labels of served engines, in the grid's order."""
        return [method for method in self.grid["methods"] if method in self.grid.get("baselines", {})]


def read(folder: Path, grid: object, config: Mapping[str, object]) -> Results:
    """Read a results folder; `grid` and `config` as the command is given them. UserError where a file is damaged."""
    made, configured = checked("--grid", Grid, grid), checked("--config", Config, {"whole": config, **config})
    counts = {cell: folder.joinpath(*cell, "prompts_summary.json") for cell in runs.cells(made)}
    trained = {name: folder / "drafters" / name / "training.csv" for name in configured.drafters}
    # Without an engine there is no section that shows its load.
    read_tables = dict.fromkeys([*TABLES, *(["load"] if made.get("baselines") else [])])
    return Results(
        folder=folder,
        grid=made,
        config=configured,
        summary=read_json(folder / "summary.json", Summary),
        jobs={(*cell, name): run for cell, found in runs.records(made, folder) for name, run in found.items()},
        tables={name: tables.read(folder / f"{name}.csv") for name in read_tables},
        prompts={cell: read_json(file, PromptCounts) for cell, file in counts.items() if file.is_file()},
        training={name: tables.read(file) for name, file in trained.items() if file.is_file()},
    )


def read_json(path: Path, kind: type[Kind]) -> Kind:
    """Read a JSON file as a `kind`; UserError where it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(str(path), f"cannot be read ({one_line(error)})", "a JSON file of this workflow") from None
    return checked(str(path), kind, value)


def checked(where: str, kind: type[Kind], value: object) -> Kind:
    """Return a value read from JSON or a table as a `kind`; UserError names the key that does not fit."""
    return _valid(where, pydantic.TypeAdapter(kind), value)


def _valid(where: str, reader: pydantic.TypeAdapter[Kind], value: object) -> Kind:
    try:
        return reader.validate_python(value)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "all of it"
        found = "missing" if first["type"] == "missing" else repr(first["input"])[:80]
        raise UserError(where, f"{key} is {found}", first["msg"]) from None


def rows_of(table: pd.DataFrame, kind: type[Kind], where: str) -> list[Kind]:
    """Read a table's rows as a `kind` each; None stands for an empty cell, and columns that it lacks are left out.
    UserError names `where` the table is from."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    reader = pydantic.TypeAdapter(kind)
    return [_valid(f"{where}, row {number}", reader, row) for number, row in enumerate(rows, start=1)]


def by_names(table: pd.DataFrame, column: str) -> dict[Names, float]:
    """Map model, data set and method to a column's number; jobs without one are left out."""
    known = table[table[column].notna()]
    return {
        (str(model), str(dataset), str(method)): float(value)
        for model, dataset, method, value in known[[*tables.NAMES, column]].itertuples(index=False)
    }
