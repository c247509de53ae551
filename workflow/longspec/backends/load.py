"""Loads the backend that a job's spec names."""

from __future__ import annotations

from longspec.backends.interface import Backend
from longspec.backends.longspec import LongSpec
from longspec.backends.peer import Peer
from longspec.core import registry
from longspec.core.spec import GenerateSpec
from longspec.models.shared import Shared


def load(spec: GenerateSpec, shared: Shared | None = None) -> Backend:
    """Load the backend that a job's spec names; with `shared`, over weights that other methods of the job use too."""
    return (Peer if registry.decodes(spec["method"]["method"]) == "peers" else LongSpec)(spec, shared)
