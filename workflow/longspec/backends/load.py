"""Loads the backend that a job's spec names."""

from __future__ import annotations

from pathlib import Path

from longspec.backends.interface import Backend
from longspec.backends.longspec import LongSpec
from longspec.backends.peer import Peer
from longspec.backends.served_engine import ServedEngine
from longspec.core import registry
from longspec.core.spec import GenerateSpec
from longspec.models.shared import Shared


def load(spec: GenerateSpec, shared: Shared | None = None, logs: Path = Path()) -> Backend:
    """Load the backend that a job's spec names; with `shared`, over weights that other methods of the job use too.

    `logs`: folder of the logs of what is started."""
    match registry.decodes(spec["method"]["method"]):
        case "peers":
            return Peer(spec, shared)
        case "served":
            return ServedEngine(spec, logs)
    return LongSpec(spec, shared)
