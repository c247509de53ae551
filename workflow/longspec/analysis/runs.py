"""Reading what generate jobs wrote, checked for completeness. No torch.

Contract: a run that is returned has the schema of this version and each of its samples exactly once a repeat.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
from typing_extensions import TypedDict  # pydantic wants it below Python 3.12

from longspec.errors import UserError
from longspec.records import SCHEMA_VERSION, Prompt, Sample, prompts_sha256, read_records

Grid = dict[str, Any]


class _Conditions(TypedDict):
    prompts_sha256: str
    repeats: int
    verification: str


class _Piece(TypedDict):
    host: str
    first_sample: int
    environment: dict[str, Any]


class _Facts(TypedDict):
    """What analysis relies on in run.json, which holds more."""

    model: str
    dataset: str
    method: str
    spec: dict[str, Any]
    conditions: _Conditions
    environment: dict[str, Any]
    peak_memory_bytes: int
    pieces: list[_Piece]


_FACTS = pydantic.TypeAdapter(_Facts)


@dataclass(frozen=True)
class Run:
    """One job: its names, run.json, samples in the order in which they ran, and its prompts by id."""

    model: str
    dataset: str
    method: str
    facts: dict[str, Any]
    samples: list[Sample]
    prompts: dict[str, Prompt]

    @property
    def names(self) -> dict[str, str]:
        """The first columns of every table."""
        return {"model": self.model, "dataset": self.dataset, "method": self.method}


def cells(grid: Grid) -> Iterator[tuple[str, str]]:
    """(model, data set) pairs of the experiment."""
    for model, datasets in grid["cells"].items():
        for dataset in datasets:
            yield model, dataset


def read(results: Path, model: str, dataset: str, method: str) -> Run:
    """One job's files; UserError when they are damaged, incomplete or of another version."""
    folder = results / model / dataset / method
    facts = read_facts(folder / "run.json")
    samples = read_records(folder / "samples.jsonl", Sample)
    prompts = read_records(results / model / dataset / "prompts.jsonl", Prompt)
    _refuse_strangers(folder / "run.json", facts, (model, dataset, method), prompts)
    expected = {(p.sample_id, repeat) for p in prompts for repeat in range(facts["conditions"]["repeats"])}
    found = Counter((sample.sample_id, sample.repeat) for sample in samples)
    wrong = [key for key in expected | set(found) if found[key] != (key in expected)]
    if wrong:
        sample_id, repeat = min(wrong)
        raise UserError(
            f"{folder / 'samples.jsonl'}: sample {sample_id!r}, repeat {repeat} stands there "
            f"{found[min(wrong)]} times; expected {int(min(wrong) in expected)} by its prompts.jsonl"
        )
    return Run(model, dataset, method, facts, samples, {prompt.sample_id: prompt for prompt in prompts})


def _refuse_strangers(path: Path, facts: dict[str, Any], names: tuple[str, str, str], prompts: list[Prompt]) -> None:
    """UserError when run.json was written for another folder or for other prompts."""
    for key, name in zip(("model", "dataset", "method"), names, strict=True):
        if facts.get(key) != name:
            raise UserError(f"{path}: its {key} is {facts.get(key)!r}; expected {name!r}, by the folder it lies in")
    if facts["conditions"]["prompts_sha256"] != prompts_sha256(prompts):
        raise UserError(
            f"{path}: was made from other prompts than those in {path.parents[1] / 'prompts.jsonl'}; "
            "make these results again"
        )


def read_facts(path: Path) -> dict[str, Any]:
    """run.json; UserError when it is of another version."""
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(facts, dict) or facts.get("schema_version") != SCHEMA_VERSION:
        version = facts.get("schema_version") if isinstance(facts, dict) else None
        raise UserError(
            f"{path}: schema_version is {version!r}, this version reads {SCHEMA_VERSION}; "
            "make these results again or use the version that wrote them"
        )
    try:
        _FACTS.validate_python(facts, strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {key}: {first['msg']}; make these results again") from None
    return facts
