"""Results as the generate and gate stages write them, made up: for the scale of the analysis and for its tests.

    python benchmarks/synthetic.py --results DIR [--models 10] [--datasets 50] [--samples 500]

Every file is consistent: tokens are accounted for by steps, texts end by the rule, gates agree with the samples. It
needs neither torch nor a model. Nothing of it says anything about a method.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from longspec.core import registry
from longspec.core.records import SCHEMA_VERSION, Prompt, ids_sha256, prompts_sha256, to_line

METHODS: dict[str, dict[str, Any]] = {
    "vanilla": {"method": "vanilla"},
    "vanilla-again": {"method": "vanilla"},
    "chain": {"method": "sequential", "drafter": "ngram", "gamma": 4},
    "hf-generate": {"method": "hf_generate"},
    "wide": {"method": "tree", "drafter": "ngram", "tree_shape": [3, 2, 1]},
}
WORDS = [" the", " a", "\n", " of", " and", " to", "é", " in", "<b>", "</script>", " 人", ".", " is", "&amp;", " for"]
STOP, FIRST_WORD = 2, 3
CONDITIONS: dict[str, Any] = {
    "sampling": "greedy", "loop": "longspec", "verification": "keyed", "seed": 0, "dtype": "float32",
    "attention": "tree", "engine": "packed", "stop_ids": [STOP], "device": "a made-up CPU", "threads": 2,
    "context_tokens": 4096, "warmup": 1,
}  # fmt: skip


def grid(models: int, datasets: int) -> dict[str, Any]:
    """What the analysis stages are given."""
    cells = {f"model-{m}": [f"data-{d}" for d in range(datasets)] for m in range(models)}
    return {"cells": cells, "methods": list(METHODS), "baseline": "vanilla", "reference": "hf-generate"}


def write(results: Path, cells: dict[str, list[str]], samples: int, limit: int = 48, repeats: int = 1) -> None:
    """Every job of the cells; `limit`: most tokens of an output."""
    rng = random.Random(0)
    for model, datasets in cells.items():
        (results / model).mkdir(parents=True, exist_ok=True)
        vocabulary = ["", "", "", *WORDS * 20]
        (results / model / "tokens.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        for dataset in datasets:
            _cell(results / model / dataset, model, dataset, samples, limit, repeats, rng)


def _cell(folder: Path, model: str, dataset: str, samples: int, limit: int, repeats: int, rng: random.Random) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ids = [5 + n % 9 for n in range(rng.randrange(20, 200))]
    prompts = [Prompt(f"s{n}", [f"What is {n}? <i>"], [3 + n % 200, *ids], True) for n in range(samples)]
    (folder / "prompts.jsonl").write_text("".join(map(to_line, prompts)), encoding="utf-8")
    summary = {"kept": samples, "too_short": 0, "too_long": 0, "truncated": 0, "data": "made up"}
    (folder / "prompts_summary.json").write_text(json.dumps(summary), encoding="utf-8")
    outputs = [_output(rng, limit) for _ in prompts]
    hashes = [ids_sha256(prompt.prompt_ids) for prompt in prompts]
    sha256 = prompts_sha256(prompts)
    for method, entry in METHODS.items():
        job = folder / method
        job.mkdir(exist_ok=True)
        with (job / "samples.jsonl").open("w", encoding="utf-8") as out:
            for repeat in range(repeats):
                for prompt, prompt_hash, output in zip(prompts, hashes, outputs, strict=True):
                    turn = _turn(len(prompt.prompt_ids), prompt_hash, output, limit, entry, rng)
                    text = "".join(WORDS[(i - FIRST_WORD) % len(WORDS)] for i in output if i != STOP)
                    row = {
                        "sample_id": prompt.sample_id,
                        "repeat": repeat,
                        "turns": [turn],
                        "texts": [text],
                        "surroundings": QUIET,
                    }
                    out.write(json.dumps({**row, "schema_version": SCHEMA_VERSION}, ensure_ascii=False) + "\n")
        facts = _facts(model, dataset, method, sha256, limit, repeats)
        facts["samples_sha256"] = hashlib.sha256((job / "samples.jsonl").read_bytes()).hexdigest()
        (job / "run.json").write_text(json.dumps(facts))
        if method != "vanilla":
            rows = ({"sample_id": p.sample_id, "repeat": r, "identical": True} for r in range(repeats) for p in prompts)
            lines = [json.dumps({**row, "schema_version": SCHEMA_VERSION}) + "\n" for row in rows]
            (job / "gate.jsonl").write_text("".join(lines), encoding="utf-8")


def _output(rng: random.Random, limit: int) -> list[int]:
    """Ids up to a stop id or the limit; one in ten loops."""
    length = max(2, min(limit, int(rng.lognormvariate(3.3, 0.8))))
    ids = [rng.randrange(FIRST_WORD, 300) for _ in range(length)]
    if rng.random() < 0.1:
        ids = (ids[:3] * length)[:length]
    return ids if length == limit else [*ids[:-1], STOP]


def _turn(
    prompt_tokens: int, prompt_hash: str, ids: list[int], limit: int, entry: dict[str, Any], rng: random.Random
) -> dict[str, Any]:
    """What a method might have recorded on its way to `ids`."""
    shape = registry.widths(entry)
    steps, done = [], 1
    while done < len(ids):
        left = len(ids) - done
        depth = min(len(shape), left - 1)
        accepted = 0
        while accepted < depth and rng.random() < 0.6:
            accepted += 1
        steps.append((sum(shape[:depth]), min(accepted + 1, depth), accepted))
        done += accepted + 1
    step = (0.06 if entry["method"].startswith("hf_") else 0.03) * (1 + 0.02 * sum(shape)) * rng.lognormvariate(0, 0.05)
    return {
        "prompt_tokens": prompt_tokens,
        "prompt_sha256": prompt_hash,
        "output_ids": ids,
        "steps": steps,
        "prefill_seconds": 0.1,
        "drafter_prefill_seconds": 0.001 if shape else 0.0,
        "decode_seconds": step * len(steps),
        "stop_reason": "eos" if ids[-1] == STOP else "limit",
        "prefill_tokens": 1,
        "total_seconds": 0.1 + (0.001 if shape else 0.0) + step * len(steps),
    }


QUIET = {"other_cores": 0.01, "stolen_cores": 0.0, "swapped_bytes": 0, "load": 2.0, "frequency_mhz": 3000}
ENVIRONMENT = {"device_name": "a made-up CPU", "git_commit": "0123abc", "packages": {"torch": "2.14.1"}}


PROFILE = {"steps": 10, "drafted_tokens": 20, "draft_seconds": 0.02, "forward_seconds": 0.3, "verify_seconds": 0.01,
           "commit_seconds": 0.01, "other_seconds": 0.01}  # fmt: skip


CHECK = {"engine": "packed", "transformers": "5", "max_difference": 3e-5, "distance": 2e-6, "bound": 2e-4}


def _loop(method: str) -> dict[str, str]:
    """A peer's loop is another."""
    return {"loop": "transformers 5 generate", "attention": "sdpa"} if "hf_" in METHODS[method]["method"] else {}


