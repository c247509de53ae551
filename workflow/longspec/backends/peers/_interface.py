"""The interface of a peer: another library's decoding of the same model, timed by our clock rules, judged by our gate.

A file in `peers/` has the literals DRAFTS (true if it speculates) and OPTIONS, and `make(model, **options)`. The
OPTIONS of this file belong to all peers: they say how the model is loaded (backends/peer.py). A peer runs the library's
own modelling code, without our engine; its answers are recorded in the same form as our loop's.
"""

from __future__ import annotations

from typing import Protocol

from longspec.core.records import Turn
from longspec.decoding.loop import Limits
from longspec.decoding.sampling import Settings

OPTIONS = {
    "dtype": {
        "type": ["string", "null"],
        "enum": ["float32", "bfloat16", "float16", None],
        "default": None,
        "description": "Number format, the experiment's by default; in another it is a reference of speed alone.",
    },
}


class Peer(Protocol):
    """Answer prompts by another library's decoding function over a loaded model."""

    loop: str
    """The library, its version, and its function."""

    def answer(self, prompt_ids: list[int], limits: Limits, settings: Settings, seed: int) -> Turn:
        """Answer one prompt, and count and time it; `seed` seeds the library's own sampling."""
        ...
