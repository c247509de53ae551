"""What a source is: where a data set's rows come from. One file per source, found by its name.

A source file has a literal `OPTIONS` (see plugins.py) and two functions. Heavy libraries are imported inside
them, since planning imports this file for its fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

Row = dict[str, Any]


class Source(Protocol):
    """A module of this folder."""

    def fingerprint(self, options: dict[str, Any]) -> str:
        """Changes when the rows would; cheap."""
        ...

    def read(self, options: dict[str, Any]) -> Iterator[tuple[str, Row]]:
        """(sample id, row) in a fixed order."""
        ...
