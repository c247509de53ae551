"""What a source is: where a data set's rows come from. One file per source, found by its name.

A source file has a literal `OPTIONS` (see core/registry.py) and two functions, or four where rows may come from a hub.
They are given the data set's entry, which has the source's options among its keys. Heavy libraries are imported inside
them, since planning imports this file for its fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from longspec.core.errors import UserError, one_of
from longspec.core.text import as_id

Fields = Mapping[str, object]
"""What a row holds, of whatever types its file has: config/templates.py takes texts and numbers of it."""
Options = Mapping[str, object]


class Row(NamedTuple):
    """One row of a data set, which becomes one sample."""

    sample_id: str
    fields: Fields


class Source(Protocol):
    """A module of this folder."""

    def fingerprint(self, options: Options) -> str:
        """Name the state of the rows: it changes when they would. Cheap, for planning asks."""
        ...

    def read(self, options: Options) -> Iterator[Row]:
        """Read all rows, in a fixed order."""
        ...


class HubSource(Source, Protocol):
    """A source that may read from a hub; it has an option `revision`."""

    def hub(self, options: Options) -> str | None:
        """Name the repository that is read, owner/name; None where the options name local data. Asks nobody."""
        ...

    def resolved(self, options: Options) -> str:
        """Name what `read` has read: the repository at its commit, or the fingerprint of local data. After `read`."""
        ...


def named_by(where: str, fields: Fields, id_field: str) -> str:
    """Read a row's name from its field `id_field`. UserError where it has none, or one that is no text or number."""
    if id_field not in fields:
        raise UserError(where, f"has no field {id_field!r}", one_of(fields))
    return as_id(where, repr(id_field), fields[id_field])
