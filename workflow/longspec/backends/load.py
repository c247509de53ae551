"""Which backend a job's spec names."""

from __future__ import annotations

from longspec.backends.base import Backend
from longspec.backends.longspec import LongSpec
from longspec.backends.peer import Peer
from longspec.core import registry
from longspec.core.spec import GenerateSpec
from longspec.models.shared import Shared


def load(spec: GenerateSpec, shared: Shared | None = None) -> Backend:
    """The backend that a job's spec names, over `shared` weights where others of the job use them too."""
    return (Peer if registry.decodes(spec["method"]["method"]) == "peers" else LongSpec)(spec, shared)
