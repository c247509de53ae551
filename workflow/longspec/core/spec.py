"""What a job is told: its spec, as JSON that its command reads.

config/specs.py makes it. It holds nothing that cannot change the job's result. Options of a method, a drafter or a
source stand beside the keys that are named here, under the names of their OPTIONS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, cast

from typing_extensions import TypedDict  # pydantic, which reads a Grid, wants this one below Python 3.12


class ModelSpec(TypedDict):
    """Say where a model's files are (one of the first three keys), and how they may be read."""

    package: NotRequired[str]
    hub: NotRequired[str]
    path: NotRequired[str]
    revision: NotRequired[str]
    context: NotRequired[int]  # tokens
    chat_template: NotRequired[str]
    stop_tokens: NotRequired[list[str]]
    trust_remote_code: NotRequired[bool]
    convert_pickles: NotRequired[bool]
    name: NotRequired[str]  # of a target
    engine: NotRequired[str]  # of a drafter's model that our engine runs (verify/engine/jobs.py)


class DatasetSpec(TypedDict):
    """Hold all that decides a data set's prompts."""

    name: str
    prompt_templates: str | None
    source: str
    template: NotRequired[str]
    template_name: str | None
    turns_field: str | None
    chat: bool
    samples: int | None
    max_new_tokens: int
    min_prompt_tokens: int
    max_prompt_tokens: int | None
    prompt_reserve: int | None
    too_long: Literal["truncate", "drop"]


class AnswerLimit(TypedDict):
    """Name a data set and the longest answer to its prompts, which is all that generation needs of it."""

    name: str
    max_new_tokens: int


class MethodEntry(TypedDict):
    """Hold a variant's method and drafter, as one model runs it, with their options as further keys."""

    method: str
    drafter: NotRequired[str]


def by_name(entry: MethodEntry) -> Mapping[str, Any]:
    """View a variant by the names of all its keys, the options of its method and drafter included."""
    return cast(Mapping[str, Any], entry)


class MethodSpec(MethodEntry):
    """Hold a variant together with its name."""

    name: str


class SamplingSpec(TypedDict):
    """Hold the settings that turn the target's logits into the distribution that tokens are sampled from."""

    temperature: float
    top_k: int | None
    top_p: float
    min_p: float
    repetition_penalty: float


class MachineSpec(TypedDict):
    """Hold the device and the number of threads of a job."""

    device: str
    threads: int | Literal["auto"]


class EngineCheck(TypedDict):
    """Record how a model's engine was checked against transformers' (verify/engine/check.py); figures are more keys."""

    engine: str
    numerics: str
    steady_positions: int | None  # up to which the rotary table stays the same
    steady_beyond: NotRequired[bool]  # whether it is one table again for texts whose prompt is longer
    passed_over: dict[str, str]  # engine and numerics to the reason
    step_seconds: dict[str, dict[str, float]]  # engine to seconds by rows
    transformers: str  # its version
    tokens: int  # of the text


class TargetSpec(MachineSpec):
    """Hold the target of a job, and how it is run."""

    model: ModelSpec
    seed: int
    dtype: str
    engine: str
    numerics: str
    engine_checks: NotRequired[dict[str, EngineCheck]]  # by "target", or the option that names a drafter's model


class GenerateSpec(TargetSpec):
    """Hold all that decides a generate job's output, except for its prompts."""

    dataset: AnswerLimit
    method: MethodSpec
    sampling: SamplingSpec
    verification: str
    repeats: int
    warmup: int
    schedule: str
    concurrency: NotRequired[int]  # of a served engine: requests in flight
    gpus: NotRequired[int]  # that it may use


class AnswersSpec(TargetSpec):
    """Hold all that decides the answers that a drafter is trained on, except for the content of files."""

    questions: str | None
    texts: str | None
    train_tokens: int
    answer_tokens: int
    slots: int


class TrainedSpec(MachineSpec):
    """Hold all that decides a trained drafter, except for its answers."""

    model: ModelSpec
    kind: str
    answers: str | None
    epochs: float
    batch_tokens: int
    learning_rate: float
    shifted: float
    draft_vocabulary: int | None
    window: int
    start: NotRequired[ModelSpec]
    report_steps: int
    seed: int


class Grid(TypedDict):
    """List the cells (model and data set) of an experiment, and the variants that are compared in each."""

    cells: dict[str, list[str]]  # model to its data sets
    methods: list[str]
    baseline: str  # the first variant of our loop that drafts nothing
    reference: NotRequired[str | None]  # the first peer that drafts nothing
    baselines: NotRequired[dict[str, str]]  # a served engine's variant to the same engine without speculation


def baseline_of(grid: Grid, method: str) -> str:
    """Name the variant that a variant is compared with; a served engine without speculation is its own."""
    return grid.get("baselines", {}).get(method, grid["baseline"])


def gated_against(grid: Grid, method: str) -> str:
    """Name the variant whose output a variant's must be: its baseline's, of a served engine's own baseline ours."""
    baseline = baseline_of(grid, method)
    return grid["baseline"] if baseline == method else baseline


def labelled(name: str, concurrency: int) -> str:
    """Name a variant at a load: by its name alone at one request in flight."""
    return name if concurrency == 1 else f"{name}@{concurrency}"


def load_of(label: str) -> tuple[str, int]:
    """Take a label apart: (name of the variant, requests in flight). No name has an "@"."""
    name, _, concurrency = label.partition("@")
    return name, int(concurrency or 1)
