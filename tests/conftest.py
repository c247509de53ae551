"""Shared set-up: makes the helpers of tests and benchmarks importable, and keeps tests off the network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "benchmarks")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_collection_modifyitems(items):
    """Begin with the files that ask for a longer timeout, so that no process is left alone with one at the end; spread
    each folder's others over the whole run, so that the share of tests that are done is one of the time too: some
    folders are quick and others start a program with every test. Within a file nothing changes."""
    files = list(dict.fromkeys(item.path for item in items))
    long = {i.path for i in items if i.get_closest_marker("timeout") and not i.get_closest_marker("slow")}
    beside = {file: [other for other in files if other.parent == file.parent] for file in files}
    place = {file: (others.index(file) + 0.5) / len(others) for file, others in beside.items()}
    items.sort(key=lambda item: (item.path not in long, place[item.path], files.index(item.path)))
