"""Compare each of a method's outputs with the baseline's, and write where they part."""

from __future__ import annotations

import argparse
from pathlib import Path

from longspec.analysis import verdict
from longspec.cli._arguments import of_json
from longspec.core import run_record
from longspec.core.io import write_whole
from longspec.core.records import Prompt, Sample, read_records, to_line
from longspec.verify.gate import as_recorded, compare, most_nodes, served


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=of_json, required=True, help="the spec of the method's job, as JSON")
    for name in ("prompts", "samples", "run", "vanilla", "vanilla-run", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args(argv)
    ours = read_records(args.samples, Sample)
    prompts, vanilla = read_records(args.prompts, Prompt), read_records(args.vanilla, Sample)
    run, baseline = run_record.read(args.run), run_record.read(args.vanilla_run)
    measured = verdict.other_format(run, baseline) is None
    engine_alone = args.output.parent if served(run) and served(baseline) else None
    spec = as_recorded(args.spec, run, baseline)
    found = compare(spec, prompts, ours, vanilla, most_nodes(ours), measured, engine_alone)
    write_whole({args.output: "".join(map(to_line, found))})
    same = sum(comparison.identical for comparison in found)
    print(f"{args.output}: {same} of {len(found)} outputs are vanilla's")
