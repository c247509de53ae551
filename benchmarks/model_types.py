"""Which model types our engine runs exactly: the check at load, on a tiny model of every type that transformers knows.

    python benchmarks/model_types.py [--dtype float32] [--output rows.json] [--page docs/models.md] [TYPE ...]

A row a type and number format: the first engine that computes what transformers does, how far its logits are from
transformers', and the bound; or the line in which a job would refuse it. The models are those of tests/zoo.py, drawn at
random. `make models-page` writes the page, from both number formats (10 minutes on two cores).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import setup  # before longspec: it finds the package

from longspec.core.errors import UserError, first_line
from longspec.verify.engine import check

sys.path.insert(0, str(setup.ROOT / "tests"))
import zoo

SPEC = {"seed": 0, "threads": 2, "device": "cpu", "engine": "auto", "numerics": "auto"}
FORMATS = ("float32", "bfloat16")
Row = dict[str, Any]

PAGE = """# Model types

Written by `make models-page`: the check at load ([losslessness.md](losslessness.md)) of a tiny random model of every
type that transformers' `AutoModelForCausalLM` knows, and of variants of some (TYPE-WORD), whose configurations are in
`tests/zoo.py`. What runs is exact within the bound: the whole prompt, token by token, several tokens a step, trees with
rejected branches. What is refused is refused by a job in the line that stands here, before it runs.

transformers {version}, a CPU: **{types} types run** of {all_types}; with variants {runs} of {all} models,
{engines}.
Each format's figures are the largest distance of any row of logits, and the bound.

| engine | what it is |
|---|---|
| `native` | this project's own step in C++ |
| `packed` | transformers' modelling code, this project's attention and cache; `eager` and `graphs` run it, too |
| `stock` | transformers' modelling code and attention over this project's cache |
| `branches` | `stock`, but a tree in several forwards, a branch each: these models take positions from their cache |

On a CPU `auto` takes the fastest of the first two that passes, else the others in this order.

## Run

| type | engine | float32 | bfloat16 |
|---|---|---|---|
{run}

† The rotary table depends on the longest text so far. Texts that would outgrow it are refused, naming `context`; with
LongRoPE texts run that are longer from their prompt on.

## Refused

| type | why |
|---|---|
{refused}

## Not tried

| type | why |
|---|---|
{unbuilt}
"""


def row(name: str, dtype: str) -> Row:
    """What the check says of one type."""
    check._load = lambda entry, dtype: zoo.model(name).to(dtype)  # in place of a folder's
    check.quicker = lambda some, other: False  # the first that is exact: which one does not hang on a clock
    facts = {"type": name, "dtype": dtype}
    try:
        spec = {**SPEC, "dtype": dtype, "model": {"name": name, "path": "nowhere", "context": zoo.CONTEXT}}
        return {**facts, "outcome": "runs", **check.check(spec)}
    except UserError as error:
        return {**facts, "outcome": "refused", "reason": error.found}
    except Exception as error:  # what a benchmark of this kind looks for
        return {**facts, "outcome": "traceback", "reason": f"{type(error).__name__}: {first_line(error)}"}


def page(rows: list[Row]) -> str:
    """Make docs/models.md of the rows of both number formats."""
    by_format = {dtype: {found["type"]: found for found in rows if found["dtype"] == dtype} for dtype in FORMATS}
    first = by_format[FORMATS[0]]
    run = [name for name, found in first.items() if found["outcome"] == "runs"]
    engines = Counter(first[name]["engine"] for name in run)
    return PAGE.format(
        version=version("transformers"),
        types=sum(name in zoo.TYPES for name in run),
        all_types=len(zoo.TYPES) + len(zoo.UNBUILT),
        runs=len(run),
        all=len(first),
        engines=", ".join(f"{count} by `{engine}`" for engine, count in engines.most_common()),
        run="\n".join(
            f"| `{name}`{'†' if first[name]['steady_positions'] else ''} | {first[name]['engine']} | "
            f"{_figures(first[name])} | {_figures(by_format['bfloat16'][name], first[name]['engine'])} |"
            for name in run
        ),
        refused="\n".join(
            f"| `{name}` | {_why(found, by_format['bfloat16'][name])} |"
            for name, found in first.items()
            if name not in run
        ),
        unbuilt="\n".join(f"| `{name}` | {why} |" for name, why in zoo.UNBUILT.items()),
    )


def _why(found: Row, in_bfloat16: Row) -> str:
    """The reason of a refusal, and whether it is one of float32 alone."""
    alone = f". In bfloat16, which tells less, it runs: {_figures(in_bfloat16)}"
    return found["reason"].replace("|", "/") + (alone if in_bfloat16["outcome"] == "runs" else "")


def _figures(found: Row, engine: str | None = None) -> str:
    """A distance and its bound, and the engine where it is another one than `engine`."""
    if found["outcome"] != "runs":
        return f"refused: {found['reason']}"
    by = f", {found['engine']}" if engine and found["engine"] != engine else ""
    return f"{found['distance']:.0e} of {found['bound']:.0e}{by}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*", help="all of them, if none is named")
    parser.add_argument("--dtype", default=[*FORMATS], nargs=1, choices=(*FORMATS, "float16"), help="both by default")
    parser.add_argument("--output", type=Path, help="all rows as JSON")
    parser.add_argument("--page", type=Path, help="all types as a page; not with --dtype")
    args = parser.parse_args()
    rows = []
    for dtype in args.dtype:
        for name in args.types or zoo.NAMES:
            found = row(name, dtype)
            rows.append(found)
            said = found.get("reason") or f"{found['engine']}, {found['distance']:.1e} of {found['bound']:.1e}"
            print(f"{found['outcome']:>9}  {name:<32} {said[:160]}", flush=True)
    print(dict(Counter(found["outcome"] for found in rows)))
    if args.output:
        args.output.write_text(json.dumps(rows, indent=1, default=str) + "\n", encoding="utf-8")
    if args.page:
        args.page.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
