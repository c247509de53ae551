"""The whole configuration: an experiment's models, data sets and methods, and what they share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SerializeAsAny

from longspec.config.sections.base import Name, Natural, NonNegativeNumber, Positive, Section, each_once
from longspec.config.sections.dataset import Dataset
from longspec.config.sections.method import Method
from longspec.config.sections.model import Target
from longspec.config.sections.sampling import Sampling
from longspec.config.sections.trained import TrainedDrafter


class Config(Section):
    """The configuration of an experiment."""

    models: Annotated[dict[Name, Target], Field(min_length=1)]
    """Target models, by a name of your choice."""
    datasets: Annotated[dict[Name, SerializeAsAny[Dataset]], Field(min_length=1)]
    """Data sets, by a name of your choice."""
    methods: Annotated[dict[Name, SerializeAsAny[Method]], Field(min_length=1)]
    """Variants to compare, by a name of your choice. The first whose method drafts nothing (vanilla) is the baseline;
    there must be one."""
    seed: Natural = 0
    """Seed of everything random, recorded with each run."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where models run; `auto` takes a GPU when there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of weights and cache; `auto` is bfloat16 where the device multiplies it natively, else float32."""
    engine: Literal["auto", "eager", "packed", "native", "graphs", "stock", "branches"] = "auto"
    """How the model runs. `native`: this project's own step in C++ for CPUs; `packed`: with weights as oneDNN wants
    them; `eager`: as written, with this project's attention; `graphs`: as CUDA graphs; `stock`: with the attention that
    the model brings, slow; `branches`: as `stock`, and a tree takes a forward for each branch; `auto` takes graphs on a
    GPU, and on a CPU the fastest that computes what transformers does, `stock`, then `branches` where no other does.
    docs/models.md lists what each model type runs by; docs/decisions/0016 has `native` and what `dtype` means there;
    docs/gpu.md is about `graphs`. Without a C++ compiler (`CXX`, `c++`, `g++`, `clang++`) there is no native engine:
    what runs, and why, stands in run.json."""
    numerics: Literal["auto", "invariant", "fast"] = "auto"
    """Whether a token's logits may depend on how many tokens are run with it; `invariant` makes bfloat16 outputs of
    drafted chains vanilla's own, `auto` is invariant where kernels allow it. The native engine is always invariant; of
    the packed one it is tried on the loaded model, in bfloat16."""
    threads: Literal["auto"] | Positive = "auto"
    """Threads of torch; `auto` is the physical cores that a job may use. Independent of Snakemake's `--cores`."""
    repeats: Positive = 1
    """How often each sample is generated and timed."""
    schedule: Literal["blocked", "interleaved"] = "blocked"
    """Which methods share a job. `blocked`: each has a job of its own; `interleaved`: all methods of a model and data
    set are in one job, sample by sample, in an order drawn anew for each."""
    concurrency: Annotated[list[Positive], Field(min_length=1), AfterValidator(each_once)] = [1]
    """How many requests a served engine answers at a time, each for itself: a finished one is replaced at once by the
    next. Our own loop and peers answer one at a time, whatever stands here. docs/engines.md says more."""
    warmup: Natural = 1
    """Unmeasured generations before the first sample, the same for every method."""
    timeout: NonNegativeNumber = 3600
    """Seconds that one sample may take before it is given up as lost; 0 for no limit. Changing it reruns the report
    alone."""
    on_error: Literal["continue", "stop"] = "continue"
    """What follows a sample that fails (time, memory, device, numbers). `continue` counts it as missing, `stop` ends
    its job. Changing it reruns the report alone."""
    results: str = "results"
    """Folder of all results, inside the working directory."""
    reports: str = "reports"
    """Folder of the report, inside the working directory."""
    sampling: Sampling = Field(default_factory=Sampling)
    """How the target's distribution is made from its logits. Greedy by default; see below."""
    verification: Literal["keyed", "residual"] = "keyed"
    """How drafts are verified above temperature 0; `keyed` gives vanilla's own tokens, `residual` samples of the same
    distribution. docs/losslessness.md says more."""
    lossless: Literal["report", "require"] = "report"
    """What a method whose output is not the model's does; `require` makes the run fail."""
    drafters: dict[Name, TrainedDrafter] = Field(default_factory=dict)
    """Drafters that the workflow trains, by a name of your choice. See below; DRAFTER ends up in
    `{results}/drafters/DRAFTER`."""
    prompt_templates: str | None = None
    """A JSON file of prompt templates by name, such as LongBench's `dataset2prompt.json`; used by data sets with a
    `template_name`."""
