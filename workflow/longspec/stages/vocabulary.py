"""Stage `vocabulary`: every token of a model as text, a JSON list by id, so that a report can show steps.

A token is decoded behind a letter, as it would be inside a text; one that holds part of a character shows as �.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from longspec import prompting
from longspec.core.io import write_whole
from longspec.core.program import run as run_stage


def pieces(tokenizer: Any) -> list[str]:
    """Text of each id; special tokens have none."""
    before = tokenizer("a", add_special_tokens=False)["input_ids"]
    lead = len(tokenizer.decode(before))
    special = set(tokenizer.all_special_ids)
    ids = range(len(tokenizer))
    return ["" if token in special else tokenizer.decode([*before, token])[lead:] for token in ids]


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, decode, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-spec", type=json.loads, required=True, help="the model's config entry, as JSON")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    found = pieces(prompting.tokenizer(args.model_spec))
    write_whole({args.output: json.dumps(found, ensure_ascii=False)})
    print(f"{args.output}: {len(found)} tokens")


if __name__ == "__main__":
    run_stage(main)
