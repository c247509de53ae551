"""Nothing outlives who wanted it: a process that ends, however hard, when another one does.

Snakemake killed with SIGKILL tells nobody, and a job that goes on holds the device. Contract: the watch costs nothing
while it waits and needs no cooperation of what is watched. It does not know what the processes do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading

import psutil

PARENT = "LONGSPEC_PARENT"
"""Environment variable with the id of the process that a stage must not outlive; the rules set it to Snakemake's."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(parent: int | None = None) -> None:
    """Have the kernel end this process when its parent ends. For its main thread, at its start.

    `parent`: the id of the process that started it, if that may have ended before this call."""
    parent = parent or os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before it was watched
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        end_with(parent)


def end_with(pid: int) -> None:
    """End this process when process `pid` ends, or at once if it has. Returns; a thread sleeps until then."""
    threading.Thread(target=_outlast, args=(pid,), daemon=True, name="lifeline").start()


def tie() -> None:
    """End with the process that PARENT names, if it names one."""
    named = os.environ.get(PARENT, "")
    if named.isdigit():
        end_with(int(named))


def _outlast(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()
    os.kill(os.getpid(), signal.SIGKILL)
