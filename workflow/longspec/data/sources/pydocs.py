"""Topics of Python's own help, as the running interpreter carries them (`pydoc_data.topics`)."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import TypedDict

from longspec.data.sources._interface import Row

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


class Options(TypedDict):
    """The options of this source, among the keys of a data set."""

    min_characters: int
    max_characters: int


def fingerprint(options: Options) -> str:
    """Name the interpreter's version: the texts come with it."""
    return f"python {platform.python_version()}"


def read(options: Options) -> Iterator[Row]:
    """Read the topics by name: rows of `topic` and `text`."""
    from pydoc_data.topics import topics

    for topic in sorted(topics):
        text = topics[topic]
        if options["min_characters"] <= len(text) <= options["max_characters"]:
            yield Row(f"topic-{topic}", {"topic": topic, "text": text})
