"""The backend of a peer: another library's decoding loop over its own modelling code (`peers/NAME.py`)."""

from __future__ import annotations

from typing import Any

from longspec.backends import job_target
from longspec.backends.in_process import InProcess
from longspec.backends.interface import Texts
from longspec.core import registry
from longspec.core.records import Turn
from longspec.core.run_record import LoopFacts, Tuning
from longspec.core.spec import GenerateSpec, by_name
from longspec.decoding import gumbel
from longspec.decoding.loop import Limits
from longspec.decoding.sampling import Settings
from longspec.models import model_files
from longspec.models.shared import Shared


class Peer(InProcess):
    """Answer prompts by another library's loop over its own modelling code."""

    engine_note: str | None = None

    def __init__(self, spec: GenerateSpec, shared: Shared | None) -> None:
        self.spec = spec
        name, given = spec["method"]["method"], by_name(spec["method"])
        # A peer may have a number format of its own; its outputs are then not judged (analysis/verdict.py).
        device, dtype = job_target.prepare(spec, given.get("dtype"))

        def plain() -> Any:
            return model_files.plain(spec["model"], dtype, device)

        self.model = shared.model(f"plain {dtype}", plain) if shared else plain()
        module, options = registry.load("peers", name), registry.own_options("peers", name)
        self.peer = module.make(self.model, **{option: given[option] for option in options})
        self.engine = "eager"
        self.device = device
        self.stop_ids = model_files.stop_ids(self.model)
        self.context_tokens = model_files.stated_context(self.model.config.get_text_config())

    def answer(self, ids: list[int], limits: Limits, sample_id: str, turn: int) -> Turn:
        """Answer one turn by the peer's loop."""
        seed = gumbel.key(self.spec["seed"], sample_id, turn)
        answered: Turn = self.peer.answer(ids, limits, Settings(**self.spec["sampling"]), seed)
        return answered

    def facts(self) -> LoopFacts:
        """Return the loop, verification, number format, attention, engine and numerics of the run."""
        return {
            "loop": self.peer.loop,
            "verification": registry.verification(self.spec),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "attention": self.model.config._attn_implementation,
            "engine": self.engine,
            "numerics": "fast",
        }

    def tune(self, texts: Texts, limits: Limits, known: Tuning | None) -> Tuning | None:
        """Return None: a peer has no option that may be `auto`."""
        return None

    def profile(self, ids: list[int], limits: Limits, sample_id: str) -> dict[str, float] | None:
        """Return None: the parts of a peer's loop cannot be timed."""
        return None

    def memory(self) -> dict[str, int] | None:
        """Return None: a peer's caches cannot be counted."""
        return None
