"""The plain-data records that jobs hand to each other as JSON lines. No torch.

Contract: raw facts only (ids, counts, seconds); every ratio is computed later, from these.
This module does not know what made a record or what will be computed from it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import msgspec
import pydantic

from longspec.core.errors import UserError, first_line

SCHEMA_VERSION = 7
"""Version of every record below; results of another version are refused, never guessed at."""


# Bounds stand twice: pydantic explains what a line is not, msgspec reads 10^6 of them (analysis/runs.py); neither heeds
# the other's.
Count = Annotated[int, pydantic.Field(ge=0, le=10**9), msgspec.Meta(ge=0, le=10**9)]
Drafts = Annotated[int, pydantic.Field(ge=0, le=65_536), msgspec.Meta(ge=0, le=65_536)]
Seconds = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False), msgspec.Meta(ge=0)]
STEP_PARTS = ("draft", "forward", "verify", "commit", "other")
"""Of a step's time, as the profiled pass writes them to run.json: `draft_seconds` and so on."""
LOST = {
    "timeout": "it took longer than `timeout` allows",
    "out_of_memory": "memory ran out, on the device or the host",
    "device_error": "the device reported an error",
    "server_error": "the engine's server died, refused, or said what cannot be",
    "killed": "its process was ended from outside twice, as the system does when memory runs out",
}
"""Stop reasons of samples without an outcome: nothing is known of their output."""


@pydantic.with_config(extra="forbid")
@dataclass(frozen=True)
class Prompt:
    """One sample of one data set, ready for one model.

    `turns` holds the user's messages after the template was applied. `prompt_ids` are the token ids of the
    first turn's prompt; a later turn's prompt is built from the answers given so far, by the same rule.
    """

    sample_id: str
    turns: list[str]
    prompt_ids: list[int]
    chat: bool
    truncated_tokens: int = 0
    schema_version: int = SCHEMA_VERSION


@pydantic.with_config(extra="forbid")
@dataclass(frozen=True)
class Served:
    """What a served engine's answer looked like from outside, and what the engine itself said of it.

    `sent_seconds`: when the request was sent, on one clock for all requests of a process. `chunk_tokens`,
    `chunk_seconds`: tokens of each streamed chunk, and seconds from sending to its arrival. `server_seconds`: the
    engine's own figures, by name (`prefill`, `decode`, `queue`). `verification_steps`, `drafted`, `accepted`: totals
    of the answer, drafts past its end not counted; None where the engine does not say, or says what its tokens
    contradict. `accepted_histogram`: how many steps accepted 0, 1, 2, … drafts, as the engine counts.
    """

    sent_seconds: Seconds
    chunk_tokens: list[Count]
    chunk_seconds: list[Seconds]
    server_seconds: dict[str, float] = field(default_factory=dict)
    verification_steps: Count | None = None
    drafted: Count | None = None
    accepted: Count | None = None
    accepted_histogram: list[Count] | None = None


