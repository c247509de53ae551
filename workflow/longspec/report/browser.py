"""The data of the report's sample browser: prompts and outputs, cut into what was drafted and what was not.

Contract: one JSON text a model and data set, safe inside a <script> element whatever the texts say; together they
keep to a budget of characters, by showing less of each output and, of very many, fewer samples. It knows no tokenizer:
tokens.json beside the results says what an id looks like; without it an output is one text without steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from longspec.analysis import runs
from longspec.core.records import Prompt, Sample, Turn, first_divergence, parse_record, read_lines

BUDGET, REST = 7_000_000, 150
"""Bytes of all outputs together, and those that one takes beside its text."""
LONGEST, SHORTEST = 6_000, 100
"""Bytes of one output's text, as written to the page."""
MOST = 5_000 * 4
"""Outputs shown, over all methods."""
UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
Json = dict[str, Any]


def cells(grid: runs.Grid, results: Path, samples: int) -> Iterator[tuple[str, str, int, Markup]]:
    """(model, data set, samples shown, JSON) of each cell; `samples`: how many outputs all jobs have together."""
    jobs = sum(len(datasets) for datasets in grid["cells"].values()) * len(grid["methods"])
    count = max(1, MOST // max(jobs, 1))
    cut = max(SHORTEST, min(LONGEST, BUDGET // max(min(samples, MOST), 1) - REST))
    for model, datasets in grid["cells"].items():
        vocabulary = _vocabulary(results / model / "tokens.json")
        for dataset in datasets:
            made = _cell(results / model / dataset, grid["methods"], vocabulary, count, cut)
            facts = {"methods": grid["methods"], "samples": made}
            yield model, dataset, len(made), embedded(facts)


def embedded(value: Any) -> Markup:
    """JSON that cannot end its element, whatever it holds."""
    return Markup(json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(UNSAFE))


def _vocabulary(path: Path) -> list[str]:
    try:
        found: list[str] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return []
    return found


def _cell(folder: Path, methods: list[str], vocabulary: list[str], count: int, cut: int) -> list[Json]:
    """The first samples of one cell; a repeat is a sample of its own."""
    firsts = {method: runs.first_samples(folder / method / "samples.jsonl", count) for method in methods}
    by_key = {method: {(s.sample_id, s.repeat): s for s in found} for method, found in firsts.items()}
    asked = {prompt.sample_id: "\n\n".join(prompt.turns) for prompt in _prompts(folder / "prompts.jsonl", count)}
    made = []
    for sample in firsts[methods[0]]:
        key = (sample.sample_id, sample.repeat)
        outputs = [_output(by_key[m].get(key), sample, vocabulary, cut) for m in methods]
        prompt = _shortened(asked.get(sample.sample_id, ""), cut)
        made.append({"id": sample.sample_id, "repeat": sample.repeat, "prompt": prompt, "outputs": outputs})
    return made


def _prompts(path: Path, count: int) -> list[Prompt]:
    found: list[Prompt] = []
    for number, line in read_lines(path):
        if len(found) == count:
            break
        found.append(parse_record(f"{path}, line {number}", line, Prompt))
    return found


def _output(sample: Sample | None, baseline: Sample, vocabulary: list[str], cut: int) -> Json | None:
    """Text in parts that take turns: the target's own, drafted and accepted, the target's own, …; and what it took."""
    if sample is None:
        return None
    turns = sample.turns
    parts: list[str] = []
    if vocabulary and any(step[0] for turn in turns for step in turn.steps):
        for number, turn in enumerate(turns):
            first, *rest = segments(turn, vocabulary)
            parts += ["\n\n" + first if number else first, *rest]
    else:
        parts = ["\n\n".join(sample.texts)]
    parted = first_divergence(sample, baseline)
    return {
        "parts": _within(parts, cut),
        "tokens": sum(len(turn.output_ids) for turn in turns),
        "steps": sum(len(turn.steps) for turn in turns),
        "accepted": sum(step[2] for turn in turns for step in turn.steps),
        "seconds": round(sum(turn.decode_seconds for turn in turns), 4),
        "stop": "+".join(turn.stop_reason for turn in turns),
        "parts_at": None if parted is None else parted[1],
    }


def segments(turn: Turn, vocabulary: list[str]) -> list[str]:
    """The output's text, by turns the target's own and accepted drafts: an even number of parts, some empty."""
    pieces = [vocabulary[i] if 0 <= i < len(vocabulary) else "�" for i in turn.output_ids]
    parts, done = ["".join(pieces[:1])], 1
    for _, _, accepted in turn.steps:
        parts.append("".join(pieces[done : done + accepted]))
        parts.append("".join(pieces[done + accepted : done + accepted + 1]))
        done += accepted + 1
    return [*parts, ""]


def _within(parts: list[str], cut: int) -> list[str]:
    """The first parts of at most `cut` bytes on the page; of a longer part, its beginning."""
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
