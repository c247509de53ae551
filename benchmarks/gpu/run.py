"""The engine on a GPU, in one command: raw figures as JSON and a page of Markdown.

    make gpu-benchmark                                  one H100, at most 25 minutes
    python benchmarks/gpu/run.py --tiny [--output DIR]  the same lines on a CPU, in seconds; its figures mean nothing

The figures so far are written after each section. A section that fails or runs out of time leaves its error behind, and
the next one begins.
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import page
import scene  # it finds the package
import sections
import torch

SECTION_MINUTES = {"device": 1, "attention": 5, "steps": 7, "replay": 6, "smollm2": 4}
"""Most that a section may take: 23 in all, and 2 are left for loading."""


class OutOfTimeError(Exception):
    """A section's minutes are over."""


def expire(*_: Any) -> None:
    """Called by the alarm."""
    raise OutOfTimeError("its minutes are over")


@torch.inference_mode()
def run_section(name: str, place: scene.Scene, found: dict[str, Any]) -> None:
    """Put the section's figures, error and seconds into `found`."""
    figures: dict[str, Any] = {}
    found[name] = figures
    started = time.monotonic()
    signal.alarm(round(60 * SECTION_MINUTES[name]))
    try:
        for some in sections.ALL[name](place, found):
            figures.update(some)
    except Exception as error:  # whatever it was, the other sections still have something to say
        figures["error"] = f"{type(error).__name__}: {error}"
        figures["traceback"] = traceback.format_exc()
    finally:
        signal.alarm(0)
    figures["section_seconds"] = time.monotonic() - started
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="seconds of a CPU, through the same lines")
    parser.add_argument("--only", nargs="+", choices=sections.ALL, default=list(sections.ALL))
    parser.add_argument("--output", type=Path, default=Path("gpu-benchmark"), help="folder of gpu.json and gpu.md")
    args = parser.parse_args()
    if not args.tiny and not torch.cuda.is_available():
        print("error: torch sees no CUDA device here; --tiny runs the same lines on a CPU", file=sys.stderr)
        return 1
    signal.signal(signal.SIGALRM, expire)
    args.output.mkdir(parents=True, exist_ok=True)
    place = scene.Scene(args.tiny)
    found: dict[str, Any] = {"tiny": args.tiny}
    for name in args.only:
        run_section(name, place, found)
        (args.output / "gpu.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        (args.output / "gpu.md").write_text(page.render(found), encoding="utf-8")
        print(f"{name}: {found[name]['section_seconds']:.0f} s, {found[name].get('error', 'done')}", flush=True)
    print(f"written: {args.output / 'gpu.json'}, {args.output / 'gpu.md'}")
    return int(any("error" in found[name] for name in args.only))


if __name__ == "__main__":
    sys.exit(main())