@pydantic.with_config(extra="forbid")
@dataclass(frozen=True)
class Turn:
    """What happened between one prompt and its answer.

    `output_ids`: emitted ids, up to and including EOS, or the limit; the first `prefill_tokens` of them belong to
    prefill: one, but for a peer whose first forward verifies drafts together with the prompt.
    `steps`: one (drafted, offered, accepted) triple per verification step: draft tokens proposed; positions at
    which the accepted path still had a draft to check (accepted, or accepted + 1); drafts that were emitted.
    `stop_reason`: "eos", "limit" (max_new_tokens), "context" (the model's context is full), or a failure:
    "nonfinite" (the logits were no numbers), or one of LOST, which leaves no tokens and no seconds.
    `total_seconds`: from first to last by another clock, to hold the parts against; 0 where nothing was timed.
    `served`: of an answer by a served engine, whose `prefill_tokens` are those of the first chunk. Its `steps` are
    empty where the engine tells totals alone; where it tells each step, their order among the steps that accepted
    nothing is not known.
    """

    prompt_tokens: Count
    prompt_sha256: str
    output_ids: list[Count]
    steps: list[tuple[Drafts, Drafts, Drafts]]
    prefill_seconds: Seconds
    drafter_prefill_seconds: Seconds
    decode_seconds: Seconds
    stop_reason: str
    prefill_tokens: Count = 1
    total_seconds: Seconds = 0.0
    served: Served | None = None

    @property
    def counts(self) -> tuple[int, int, int] | None:
        """Sum up (verification steps, drafted, accepted); None where an engine does not say."""
        if self.served is None or self.steps:
            return len(self.steps), sum(step[0] for step in self.steps), sum(step[2] for step in self.steps)
        known = (self.served.verification_steps, self.served.drafted, self.served.accepted)
        return None if None in known else cast(tuple[int, int, int], known)

    @property
    def failed(self) -> bool:
        """Whether the text ended for a reason that makes its time worth nothing."""
        return self.stop_reason not in ("eos", "limit", "context")


@pydantic.with_config(extra="forbid")
@dataclass(frozen=True)
class Sample:
    """All turns of one measured generation of one prompt; `texts` are the decoded answers, for reading only.

    `surroundings`: what else the machine did meanwhile, read before and after the clock ran (measure/host_load.py).
    """

    sample_id: str
    repeat: Count
    turns: list[Turn]
    texts: list[str] = field(default_factory=list)
    surroundings: dict[str, float] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def failed(self) -> bool:
        """Whether a turn did."""
        return any(turn.failed for turn in self.turns)

    @property
    def lost(self) -> bool:
        """Whether there is no outcome that could be compared with another."""
        return any(turn.stop_reason in LOST for turn in self.turns)


@pydantic.with_config(extra="forbid")
@dataclass(frozen=True)
class Comparison:
    """One measured sample of a method beside vanilla's.

    `turn`, `position`: the first output token that differs, None when none does. `gap`: by how much vanilla's token
    beats the method's there, in the (noised) scores of one-token steps; None where one of them cannot be sampled.
    `rounding`: how far any two scores move against each other when the same text is run by the same engine several
    tokens at a time, without any drafter or tree: the largest minus the least of the differences over the vocabulary.
    `flips`: whether these scores choose the method's token. `scale`: how large the scores there are, for the rounding
    that a number format explains (verify/replays.py). The engine is our loop's, or a peer's own modelling code;
    `engines_apart`: how far the scores of a peer's and of ours move against each other, None for our own methods.
    `quantiles`: under the residual rule, where outputs differ by design, each output token's place in the target's
    distribution (uniform on 0 to 1 when the tokens are its samples); else empty.
    `lost`: whether one of the two has no outcome, so that nothing was compared.
    `engine_repeats`: of a served engine, whether it gave its baseline's tokens once more when it was asked again alone;
    None where it was not asked.
    """

    sample_id: str
    repeat: int
    identical: bool
    turn: int | None = None
    position: int | None = None
    gap: float | None = None
    rounding: float | None = None
    flips: bool | None = None
    quantiles: list[float] = field(default_factory=list)
    lost: bool = False
    scale: float | None = None
    engines_apart: float | None = None
    engine_repeats: bool | None = None
    schema_version: int = SCHEMA_VERSION


def decoded(sample: Sample) -> tuple[int, float]:
    """Count the tokens after those of prefill, and the seconds that they took: for progress and log only."""
    tokens = sum(max(len(turn.output_ids) - turn.prefill_tokens, 0) for turn in sample.turns)
    return tokens, sum(turn.decode_seconds for turn in sample.turns)


