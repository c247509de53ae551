"""Runs a program that must not outlive the process that needs it, such as a job's server, with all that it starts.

    python -m longspec.core.guard PARENT COMMAND...

The program gets a session of its own. When process PARENT ends, however it ends, or this process is asked to end, the
whole session is ended. If this process itself is killed, the kernel kills the program (on Linux).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import psutil

from longspec.core import watchdog

REFUSED = 2
SECONDS_TO_END = 10.0
"""Seconds that a program has to end by itself after it was asked to."""


def main(parent: int, command: list[str]) -> int:
    """Run a command until it or process `parent` ends; returns its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    program = subprocess.Popen(command, start_new_session=True, preexec_fn=watchdog.die_with_parent)
    try:
        watchdog.die_with_parent(signal.SIGTERM)
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
        return program.wait() if os.getppid() == parent else REFUSED
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_session(program.pid)
        program.wait()


def _end_with(parent: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(parent).wait()
    os.kill(os.getpid(), signal.SIGTERM)


def of_session(session: int) -> list[psutil.Process]:
    """List the living processes of a session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_session(session: int, seconds: float = SECONDS_TO_END) -> None:
    """End every process of a session: ask them, wait, then kill what is left."""
    for how, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, seconds)):
        processes = of_session(session)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(how)
        psutil.wait_procs(processes, patience)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
