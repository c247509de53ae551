"""Find what a configuration reads from a hub without a commit, so that another day may bring other files.

Contract: nothing is fetched and nothing is refused; the names of what is not pinned come back, to be said. A source
that may read from a hub has a function `hub` (data/sources/_interface.py). It does not know what is in a cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from longspec.core import registry


def is_commit(revision: str | None) -> bool:
    """Tell whether a revision names one state for ever: 40 hexadecimal digits, not a branch or a tag."""
    return bool(re.fullmatch(r"[0-9a-f]{40}", revision or ""))


def unpinned(config: dict[str, Any]) -> list[str]:
    """List `key (owner/name)` of each model and data set of a complete configuration that no commit pins, sorted."""
    return sorted(f"{key} ({name})" for key, name, revision in _repositories(config) if not is_commit(revision))


def _repositories(config: dict[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """Yield key, repository and revision of all that comes from a hub."""
    for kind in ("models", "methods", "drafters"):
        yield from _models(config[kind], kind)
    for name, entry in config["datasets"].items():
        source = registry.load("sources", entry["source"])
        if hasattr(source, "hub") and (repository := source.hub(entry)):
            yield f"datasets.{name}", repository, entry["revision"]


def _models(value: Any, where: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield models of the hub at any depth: targets, their drafters, and what a variant or a training names."""
    if not isinstance(value, dict):
        return
    if "hub" in value:
        yield where, value["hub"], value.get("revision")
    for key, inner in value.items():
        yield from _models(inner, f"{where}.{key}")
