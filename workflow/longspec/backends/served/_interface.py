"""The interface of a served engine: how its server is started and asked, and how its answers are read.

A file in `served/` has the literal OPTIONS and `make(program, speculation, arguments, environment, **own options)`,
which returns an Engine. The OPTIONS of this file belong to all engines. An engine's file knows its flags and fields and
nothing else: processes, HTTP and clocks are served_engine.py's, and what its counts come to is accounting.py's. It is
held by recorded responses (tests/engines/), so it takes and returns plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from longspec.core.spec import ModelSpec, SamplingSpec

OPTIONS = {
    "program": {
        "type": ["string", "null"],
        "minLength": 1,
        "default": None,
        "description": "Command that starts the server, written as for a shell. By default the one that `make engines` "
        "has set up in .engines/, or else the engine's own on PATH.",
    },
    "speculation": {
        "type": ["object", "null"],
        "default": None,
        "description": "How the engine speculates, in its own words (docs/engines.md); without it, the variant is the "
        "baseline of those that have it and are equal otherwise.",
    },
    "arguments": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "description": "More flags of the server, one word each, the same with and without speculation.",
    },
    "environment": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "default": {},
        "description": "More environment variables of the server, as texts, the same with and without speculation.",
    },
}

Json = dict[str, Any]
Get = Callable[[str], Any]
"""Ask the running server for a path; returns what it answers, parsed if it is JSON."""


@dataclass(frozen=True)
class Launch:
    """Say what a server is started for. `device`: "cpu" or "cuda". `slots`: most requests in flight. `scores`: whether
    it will be asked for the scores of every id (the gate), which no timed server is."""

    model: ModelSpec
    port: int
    device: str
    dtype: str  # "float32", "bfloat16", "float16"
    threads: int
    gpus: int
    slots: int
    context_tokens: int | None
    seed: int
    scores: bool = False


@dataclass(frozen=True)
class Start:
    """Hold a server's command line. `flags`: of it, all that two servers that are compared must share: neither the
    port, nor paths, nor speculation."""

    command: list[str]
    flags: list[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """Ask for the answer to a text: at most `room` tokens, ending after one of `stop_ids`. `scores`: for how many of
    the best ids the log-probabilities are wanted with every token; 0 for none."""

    ids: list[int]
    room: int
    stop_ids: Sequence[int]
    sampling: SamplingSpec
    seed: int
    scores: int = 0


@dataclass(frozen=True)
class Drafting:
    """Hold what an engine says of one answer's drafts, as it counts. `steps`: that had a draft. `per_step`: pairs
    (drafted, accepted) of these, in order. `histogram`: how many of them accepted 0, 1, 2, … drafts."""

    drafted: int
    accepted: int
    steps: int | None = None
    per_step: list[tuple[int, int]] | None = None
    histogram: list[int] | None = None


@dataclass(frozen=True)
class Said:
    """Hold what an engine said in the events of one answer. `ids`: of each event, often none. `ended`: "stop" after a
    token that ends texts, "length" at the limit. `seconds`: by the server's clock (`prefill`, `decode`, `queue`).
    `scores`: for each token the log-probabilities by id. None: it does not say."""

    ids: list[list[int]]
    ended: str
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    drafting: Drafting | None = None
    scores: list[dict[int, float]] = field(default_factory=list)


class Engine(Protocol):
    """Start, ask and read one engine's server."""

    health: str
    """Path that answers with status 200 once the server is ready."""
    answers: str
    """Path that questions are posted to."""

    @property
    def url(self) -> str | None:
        """Address of a server that runs already; None of one that is started."""
        ...

    def start(self, launch: Launch) -> Start:
        """Make the command line. Raises UserError where the engine cannot do what is asked."""
        ...

    def question(self, question: Question) -> Json:
        """Make the body of a request, which is answered by a stream of events."""
        ...

    def said(self, events: Sequence[Json]) -> Said:
        """Read the events of one answer. Raises ValueError, or KeyError, where they are no such answer."""
        ...

    def version(self, get: Get) -> str:
        """Name the engine and its version, as the running server says."""
        ...


class Made(Protocol):
    """The `make` of an engine's file."""

    def __call__(
        self,
        program: str | None,
        speculation: Mapping[str, Any] | None,
        arguments: list[str],
        environment: Mapping[str, str],
        **own: Any,
    ) -> Engine:
        """Make the engine of a variant. Raises UserError where the program is not found; imports no torch."""
        ...


def engines_folder() -> Path:
    """Locate what `make engines` has set up: `.engines` in the folder of this checkout."""
    return Path(__file__).resolve().parents[4] / ".engines"
