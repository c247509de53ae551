"""The data of the page's sample browser: prompts and outputs, cut into what was drafted and what was not.

Contract: one JSON text a model and data set, safe inside a <script> element whatever the texts say. Together they
keep to a budget of bytes, by showing less of each output and, of very many, fewer samples. An output is cut into steps
by tokens.json beside the results, which says what text each token id has; without it an output is one text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from longspec.analysis import runs
from longspec.core.records import Prompt, Sample, Turn, first_divergence, parse_record, read_lines
from longspec.core.spec import baseline_of, gated_against
from longspec.report.results import Results, read_json

BUDGET, REST = 7_000_000, 150
"""Bytes of all outputs together, and those that one takes beside its text."""
LONGEST, SHORTEST = 6_000, 100
"""Bytes of one output's text, as written to the page."""
MOST = 5_000 * 4
"""Outputs shown, over all methods."""
UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Output:
    """What one method answered, and what it took. `parts` of the text take turns: the target's own, drafted and
    accepted, the target's own, …; `steps`: None where an engine does not say; `parts_at`: the first token that is not
    that of the method beside it, None where all are."""

    parts: list[str]
    tokens: int
    steps: int | None
    seconds: float
    stop: str
    parts_at: int | None


@dataclass(frozen=True)
class ShownSample:
    """A prompt and what each method answered, in the order of the methods; None where a method has no such sample."""

    id: str
    repeat: int
    prompt: str
    outputs: list[Output | None]


@dataclass(frozen=True)
class ShownCell:
    """The samples of one model and data set; report.js reads these keys. `beside`: the number of the method that each
    is compared with; `timed`: whether the two are of one engine, so that their seconds may be divided."""

    methods: list[str]
    beside: list[int]
    timed: list[bool]
    samples: list[ShownSample]


@dataclass(frozen=True)
class Embedded:
    """What the page holds of one model and data set: the browser's choice, and its data."""

    model: str
    dataset: str
    data: Markup


def cells(results: Results) -> Iterator[Embedded]:
    """Yield the samples of each model and data set that are on the page."""
    grid, methods = results.grid, results.grid["methods"]
    beside = [methods.index(gated_against(grid, method)) for method in methods]
    timed = [baseline_of(grid, method) == gated_against(grid, method) for method in methods]
    count = max(1, MOST // max(len(results.jobs), 1))
    cut = max(SHORTEST, min(LONGEST, BUDGET // max(min(len(results.tables["timings"]), MOST), 1) - REST))
    for model, datasets in grid["cells"].items():
        vocabulary = _vocabulary(results.folder / model / "tokens.json")
        for dataset in datasets:
            shown = _samples(results.folder / model / dataset, methods, beside, vocabulary, count, cut)
            yield Embedded(model, dataset, embedded(ShownCell(methods, beside, timed, shown)))


def embedded(value: object) -> Markup:
    """Write JSON that cannot end the element that holds it, whatever texts are in it; dataclasses become objects."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=vars)
    return Markup(text.translate(UNSAFE))


def _vocabulary(path: Path) -> list[str]:
    return read_json(path, list[str]) if path.exists() else []


def _samples(
    folder: Path, methods: Sequence[str], beside: Sequence[int], vocabulary: Sequence[str], count: int, cut: int
) -> list[ShownSample]:
    """Take the first samples of one model and data set; a repeat is a sample of its own."""
    firsts = {method: runs.first_samples(folder / method / "samples.jsonl", count) for method in methods}
    by_key = {method: {(s.sample_id, s.repeat): s for s in found} for method, found in firsts.items()}
    asked = {prompt.sample_id: "\n\n".join(prompt.turns) for prompt in _prompts(folder / "prompts.jsonl", count)}
    made = []
    for sample in firsts[methods[0]]:
        key = (sample.sample_id, sample.repeat)
        answered = [by_key[method].get(key) for method in methods]
        pairs = zip(answered, (answered[number] for number in beside), strict=True)
        outputs = [_output(one, other, vocabulary, cut) if one else None for one, other in pairs]
        made.append(ShownSample(*key, _shortened(asked.get(sample.sample_id, ""), cut), outputs))
    return made


def _prompts(path: Path, count: int) -> list[Prompt]:
    found: list[Prompt] = []
    for number, line in read_lines(path):
        if len(found) == count:
            break
        found.append(parse_record(f"{path}, line {number}", line, Prompt))
    return found


def _output(sample: Sample, other: Sample | None, vocabulary: Sequence[str], cut: int) -> Output:
    """Prepare an output for the page, its text cut to so many bytes."""
    turns = sample.turns
    parts: list[str] = []
    # An engine does not say which of its steps accepted nothing, so that its text cannot be cut into steps.
    if vocabulary and any(step[0] for turn in turns if turn.served is None for step in turn.steps):
        for number, turn in enumerate(turns):
            first, *rest = segments(turn, vocabulary)
            parts += ["\n\n" + first if number else first, *rest]
    else:
        parts = ["\n\n".join(sample.texts)]
    parted = first_divergence(sample, other) if other else None
    counts = [turn.counts for turn in turns]
    return Output(
        parts=_within(parts, cut),
        tokens=sum(len(turn.output_ids) for turn in turns),
        steps=None if None in counts else sum(known[0] for known in counts if known),
        seconds=round(sum(turn.decode_seconds for turn in turns), 4),
        stop="+".join(turn.stop_reason for turn in turns),
        parts_at=None if parted is None else parted[1],
    )


def segments(turn: Turn, vocabulary: Sequence[str]) -> list[str]:
    """Cut an output's text into parts, by turns the target's own and accepted drafts: an even number, some empty."""
    pieces = [vocabulary[i] if 0 <= i < len(vocabulary) else "�" for i in turn.output_ids]
    parts, done = ["".join(pieces[:1])], 1
    for _, _, accepted in turn.steps:
        parts.append("".join(pieces[done : done + accepted]))
        parts.append("".join(pieces[done + accepted : done + accepted + 1]))
        done += accepted + 1
    return [*parts, ""]


def _within(parts: list[str], cut: int) -> list[str]:
    """Keep the first parts up to `cut` bytes on the page; of a longer part, its beginning."""
    kept: list[str] = []
    left = cut
    for part in parts:
        size = len(embedded(part).encode()) + 1
        if size > left:
            return [*kept, part[: left * len(part) // size] + " …"]
        kept.append(part)
        left -= size
    return kept


def _shortened(text: str, cut: int) -> str:
    """Both ends of a text: a question often stands at the end."""
    return text if len(text) <= cut else f"{text[: cut // 2]} … {text[-cut // 2 :]}"