def _piece(method: str) -> dict[str, Any]:
    """A peer has no engine of ours."""
    checks = None if _loop(method) else {"target": CHECK}
    return {"host": "here", "first_sample": 0, "environment": ENVIRONMENT, "engine_checks": checks}


def _facts(model: str, dataset: str, method: str, sha256: str, limit: int, repeats: int) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "dataset": dataset,
        "method": method,
        "spec": {"method": {"name": method, **METHODS[method]}, "dataset": {"name": dataset}},
        "conditions": {
            **CONDITIONS,
            **_loop(method),
            "prompts_sha256": sha256,
            "max_new_tokens": limit,
            "repeats": repeats,
        },
        "warmup_samples": [{"prompt_tokens": 21, "output_tokens": 32, "seconds": 1.0}],
        "environment": ENVIRONMENT,
        "pieces": [_piece(method)],
        "failures": [],
        "profile": None if METHODS[method]["method"].startswith("hf_") else [PROFILE],
        "memory": None,
        "peak_memory_bytes": 2**29,
        "load_seconds": 1.0,
        "started": "2026-01-01T10:00:00+00:00",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    for name, default in (("models", 10), ("datasets", 50), ("samples", 500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    write(args.results, grid(args.models, args.datasets)["cells"], args.samples)


if __name__ == "__main__":
    main()
