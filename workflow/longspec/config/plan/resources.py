"""What jobs ask of a cluster: what `resources:` of their model says, and more after each failure. No torch."""

from __future__ import annotations

from typing import Any


def of_model(config: dict[str, Any], model: str, attempt: int = 1) -> dict[str, Any]:
    """What a job that runs this model asks; more memory and time the oftener it has failed."""
    asked = config["models"][model]["resources"]
    return {**asked, "mem_mb": attempt * asked["mem_mb"], "runtime": attempt * asked["runtime"]}


def of_every_model(config: dict[str, Any], attempt: int = 1) -> dict[str, Any]:
    """What a job that runs every model asks: the most that one of them does."""
    asked = [of_model(config, model, attempt) for model in config["models"]]
    return {**asked[0], **{name: max(one[name] for one in asked) for name in ("gpus", "mem_mb", "runtime")}}
