"""What a job is told about engines before it loads anything: which one each model runs by, and how it was checked.

Contract: jobs of our own loop alone; peers run transformers' models as they are. It refuses texts that would grow
beyond the positions up to which a model's rotary table stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longspec.core import registry
from longspec.core.errors import UserError
from longspec.core.records import Prompt
from longspec.verify.engine.checked import checked


def with_engine(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec whose `engine` and `numerics` are those that were checked; `engine_checks` holds the record by model:
    "target", and each option of the drafter that names a model which our engine runs. That gets an `engine` too."""
    record = checked(spec)
    found = {"target": record}
    with_it = {**spec, "engine": record["engine"], "numerics": record["numerics"], "engine_checks": found}
    method = dict(spec.get("method", {}))
    for option in registry.engine_runs(method["drafter"]) if method.get("drafter") else ():
        asked = "auto" if record["engine"] == "native" else record["engine"]  # which may not express both
        found[option] = checked({**spec, "model": method[option], "engine": asked, "numerics": "auto"})
        method[option] = {**method[option], "engine": found[option]["engine"]}
        with_it["method"] = method
    return with_it


def with_engines(specs: Sequence[dict[str, Any]], prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """The same of every method of a job that our loop runs. UserError where an engine is not the model, or where a
    text of these prompts may grow too long for it."""
    found = []
    for spec in specs:
        if registry.decodes(spec["method"]["method"]) == "methods":
            spec = with_engine(spec)
            _refuse_too_long(spec, prompts)
        found.append(spec)
    return found


def _refuse_too_long(spec: dict[str, Any], prompts: Sequence[Prompt]) -> None:
    steady, name = spec["engine_checks"]["target"]["steady_positions"], spec["model"]["name"]
    if steady is None or (spec["model"].get("context") or steady + 1) <= steady:
        return
    several = any(len(prompt.turns) > 1 for prompt in prompts)  # later turns hold answers that nobody knows yet
    longest = max(len(prompt.prompt_ids) for prompt in prompts) + spec["dataset"]["max_new_tokens"]
    if several or longest > steady:
        raise UserError(
            f"models.{name}.context",
            f"{spec['model'].get('context')}, and texts may grow "
            f"{'turn by turn' if several else f'to {longest} tokens'}, but beyond {steady} the model's rotary table "
            "changes for all tokens of a text, which no cache follows",
            f"at most {steady}",
        )
