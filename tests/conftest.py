"""Shared set-up: the helpers beside the tests and the benchmarks can be imported, and no test needs a network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "benchmarks")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

LONGEST = ("test_slurm.py", "test_reruns.py", "test_kills.py", "test_interleaved.py")
"""Files of minutes each: begun first, so that no process is left alone with one at the end."""


def pytest_collection_modifyitems(items):
    """The order in which `--dist loadfile --no-loadscope-reorder` hands files out; within a file nothing changes."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