def first_divergence(ours: Sample, theirs: Sample) -> tuple[int, int] | None:
    """Find the (turn, position) of the first output token that differs; None when all are equal."""
    for number, (mine, other) in enumerate(zip(ours.turns, theirs.turns, strict=False)):
        if mine.output_ids != other.output_ids:
            pairs = zip(mine.output_ids, other.output_ids, strict=False)
            shorter = min(len(mine.output_ids), len(other.output_ids))
            return number, next((n for n, (a, b) in enumerate(pairs) if a != b), shorter)
    if len(ours.turns) != len(theirs.turns):
        return min(len(ours.turns), len(theirs.turns)), 0
    return None


def ids_sha256(ids: Iterable[int]) -> str:
    """Hash a sequence of token ids."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()


def prompts_sha256(prompts: Iterable[Prompt]) -> str:
    """Hash everything in a prompt set that can change an output."""
    body = [[p.sample_id, p.turns, p.prompt_ids, p.chat] for p in prompts]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def to_line(record: Any) -> str:
    """Make one JSON line, newline included."""
    return json.dumps(dataclasses.asdict(record), ensure_ascii=False) + "\n"


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read (line number, object) of each non-blank line. Raises UserError naming file and line."""
    for number, line in read_lines(path):
        yield number, parse_row(f"{path}, line {number}", line)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read (line number, text) of each non-blank line. Raises UserError naming the file."""
    try:
        lines = path.open(encoding="utf-8-sig")  # editors put a mark at the beginning, which is no text
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})", "a JSON Lines file") from None
    with lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
        except UnicodeDecodeError as error:
            raise UserError(str(path), f"is not UTF-8 text ({error.reason})", "a JSON Lines file") from None


def parse_row(where: str, line: str) -> dict[str, Any]:
    """Parse the object on one line. Raises UserError naming `where`."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and brackets without end
        said = error.msg if isinstance(error, json.JSONDecodeError) else first_line(error)
        raise UserError(where, f"not JSON ({said})", "one JSON object a line") from None
    if not isinstance(row, dict):
        raise UserError(where, f"{type(row).__name__} {line.strip()[:80]!r}", "one JSON object a line")
    return row


Record = TypeVar("Record", Prompt, Sample, Comparison)


def read_records(path: Path, kind: type[Record]) -> list[Record]:
    """Read all records of a file that this package wrote. Raises UserError on other versions and damaged lines."""
    return [_build(f"{path}, line {number}", row, kind) for number, row in read_rows(path)]


def parse_record(where: str, line: str, kind: type[Record]) -> Record:
    """Parse the record on one line. Raises UserError naming `where`."""
    return _build(where, parse_row(where, line), kind)


def of_another_version(where: str, version: object) -> UserError:
    """Name the version of results that this code does not read."""
    expected = f"{SCHEMA_VERSION}: these results made again, or the version of longspec-bench that wrote them"
    return UserError(where, f"schema_version is {version!r}", expected)


def first_fault(error: pydantic.ValidationError) -> tuple[str, str]:
    """Name the first key of a value that pydantic refuses (empty for the value itself), and what is wrong with it."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ".".join(map(str, first["loc"])), first["msg"]


def line_sha256(line: bytes) -> str:
    """Hash one line of a file shortly, for a table to carry beside what it made of the line."""
    return hashlib.sha256(line.strip()).hexdigest()[:16]


def _build(where: str, row: dict[str, Any], kind: type[Record]) -> Record:
    if row.get("schema_version") != SCHEMA_VERSION:
        raise of_another_version(where, row.get("schema_version"))
    try:
        record: Record = _ADAPTERS[kind].validate_json(json.dumps(row), strict=True)
        return record
    except pydantic.ValidationError as error:
        key, wrong = first_fault(error)
        found = f"not a {kind.__name__} record ({key or kind.__name__}: {wrong})"
        raise UserError(where, found, "these results made again") from None


_ADAPTERS: dict[Any, pydantic.TypeAdapter[Any]] = {k: pydantic.TypeAdapter(k) for k in (Prompt, Sample, Comparison)}
