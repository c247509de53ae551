"""Ends this process when another one ends: its parent, or the Snakemake that started it.

Snakemake killed with SIGKILL does not end its jobs, and a job that goes on holds the device. Watching costs nothing
while it waits, and the watched process need not cooperate.
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
"""Environment variable with the id of the process that a command must not outlive; the rules set it to Snakemake's."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(parent: int | None = None) -> None:
    """Kill this process when its parent exits; call it in the main thread, at the start.

    `parent`: the id of the parent, to be given if it may have exited before this call."""
    parent = parent or os.getppid()
    if sys.platform == "linux":
        die_with_parent()
        if os.getppid() != parent:  # it exited before the kernel watched it
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        end_with(parent)


def die_with_parent(how: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent exits; does nothing but on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, how)


def end_with(pid: int) -> None:
    """Kill this process when process `pid` exits, or at once if it has; a sleeping thread waits for that."""
    threading.Thread(target=_kill_after, args=(pid,), daemon=True, name="watchdog").start()


def end_with_snakemake() -> None:
    """Kill this process when the process named by the variable PARENT exits, if it is set."""
    named = os.environ.get(PARENT, "")
    if named.isdigit():
        end_with(int(named))


def _kill_after(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()
    os.kill(os.getpid(), signal.SIGKILL)
