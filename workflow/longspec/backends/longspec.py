"""The backend of our own loop: a method and a drafter over a target."""

from __future__ import annotations

import functools

from longspec.backends import job_target
from longspec.backends.base import Texts
from longspec.core import registry
from longspec.core.records import Turn
from longspec.core.run_record import LoopFacts, Tuning
from longspec.core.spec import GenerateSpec, MethodEntry, by_name
from longspec.decoding import profiling
from longspec.decoding.autotune import tuning
from longspec.decoding.interfaces import Drafter, Method, Tunable
from longspec.decoding.loop import Limits, generate
from longspec.models import memory
from longspec.models.shared import Shared
from longspec.models.target import CausalLM


class LongSpec:
    """The decoding loop of this package."""

    def __init__(self, spec: GenerateSpec, shared: Shared | None) -> None:
        self.spec = spec
        self.target = job_target.load(spec, shared)
        self.method, self.drafter = build(spec["method"], self.target)
        self.device, self.stop_ids = self.target.device, self.target.stop_ids
        self.context_tokens = self.target.context_tokens

    @property
    def engine(self) -> str:
        """The target's, which may fall back."""
        return self.target.engine

    @property
    def engine_note(self) -> str | None:
        """Why it did."""
        return self.target.engine_note

    def answer(self, ids: list[int], limits: Limits, sample_id: str, turn: int) -> Turn:
        """By the loop and the job's verification rule."""
        rule = job_target.rule(self.spec, self.target, sample_id, turn)
        return generate(self.target, self.method, self.drafter, ids, limits, rule)

    def facts(self) -> LoopFacts:
        """Number format, attention, engine."""
        return {
            "loop": "longspec",
            "verification": registry.rule_name(self.spec),
            "dtype": str(self.target.dtype).removeprefix("torch."),
            "attention": self.target.attention,
            "engine": self.target.engine,
            "numerics": self.target.numerics,
        }

    def profile(self, ids: list[int], limits: Limits, sample_id: str) -> dict[str, float] | None:
        """The loop's parts."""
        rule = job_target.rule(self.spec, self.target, sample_id, 0)
        return profiling.profile(self.target, self.method, self.drafter, ids, limits, rule)

    def memory(self) -> dict[str, int] | None:
        """Cache of the target, weights and state of the drafter."""
        return memory.by_part(self.target, self.drafter)

    def tune(self, texts: Texts, limits: Limits, known: Tuning | None) -> Tuning | None:
        """What the method leaves to `auto`."""
        if not isinstance(self.method, Tunable) or not self.method.auto:
            return None
        if known is not None:
            self.method = type(self.method)(**known["options"])
            return known
        assert self.drafter is not None
        # No sample has an empty name. Texts of the residual rule differ with what is drafted; the keyed one stands in.
        rules = functools.partial(job_target.rule, {**self.spec, "verification": "keyed"}, self.target, "")
        ids, source = texts()
        found: Tuning
        self.method, found = tuning.tune(self.method, self.target, self.drafter, ids, limits, rules)
        found["texts_are"] = source
        return found


def build(method: MethodEntry, target: CausalLM) -> tuple[Method, Drafter | None]:
    """The method and its drafter from a config entry; each gets its own options, by keyword."""
    module = registry.load("methods", method["method"])
    given = by_name(method)
    chosen = {name: given[name] for name in registry.options("methods", method["method"])}
    drafter = None
    if name := method.get("drafter"):
        options = {option: given[option] for option in registry.options("drafters", name)}
        drafter = registry.load("drafters", name).make(target, **options)
    return module.Method(**chosen), drafter
