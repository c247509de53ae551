"""What a job times: our loop with a method and a drafter, or a peer's own loop. One shape for both.

Contract: a side is loaded from a job's spec, answers one prompt at a time and tells the conditions that its loop adds.
It does not know samples, files or warm-up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import torch

from longspec.core import registry
from longspec.core.records import Turn
from longspec.decoding import gumbel, profiling
from longspec.decoding.autotune import tuning
from longspec.decoding.interfaces import Drafter, Method, Tunable
from longspec.decoding.loop import Limits, generate
from longspec.decoding.sampling import Settings
from longspec.models import memory, model_files
from longspec.models.attention import hybrid
from longspec.models.shared import Shared
from longspec.models.target import CausalLM
from longspec.stages import _target

Texts = Callable[[], tuple[list[list[int]], str]]
"""Makes texts to tune on, and says what they are."""


class Side(Protocol):
    """What the loop over the samples needs."""

    device: torch.device
    stop_ids: frozenset[int]
    context_tokens: int | None

    @property
    def engine(self) -> str:
        """How the model runs now."""
        ...

    @property
    def engine_note(self) -> str | None:
        """Why that is not what was to be expected."""
        ...

    def answer(self, ids: list[int], limits: Limits, sample_id: str, turn: int) -> Turn:
        """One turn of one sample, timed."""
        ...

    def facts(self) -> dict[str, Any]:
        """Conditions of the run that come from the loop."""
        ...

    def tune(self, texts: Texts, limits: Limits, known: dict[str, Any] | None) -> dict[str, Any] | None:
        """Choose what is left to `auto`; None where nothing is.

        `known`: what an earlier process chose for the same job; one job has one shape."""
        ...

    def profile(self, ids: list[int], limits: Limits, sample_id: str) -> dict[str, float] | None:
        """Where the time goes over one answer; None where the loop cannot be looked into."""
        ...

    def memory(self) -> dict[str, int] | None:
        """Bytes by what holds them; None where that cannot be known."""
        ...


class Ours:
    """The decoding loop of this package."""

    def __init__(self, spec: dict[str, Any], shared: Shared | None) -> None:
        self.spec = spec
        self.target = _target.load(spec, shared)
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
        rule = _target.rule(self.spec, self.target, sample_id, turn)
        return generate(self.target, self.method, self.drafter, ids, limits, rule)

    def facts(self) -> dict[str, Any]:
        """Number format, attention, engine."""
        return {
            "loop": "longspec",
            "verification": registry.rule_name(self.spec),
            "dtype": str(self.target.dtype).removeprefix("torch."),
            "attention": hybrid.NAME,
            "engine": self.target.engine,
            "numerics": self.target.numerics,
        }

    def profile(self, ids: list[int], limits: Limits, sample_id: str) -> dict[str, float] | None:
        """The loop's parts."""
        rule = _target.rule(self.spec, self.target, sample_id, 0)
        return profiling.profile(self.target, self.method, self.drafter, ids, limits, rule)

    def memory(self) -> dict[str, int] | None:
        """Cache of the target, weights and state of the drafter."""
        return memory.by_part(self.target, self.drafter)

    def tune(self, texts: Texts, limits: Limits, known: dict[str, Any] | None) -> dict[str, Any] | None:
        """What the method leaves to `auto`."""
        if not isinstance(self.method, Tunable) or not self.method.auto:
            return None
        if known is not None:
            self.method = type(self.method)(**known["options"])
            return known
        assert self.drafter is not None
        # No sample has an empty name. Texts of the residual rule differ with what is drafted; the keyed one stands in.
        rules = functools.partial(_target.rule, {**self.spec, "verification": "keyed"}, self.target, "")
        ids, source = texts()
        self.method, found = tuning.tune(self.method, self.target, self.drafter, ids, limits, rules)
        return {"texts_are": source, **found}


class Theirs:
    """A peer: another library's loop over its own modelling code."""

    engine_note: str | None = None

    def __init__(self, spec: dict[str, Any], shared: Shared | None) -> None:
        self.spec = spec
        device, dtype = _target.prepare(spec)

        def plain() -> Any:
            return model_files.plain(spec["model"], dtype, device)

        self.model = shared.twin("plain", plain) if shared else plain()
        module, entry = registry.load("peers", spec["method"]["method"]), spec["method"]
        self.peer = module.make(
            self.model, **{name: entry[name] for name in registry.options("peers", entry["method"])}
        )
        self.engine = "eager"
        self.device = device
        self.stop_ids = model_files.stop_ids(self.model)
        self.context_tokens = model_files.stated_context(self.model.config.get_text_config())

    def answer(self, ids: list[int], limits: Limits, sample_id: str, turn: int) -> Turn:
        """By the peer's loop."""
        seed = gumbel.key(self.spec["seed"], sample_id, turn)
        answered: Turn = self.peer.answer(ids, limits, Settings(**self.spec["sampling"]), seed)
        return answered

    def facts(self) -> dict[str, Any]:
        """Number format, attention, whose loop."""
        return {
            "loop": self.peer.loop,
            "verification": registry.rule_name(self.spec),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "attention": self.model.config._attn_implementation,
            "engine": self.engine,
            "numerics": "fast",
        }

    def tune(self, texts: Texts, limits: Limits, known: dict[str, Any] | None) -> dict[str, Any] | None:
        """It has no shape of ours."""
        return None

    def profile(self, ids: list[int], limits: Limits, sample_id: str) -> dict[str, float] | None:
        """Its steps are its own affair."""
        return None

    def memory(self) -> dict[str, int] | None:
        """As are its caches."""
        return None


def load(spec: dict[str, Any], shared: Shared | None = None) -> Side:
    """The side that a job's spec names, over `shared` weights where others of the job use them too."""
    return (Theirs if registry.decodes(spec["method"]["method"]) == "peers" else Ours)(spec, shared)


def build(method: dict[str, Any], target: CausalLM) -> tuple[Method, Drafter | None]:
    """The method and its drafter from a config entry; each gets its own options, by keyword."""
    module = registry.load("methods", method["method"])
    chosen = {name: method[name] for name in registry.options("methods", method["method"])}
    drafter = None
    if name := method.get("drafter"):
        options = {option: method[option] for option in registry.options("drafters", name)}
        drafter = registry.load("drafters", name).make(target, **options)
    return module.Method(**chosen), drafter
