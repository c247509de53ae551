"""What run.json holds: how the samples of one job were made, and by which processes. No torch.

Contract: run.json is read and written here and nowhere else; what is written can be read again. A field with a default
may be absent: no ratio rests on it. Fields that are not named here are kept. A change of a field raises
records.SCHEMA_VERSION.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired

import pydantic
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from longspec.core import registry
from longspec.core.errors import UserError
from longspec.core.records import SCHEMA_VERSION, first_fault, of_another_version
from longspec.core.spec import GenerateSpec, by_name, load_of

OF_THE_FIRST_PIECE = ("warmup_samples", "environment", "engine_note", "engine_checks", "load_seconds", "started")
"""Fields of a run that are those of its first process."""


class LoopFacts(TypedDict):
    """Conditions that come from the loop that was timed."""

    loop: str  # "longspec", or the peer's library and function
    verification: str
    dtype: str
    attention: str
    engine: str
    numerics: str
    server: NotRequired[list[str]]  # of a served engine, as in Conditions
    concurrency: NotRequired[int]


@pydantic.with_config(extra="allow")
class Tuning(TypedDict):
    """What `auto` chose for a job, and what the choice rests on (decoding/autotune/tuning.py)."""

    options: dict[str, Any]  # of the method, as the configuration would give them
    predicted: NotRequired[dict[str, float | None] | None]  # None where no step was measured
    candidates: NotRequired[int]
    texts: NotRequired[int]
    texts_are: NotRequired[str]
    context_tokens: NotRequired[int]
    positions: NotRequired[int]
    acceptance: NotRequired[list[list[float]]]  # [depth][rank], the share accepted
    costs: NotRequired[dict[str, object]]  # of drafting and of the target's steps, in seconds
    seconds: NotRequired[float]


class Part(pydantic.BaseModel):
    """A part of run.json: read without conversion, never changed."""

    model_config = pydantic.ConfigDict(strict=True, frozen=True, extra="allow")

    def stated(self) -> dict[str, object]:
        """List the fields that the file has, those without a name here last."""
        return self.model_dump(exclude_unset=True)


class Conditions(Part):
    """What two runs must share before one is divided by the other (measure/session.py and the backend's `facts`)."""

    model: str | None = None  # what its entry resolved to
    prompts_sha256: str
    sampling: str = ""  # what differs from greedy decoding
    seed: int
    loop: str | None = None  # as in LoopFacts
    verification: str  # how tokens come to be: "keyed", "residual", or "own" where a peer samples
    dtype: str | None = None
    attention: str | None = None
    engine: str | None = None
    numerics: str | None = None
    device: str | None = None
    threads: int | None = None
    stop_ids: list[int] = []
    max_new_tokens: int | None = None
    context_tokens: int | None = None
    warmup: int | None = None  # how many generations
    repeats: int
    schedule: str | None = None
    concurrency: int | None = None  # of a served engine: requests in flight
    server: list[str] | None = None  # flags of its server, without those of speculation


class Environment(Part):
    """Hardware, versions and commit (models/machine.py)."""

    platform: str | None = None
    python: str | None = None
    packages: dict[str, str] | None = None
    processor: str | None = None
    physical_cores: int | None = None
    memory_bytes: int | None = None
    device_name: str | None = None
    driver: str | None = None
    git_commit: str | None = None


class WarmupSample(Part):
    """One unmeasured generation before the first sample (measure/warmup.py)."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float | None = None


class CheckedEngine(Part):
    """How the engine of one model was checked (core/spec.py EngineCheck)."""

    engine: str | None = None
    distance: float = float("nan")  # of its logits from transformers'
    bound: float = float("nan")
    max_difference: float | None = None
    transformers: str | None = None  # its version
    step_seconds: dict[str, dict[str, float]] | None = None  # engine to seconds by rows


class Piece(Part):
    """One process that took part."""

    started: str = ""  # ISO 8601, UTC
    host: str
    load_seconds: float | None = None
    models: dict[str, object] = {}  # option of the method to what its model resolved to
    engine_checks: dict[str, CheckedEngine] | None = None  # by model; None of a peer
    warmup_samples: list[WarmupSample] = []
    environment: Environment
    engine_note: str | None = None  # why another engine ran than was to be expected
    server_command: list[str] | None = None  # of a served engine, complete
    first_sample: int  # the first line of samples.jsonl that it wrote
    peak_memory_bytes: int = 0


class Failure(TypedDict):
    """A sample without an outcome, and why."""

    sample_id: str
    repeat: int
    cause: str  # a key of records.LOST
    message: str


def _with_method(spec: dict[str, object]) -> dict[str, object]:
    if not isinstance(spec.get("method"), dict):
        raise ValueError("no `method` in it")
    return spec


Spec = Annotated[
    GenerateSpec,
    pydantic.GetPydanticSchema(lambda _, of: of(Annotated[dict[str, object], pydantic.AfterValidator(_with_method)])),
]
"""All that decided the output, but for the prompts. As its job was given it, so that options of plug-ins are kept."""


class RunRecord(Part):
    """run.json."""

    schema_version: int
    model: str
    dataset: str
    method: str
    spec: Spec
    conditions: Conditions
    tuning: Tuning | None = None  # what `auto` chose and predicted
    profile: list[dict[str, int | float]] | None = None  # seconds by part of a step, after the measured samples
    memory: dict[str, int] | None = None  # bytes by holder
    samples_sha256: str | None = None  # of samples.jsonl, as it was written
    warmup_samples: list[WarmupSample] = []
    environment: Environment
    engine_note: str | None = None
    engine_checks: dict[str, CheckedEngine] | None = None
    load_seconds: float | None = None
    started: str = ""
    peak_memory_bytes: int
    pieces: list[Piece]
    failures: list[Failure] = []

    @property
    def names(self) -> dict[str, str]:
        """The first columns of every table."""
        return {"model": self.model, "dataset": self.dataset, "method": self.method}

    @property
    def concurrency(self) -> int:
        """Requests in flight, as its label says."""
        return load_of(self.method)[1]

    @property
    def served(self) -> bool:
        """Whether a served engine answered."""
        return self.conditions.server is not None

    @property
    def variant(self) -> Mapping[str, Any]:
        """The method's own configuration, without its name."""
        return {key: value for key, value in by_name(self.spec["method"]).items() if key != "name"}

    @property
    def widths(self) -> list[int]:
        """The most nodes at each depth of a draft, as configured or tuned; empty where nobody knows."""
        return registry.widths({**self.variant, **(self.tuning["options"] if self.tuning else {})})


def read(path: Path) -> RunRecord:
    """Read a run.json. Raises UserError where it is damaged or of another version."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(str(path), f"cannot be read ({error})", "the JSON file of a finished job") from None
    version = found.get("schema_version") if isinstance(found, dict) else None
    if version != SCHEMA_VERSION:
        raise of_another_version(str(path), version)
    try:
        return RunRecord.model_validate(found)
    except pydantic.ValidationError as error:
        raise UserError(str(path), ": ".join(first_fault(error)), "these results made again") from None


def text(facts: Mapping[str, object]) -> str:
    """Make the text of a run.json, with this version; `facts` are the fields of a RunRecord."""
    written = {"schema_version": SCHEMA_VERSION, **facts}
    RunRecord.model_validate(written)
    return json.dumps(written, indent=2) + "\n"
