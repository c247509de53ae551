"""The backend of our own decoding loop: a method and a drafter over a target."""

from __future__ import annotations

import functools

from longspec.backends import job_target
from longspec.backends.in_process import InProcess
from longspec.backends.interface import Texts
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


class LongSpec(InProcess):
    """Answer prompts by this package's decoding loop."""

    def __init__(self, spec: GenerateSpec, shared: Shared | None) -> None:
        self.spec = spec
        self.target = job_target.load(spec, shared)
        self.method, self.drafter = build(spec["method"], self.target)
        self.device, self.stop_ids = self.target.device, self.target.stop_ids
        self.context_tokens = self.target.context_tokens

    @property
    def engine(self) -> str:
        """Name the engine that runs the target now; it may have fallen back to another."""
        return self.target.engine

    @property
    def engine_note(self) -> str | None:
        """Explain why another engine runs than was to be expected; None where it does not."""
        return self.target.engine_note

    def answer(self, ids: list[int], limits: Limits, sample_id: str, turn: int) -> Turn:
        """Answer one turn by the decoding loop and the job's verifier."""
        verifier = job_target.verifier(self.spec, self.target, sample_id, turn)
        return generate(self.target, self.method, self.drafter, ids, limits, verifier)

    def facts(self) -> LoopFacts:
        """Return the loop, verification, number format, attention, engine and numerics of the run."""
        return {
            "loop": "longspec",
            "verification": registry.verification(self.spec),
            "dtype": str(self.target.dtype).removeprefix("torch."),
            "attention": self.target.attention,
            "engine": self.target.engine,
            "numerics": self.target.numerics,
        }

    def profile(self, ids: list[int], limits: Limits, sample_id: str) -> dict[str, float] | None:
        """Measure the seconds of each part of the loop over one answer (decoding/profiling.py)."""
        verifier = job_target.verifier(self.spec, self.target, sample_id, 0)
        return profiling.profile(self.target, self.method, self.drafter, ids, limits, verifier)

    def memory(self) -> dict[str, int] | None:
        """Count the bytes of weights and caches of target and drafter (models/memory.py)."""
        return memory.by_part(self.target, self.drafter)

    def tune(self, texts: Texts, limits: Limits, known: Tuning | None) -> Tuning | None:
        """Choose the method's shape if it is `auto`, or take the `known` one (decoding/autotune/)."""
        if not isinstance(self.method, Tunable) or not self.method.auto:
            return None
        if known is not None:
            self.method = type(self.method)(**known["options"])
            return known
        assert self.drafter is not None
        # The sample id "" is no sample's. The residual verifier's texts depend on the drafts; the keyed one's do not.
        verifier_of = functools.partial(job_target.verifier, {**self.spec, "verification": "keyed"}, self.target, "")
        ids, source = texts()
        found: Tuning
        self.method, found = tuning.tune(self.method, self.target, self.drafter, ids, limits, verifier_of)
        found["texts_are"] = source
        return found


def build(method: MethodEntry, target: CausalLM) -> tuple[Method, Drafter | None]:
    """Make the method and the drafter of a configuration entry, each with its own options."""
    module = registry.load("methods", method["method"])
    given = by_name(method)
    chosen = {name: given[name] for name in registry.options("methods", method["method"])}
    drafter = None
    if name := method.get("drafter"):
        options = {option: given[option] for option in registry.options("drafters", name)}
        drafter = registry.load("drafters", name).make(target, **options)
    return module.Method(**chosen), drafter
