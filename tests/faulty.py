"""A drafter that fails as its prompts say; `install` writes it into a copy of the workflow.

The prompt's length chooses the fault, since a drafter sees token ids only. It drafts the last token again.
"""

from __future__ import annotations

from pathlib import Path

FAULTS = {31: "hang", 32: "memory", 33: "kill", 34: "device", 35: "kill once", 36: "numbers", 37: "bug", 38: "full",
          39: "index"}  # fmt: skip
"""Prompt tokens to fault."""

SOURCE = '''
"""Fails as tests/faulty.py says."""
import contextlib
import os
import signal
import time
from pathlib import Path

import torch

OPTIONS = {}
FAULTS = @FAULTS@


def fill(ballast):
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(1024):  # a small disk, or a mistake
            file.write(bytes(4096))


class Faulty:
    def __init__(self, target):
        self.target = target

    def prefill(self, ids, capacity):
        fault = FAULTS.get(len(ids) - 1)
        if fault == "hang":
            time.sleep(1000)
        elif fault == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 PiB")
        elif fault == "device":
            raise torch.AcceleratorError("an illegal memory access was encountered")
        elif fault == "kill" or (fault == "kill once" and Path("killed").read_text() != fault):
            Path("killed").write_text(fault)
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "index":
            torch.nn.Embedding(2, 2)(torch.tensor([2]))
        elif fault == "numbers":
            self.target._cache.stack[0].keys.fill_(float("nan"))
        elif fault == "full" and not Path("filled").exists():
            Path("filled").touch()
            fill(Path("results/ballast"))
        elif fault == "bug":
            raise ZeroDivisionError("a bug")

    def expand(self, tree, nodes, width, verifier):
        return [[(tree.tokens[node], 0.0)] for node in nodes]

    def commit(self, emitted, tree, path):
        pass


def make(target):
    return Faulty(target)
'''


def install(clone: Path) -> None:
    """Add the drafter `faulty` to a clone."""
    place = clone / "workflow" / "longspec" / "drafters" / "faulty.py"
    place.write_text(SOURCE.replace("@FAULTS@", repr(FAULTS)), encoding="utf-8")
