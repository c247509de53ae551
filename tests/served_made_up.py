"""Made-up results of a served engine beside our loop, with every file in agreement: a closed loop at one and four.

The engine tells totals and a histogram, as llama.cpp and SGLang do. `eng` is the baseline, `eng-again` its double.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import made_up

from longspec.core.records import Comparison, Prompt, Sample, Served, Turn, ids_sha256, read_records, to_line
from longspec.core.spec import labelled, load_of

ENTRIES: dict[str, dict[str, Any]] = {
    "eng": {"method": "llamacpp", "speculation": None},
    "eng-again": {"method": "llamacpp", "speculation": None},
    "eng-fast": {"method": "llamacpp", "speculation": {"spec-type": "ngram-simple"}},
}
LABELS = [labelled(name, load) for load in (1, 4) for name in ENTRIES]
GRID: dict[str, Any] = {
    **made_up.GRID,
    "methods": [*made_up.GRID["methods"], *LABELS],
    "baselines": {label: labelled("eng", load_of(label)[1]) for label in LABELS},
}
FLAGS = ["weights of the target", "-np", "4", "-b", "512", "--no-cache-prompt"]
STEP = 0.03


def make(place: Path) -> Path:
    """The results of made_up.make, and beside them the engine's; the tables made."""
    made_up.make(place)
    for dataset in made_up.CELLS["m"]:
        for label in LABELS:
            _job(place / "m" / dataset, label)
    made_up.analyse(place, GRID)
    return place


def _job(folder: Path, label: str) -> None:
    vanilla = read_records(folder / "vanilla" / "samples.jsonl", Sample)
    prompts = {prompt.sample_id: prompt for prompt in read_records(folder / "prompts.jsonl", Prompt)}
    samples = _served(label, vanilla, prompts)
    (folder / label).mkdir()
    lines = "".join(map(to_line, samples)).encode()
    (folder / label / "samples.jsonl").write_bytes(lines)
    gate = [Comparison(sample.sample_id, sample.repeat, identical=True) for sample in samples]
    (folder / label / "gate.jsonl").write_text("".join(map(to_line, gate)), encoding="utf-8")
    name, load = load_of(label)
    facts = json.loads((folder / "vanilla" / "run.json").read_text())
    facts |= {"method": label, "profile": None, "samples_sha256": hashlib.sha256(lines).hexdigest()}
    facts["spec"]["method"] = {"name": name, **ENTRIES[name]}
    of_the_engine = {"loop": "llama.cpp b1", "attention": "the engine's", "engine": "llamacpp", "server": FLAGS}
    facts["conditions"] |= {**of_the_engine, "concurrency": load}
    facts["pieces"][0] |= {"engine_checks": None, "server_command": ["llama-server", *FLAGS]}
    (folder / label / "run.json").write_text(json.dumps(facts))


def _served(label: str, vanilla: list[Sample], prompts: dict[str, Prompt]) -> list[Sample]:
    """Answer every sample once a repeat, a finished one making room for the next."""
    load, noise = load_of(label)[1], random.Random(label)
    found: list[Sample] = []
    for repeat in sorted({sample.repeat for sample in vanilla}):
        asked = [sample for sample in vanilla if sample.repeat == repeat]
        if load > 1:
            random.Random(repeat).shuffle(asked)
        slots = [repeat * 1e4] * load
        for sample in asked:
            sent = min(slots)
            turn = _turn(label, sample.turns[0].output_ids, prompts[sample.sample_id], sent, noise)
            slots[slots.index(sent)] = sent + turn.prefill_seconds + turn.decode_seconds + 1e-4
            found.append(Sample(sample.sample_id, repeat, [turn], sample.texts, {"client_cores": 0.01}))
    return found


def _turn(label: str, ids: list[int], prompt: Prompt, sent: float, noise: random.Random) -> Turn:
    name, load = load_of(label)
    asked = prompt.prompt_ids
    drafts = name == "eng-fast"
    step = STEP * (1 + 0.1 * (load - 1)) * (1.1 if drafts else 1.0) * noise.lognormvariate(0, 0.01)
    worth = random.Random(prompt.sample_id)
    chunks, done = [1], 1
    while done < len(ids):
        chunks.append(min(1 + (worth.randrange(4) if drafts else 0), len(ids) - done))
        done += chunks[-1]
    times = [0.1 + step * number for number in range(len(chunks))]
    accepted = [chunk - 1 for chunk in chunks[1:]]
    return Turn(
        prompt_tokens=len(asked),
        prompt_sha256=ids_sha256(asked),
        output_ids=ids,
        steps=[],
        prefill_seconds=0.1,
        drafter_prefill_seconds=0.0,
        decode_seconds=times[-1] - times[0],
        stop_reason="eos" if ids[-1] == 2 else "limit",
        prefill_tokens=1,
        total_seconds=times[-1],
        served=Served(
            sent_seconds=sent,
            chunk_tokens=chunks,
            chunk_seconds=times,
            server_seconds={"decode": times[-1] - times[0]},
            verification_steps=len(accepted),
            drafted=3 * len(accepted) if drafts else 0,
            accepted=sum(accepted),
            accepted_histogram=[accepted.count(number) for number in range(4)] if drafts else None,
        ),
    )
