"""Topics of Python's own help, as the running interpreter carries them (`pydoc_data.topics`)."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

OPTIONS = {
    "min_characters": {
        "type": "integer",
        "minimum": 0,
        "default": 1500,
        "description": "Shorter topics are left out.",
    },
    "max_characters": {
        "type": "integer",
        "minimum": 1,
        "default": 4000,
        "description": "Longer topics are left out, so that a summary sees the whole text.",
    },
}


def fingerprint(options: dict[str, Any]) -> str:
    """The texts come with the interpreter."""
    return f"python {platform.python_version()}"


def read(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of `topic` and `text`, by name."""
    from pydoc_data.topics import topics

    for topic in sorted(topics):
        text = topics[topic]
        if options["min_characters"] <= len(text) <= options["max_characters"]:
            yield f"topic-{topic}", {"topic": topic, "text": text}
