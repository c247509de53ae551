"""Write every token of a model as text, a JSON list by id, so that a report can show steps without a tokenizer."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from longspec.cli._arguments import of_json
from longspec.core.io import write_whole
from longspec.data import prompting


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, decode, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-spec", type=of_json, required=True, help="the model's config entry, as JSON")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    found = prompting.pieces(prompting.tokenizer(args.model_spec))
    write_whole({args.output: json.dumps(found, ensure_ascii=False)})
    print(f"{args.output}: {len(found)} tokens")
