"""Read what generate jobs wrote, checked for completeness. No torch.

Contract: a run that is returned has the schema of this version and each of its samples exactly once a repeat.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from longspec.core import run_record
from longspec.core.errors import UserError
from longspec.core.records import (
    SCHEMA_VERSION,
    Prompt,
    Sample,
    line_sha256,
    parse_record,
    prompts_sha256,
    read_lines,
    read_records,
)
from longspec.core.run_record import RunRecord
from longspec.core.spec import Grid

_decoder = msgspec.json.Decoder(Sample)
"""Five times as fast as json and dataclasses, which 10^6 samples need (benchmarks/analysis.py). It checks types and
bounds. It cannot refuse an unknown key of a dataclass, so that it does not stand alone: such a key enters no figure,
and pydantic, which reads in the gate and explains here, refuses it."""


@dataclass(frozen=True)
class Run:
    """One job's files. `digests`, `samples_sha256`: the hashes of each sample's line, and of them all."""

    record: RunRecord
    samples: list[Sample]  # in the order in which they ran
    prompts: dict[str, Prompt]  # by id
    digests: list[str] = field(default_factory=list)
    samples_sha256: str = ""


def cells(grid: Grid) -> Iterator[tuple[str, str]]:
    """Go through the (model, data set) pairs of the experiment."""
    for model, datasets in grid["cells"].items():
        for dataset in datasets:
            yield model, dataset


def records(grid: Grid, results: Path) -> Iterator[tuple[tuple[str, str], dict[str, RunRecord]]]:
    """Read every run.json: (model, data set), and each method's record there."""
    for model, dataset in cells(grid):
        folder = results / model / dataset
        yield (model, dataset), {name: run_record.read(folder / name / "run.json") for name in grid["methods"]}


def read(results: Path, model: str, dataset: str, method: str) -> Run:
    """Read one job's files. Raises UserError where they are damaged, incomplete or of another version."""
    return next(read_cell(results, model, dataset, [method]))


def read_cell(results: Path, model: str, dataset: str, methods: list[str]) -> Iterator[Run]:
    """Read the jobs of one model and data set, one at a time, the prompts once. Raises UserError as `read` does."""
    prompts = read_records(results / model / dataset / "prompts.jsonl", Prompt)
    by_id, sha256 = {prompt.sample_id: prompt for prompt in prompts}, prompts_sha256(prompts)
    for method in methods:
        folder = results / model / dataset / method
        record = run_record.read(folder / "run.json")
        _refuse_strangers(folder / "run.json", record, (model, dataset, method), sha256)
        samples, digests, whole = _samples(folder / "samples.jsonl")
        _refuse_gaps(folder / "samples.jsonl", samples, by_id, record.conditions.repeats)
        yield Run(record, samples, by_id, digests, whole)


def first_samples(path: Path, count: int) -> list[Sample]:
    """Read the first samples of a file, for showing; the rest is not read."""
    lines = itertools.islice(read_lines(path), count)
    return [parse_record(f"{path}, line {number}", line, Sample) for number, line in lines]


def _samples(path: Path) -> tuple[list[Sample], list[str], str]:
    """Every sample, a hash of its line, and one of all lines."""
    samples, digests, whole = [], [], hashlib.sha256()
    for number, line in read_lines(path):
        raw = line.encode()
        samples.append(_sample(path, number, raw))
        digests.append(line_sha256(raw))
        whole.update(raw)
    return samples, digests, whole.hexdigest()


def _sample(path: Path, number: int, line: bytes) -> Sample:
    """One line, by the quick way; what it refuses, the slow way explains, or takes."""
    try:
        sample = _decoder.decode(line)
        if sample.schema_version == SCHEMA_VERSION:
            return sample
    except msgspec.MsgspecError:
        pass
    return parse_record(f"{path}, line {number}", line.decode(), Sample)


def _refuse_gaps(path: Path, samples: list[Sample], prompts: dict[str, Prompt], repeats: int) -> None:
    """Refuse a file unless each prompt stands there exactly once a repeat."""
    found = Counter((sample.sample_id, sample.repeat) for sample in samples)
    wrong = [
        (name, n) for (name, n), count in found.items() if count > 1 or name not in prompts or n not in range(repeats)
    ]
    # The first that is missing, and not all of them: a damaged run.json may promise any number of repeats.
    expected = ((sample_id, repeat) for sample_id in sorted(prompts) for repeat in range(repeats))
    wrong += itertools.islice((key for key in expected if key not in found), 1)
    if wrong:
        sample_id, repeat = min(wrong)
        raise UserError(
            str(path),
            f"sample {sample_id!r}, repeat {repeat} stands there {found[min(wrong)]} times",
            f"{int(sample_id in prompts and repeat in range(repeats))} by its prompts.jsonl",
        )


def _refuse_strangers(path: Path, record: RunRecord, names: tuple[str, str, str], sha256: str) -> None:
    """Refuse a run.json that was written for another folder or for other prompts."""
    for (key, said), name in zip(record.names.items(), names, strict=True):
        if said != name:
            raise UserError(str(path), f"its {key} is {said!r}", f"{name!r}, by the folder it lies in")
    if record.conditions.prompts_sha256 != sha256:
        raise UserError(
            str(path),
            f"was made from other prompts ({record.conditions.prompts_sha256}) than those in "
            f"{path.parents[1] / 'prompts.jsonl'} ({sha256})",
            "these results made again",
        )
