"""What a source is: where a data set's rows come from. One file per source, found by its name.

A source file has a literal `OPTIONS` (see core/registry.py) and two functions, or four where rows may come from a hub.
Heavy libraries are imported inside them, since planning imports this file for its fingerprint.
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


class HubSource(Source, Protocol):
    """A source that may read from a hub; it has an option `revision`."""

    def hub(self, options: dict[str, Any]) -> str | None:
        """The repository that is read, owner/name; None where the options name local data. Asks nobody."""
        ...

    def resolved(self, options: dict[str, Any]) -> str:
        """What `read` has read: the repository at its commit, or the fingerprint of local data. After `read`."""
        ...
