"""Puts the checked engine of each model into a job's spec before the job loads anything.

Only jobs of our own loop need it; peers run transformers' models unchanged. Texts that would grow beyond the positions
up to which a model's rotary table stays the same are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

from longspec.core import registry
from longspec.core.errors import UserError
from longspec.core.records import Prompt
from longspec.core.spec import GenerateSpec, MethodSpec, TargetSpec, by_name
from longspec.models.packed_linear import LAST_RESORTS
from longspec.verify.engine.checked import checked

Spec = TypeVar("Spec", bound=TargetSpec)


def with_engine(job: Spec) -> Spec:
    """Put the `engine` and `numerics` that were checked into a spec; `engine_checks` gets the record of the check."""
    record = checked(job)
    found = {"engine": record["engine"], "numerics": record["numerics"], "engine_checks": {"target": record}}
    return cast(Spec, {**job, **found})


def with_engines(jobs: Sequence[GenerateSpec], prompts: Sequence[Prompt]) -> list[GenerateSpec]:
    """Put the engines that were checked into the specs of a job's methods that our loop runs.

    Raises UserError where no engine passes, or where a text of these prompts may grow too long for the model."""
    found = []
    for job in jobs:
        if registry.decodes(job["method"]["method"]) == "methods":
            job = _with_drafters_engine(with_engine(job))
            _refuse_too_long(job, prompts)
        found.append(job)
    return found


def _with_drafters_engine(job: GenerateSpec) -> GenerateSpec:
    """Put an `engine` into each model of the drafter that our engine runs, and its record beside the target's."""
    found, method = dict(job["engine_checks"]), dict(by_name(job["method"]))
    drafter, engine = job["method"].get("drafter"), job["engine"]
    for option in registry.engine_runs(drafter) if drafter else ():
        asked = "auto" if engine in ("native", *LAST_RESORTS) else engine  # which may not express both, or is slow
        with_its_model = {**job, "model": method[option], "engine": asked, "numerics": "auto"}
        found[option] = checked(cast(GenerateSpec, with_its_model))
        method[option] = {**method[option], "engine": found[option]["engine"]}
    return {**job, "engine_checks": found, "method": cast(MethodSpec, method)}


def _refuse_too_long(job: GenerateSpec, prompts: Sequence[Prompt]) -> None:
    record, name = job["engine_checks"]["target"], job["model"]["name"]
    steady, beyond = record["steady_positions"], record.get("steady_beyond", False)
    if steady is None or (job["model"].get("context") or steady + 1) <= steady:
        return
    within = [prompt for prompt in prompts if not (beyond and len(prompt.prompt_ids) > steady)]
    several = any(len(prompt.turns) > 1 for prompt in within)  # later turns hold answers that nobody knows yet
    longest = max((len(prompt.prompt_ids) for prompt in within), default=0) + job["dataset"]["max_new_tokens"]
    if within and (several or longest > steady):
        raise UserError(
            f"models.{name}.context",
            f"{job['model'].get('context')}, and texts may grow "
            f"{'turn by turn' if several else f'to {longest} tokens'}, but beyond {steady} the model's rotary table "
            "changes for all tokens of a text, which no cache follows",
            f"at most {steady}" + (f", or prompts of more than {steady} tokens alone" if beyond else ""),
        )
