"""What a job is told: its spec, as JSON on its command line.

config/specs.py makes it. It holds nothing that cannot change the job's result. Options of a method, a drafter or a
source stand beside the keys that are named here, under the names of their OPTIONS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, cast


class ModelSpec(TypedDict):
    """A model: where its files are (one of the first three keys), and how they may be read."""

    package: NotRequired[str]
    hub: NotRequired[str]
    path: NotRequired[str]
    revision: NotRequired[str]
    context: NotRequired[int]  # tokens
    chat_template: NotRequired[str]
    trust_remote_code: NotRequired[bool]
    convert_pickles: NotRequired[bool]
    name: NotRequired[str]  # of a target
    engine: NotRequired[str]  # of a drafter's model that our engine runs (verify/engine/jobs.py)


class DatasetSpec(TypedDict):
    """All that decides a data set's prompts."""

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
    """What generation has to know of a data set."""

    name: str
    max_new_tokens: int


class MethodEntry(TypedDict):
    """A variant, as one model runs it."""

    method: str
    drafter: NotRequired[str]


def by_name(entry: MethodEntry) -> Mapping[str, Any]:
    """View a variant by the names of all its keys, the options of its method and drafter included."""
    return cast(Mapping[str, Any], entry)


class MethodSpec(MethodEntry):
    """A variant by its name."""

    name: str


class SamplingSpec(TypedDict):
    """How the target's distribution is made from its logits."""

    temperature: float
    top_k: int | None
    top_p: float
    min_p: float
    repetition_penalty: float


class MachineSpec(TypedDict):
    """How a job uses the machine."""

    device: str
    threads: int | Literal["auto"]


class EngineCheck(TypedDict):
    """How the engine of a model was checked against transformers' (verify/engine/check.py); figures stand beside."""

    engine: str
    numerics: str
    steady_positions: int | None  # up to which the rotary table stays the same
    passed_over: dict[str, str]  # engine and numerics to the reason
    step_seconds: dict[str, dict[str, float]]  # engine to seconds by rows
    transformers: str  # its version
    tokens: int  # of the text


class TargetSpec(MachineSpec):
    """How a job runs its target."""

    model: ModelSpec
    seed: int
    dtype: str
    engine: str
    numerics: str
    engine_checks: NotRequired[dict[str, EngineCheck]]  # by "target", or the option that names a drafter's model


class GenerateSpec(TargetSpec):
    """All that decides a generate job's output, but for its prompts."""

    dataset: AnswerLimit
    method: MethodSpec
    sampling: SamplingSpec
    verification: str
    repeats: int
    warmup: int
    schedule: str


class AnswersSpec(TargetSpec):
    """All that decides what a drafter is trained on, but for the content of files."""

    questions: str | None
    texts: str | None
    train_tokens: int
    answer_tokens: int
    slots: int


class TrainedSpec(MachineSpec):
    """All that decides a trained drafter beside its answers."""

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
    """All cells of an experiment, and what is compared in each."""

    cells: dict[str, list[str]]  # model to its data sets
    methods: list[str]
    baseline: str  # the first variant of our loop that drafts nothing
    reference: str | None  # the first peer that drafts nothing
