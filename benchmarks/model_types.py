"""Which model types our engine runs exactly: the check at load, on a tiny model of every type that transformers knows.

    python benchmarks/model_types.py [--dtype float32] [--output model_types.json] [TYPE ...]

A row a type: by which engine it runs, how far its logits are from transformers', and the bound; or the line in which a
job would refuse it. The models are those of tests/zoo.py, drawn at random.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import setup  # before longspec: it finds the package

from longspec.core.errors import UserError, first_line
from longspec.verify.engine import check

sys.path.insert(0, str(setup.ROOT / "tests"))
import zoo

SPEC = {"seed": 0, "threads": 2, "device": "cpu", "engine": "auto", "numerics": "auto"}


def row(name: str, dtype: str) -> dict[str, Any]:
    """What the check says of one type."""
    check._load = lambda entry, dtype: zoo.model(name).to(dtype)  # in place of a folder's
    facts = {"type": name, "dtype": dtype}
    try:
        spec = {**SPEC, "dtype": dtype, "model": {"name": name, "path": "nowhere", "context": zoo.CONTEXT}}
        return {**facts, "outcome": "runs", **check.check(spec)}
    except UserError as error:
        return {**facts, "outcome": "refused", "reason": error.found}
    except Exception as error:  # what a benchmark of this kind looks for
        return {**facts, "outcome": "traceback", "reason": f"{type(error).__name__}: {first_line(error)}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*", help="all of them, if none is named")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--output", type=Path, help="all rows as JSON")
    args = parser.parse_args()
    rows = []
    for name in args.types or zoo.NAMES:
        found = row(name, args.dtype)
        rows.append(found)
        said = found.get("reason") or f"{found['engine']}, {found['distance']:.1e} of {found['bound']:.1e}"
        print(f"{found['outcome']:>9}  {name:<32} {said[:160]}", flush=True)
    print(dict(Counter(found["outcome"] for found in rows)))
    if args.output:
        args.output.write_text(json.dumps(rows, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
