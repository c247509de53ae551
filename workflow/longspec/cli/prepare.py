"""Write one data set's prompts for one model."""

from __future__ import annotations

import argparse
from pathlib import Path

from longspec.cli._arguments import of_json
from longspec.data.prepare import Preparer, write


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, prepare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-spec", type=of_json, required=True, help="the model's config entry, as JSON")
    parser.add_argument("--dataset-spec", type=of_json, required=True, help="the data set's, as JSON")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    preparer = Preparer(args.model_spec, args.dataset_spec)
    prompts = preparer.prompts()
    write(args.output, prompts, preparer.tuning, {**preparer.counts, "data": preparer.data()})
    lengths = sorted(len(prompt.prompt_ids) for prompt in prompts)
    for doubt in preparer.doubts(prompts):
        print(f"warning: {doubt}")
    print(f"{args.output}: {dict(preparer.counts)}, {lengths[0]} to {lengths[-1]} tokens")
