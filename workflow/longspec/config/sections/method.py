"""Variants to compare: a method with its options, and who drafts for it."""

from __future__ import annotations

from longspec.config.sections.base import Section, left_out


class Method(Section, extra="allow"):
    """A variant, as an entry of `methods`; the options of its method and drafter are added where they are known
    (options.py)."""

    method: str
    """The shape of the proposal, a peer, or a served engine. See below; its options belong to this entry."""
    drafter: str | None = left_out()
    """Who fills the proposal, where the method drafts. See below; its options belong to this entry."""
