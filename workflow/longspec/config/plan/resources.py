"""What jobs ask of a cluster: what `resources:` of their model says, and more after each failure. No torch."""

from __future__ import annotations

from longspec.config.sections.model import Resources
from longspec.config.sections.top_level import Config


def of_model(config: Config, model: str, attempt: int = 1) -> Resources:
    """Say what a job that runs this model asks; more memory and time the oftener it has failed."""
    asked = config.models[model].resources
    return asked.model_copy(update={"mem_mb": attempt * asked.mem_mb, "runtime": attempt * asked.runtime})


def of_every_model(config: Config, attempt: int = 1) -> Resources:
    """Say what a job that runs every model asks: the most that one of them does."""
    asked = [of_model(config, model, attempt) for model in config.models]
    most = {name: max(getattr(one, name) for one in asked) for name in ("gpus", "mem_mb", "runtime")}
    return asked[0].model_copy(update=most)
