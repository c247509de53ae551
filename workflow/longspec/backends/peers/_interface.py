"""What a peer is: somebody else's decoding of the same model, measured by our clock rules and judged by our gate.

Contract: a file in `peers/` has the literals DRAFTS (whether it speculates) and OPTIONS, and `make(model, **options)`.
The options in this file's OPTIONS are every peer's: they say how the model is loaded (backends/peer.py).
A peer gets the modelling code as its authors ship it, with nothing of our engine; what it answers is written down in
the same record as what our loop answers.
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
    """One decoding function of another library over a loaded model."""

    loop: str
    """Whose loop it is, with its version."""

    def answer(self, prompt_ids: list[int], limits: Limits, settings: Settings, seed: int) -> Turn:
        """Answer one prompt. `seed` starts the library's own generator, where it samples."""
        ...
