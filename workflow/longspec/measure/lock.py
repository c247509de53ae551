"""Locks a folder so that one process writes to it at a time, across all hosts that share its file system. No torch."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import LeaseCompromise, SoftFileLease, Timeout

from longspec.core.errors import UserError

LEASE_SECONDS = 60.0
"""Seconds without a heartbeat after which a writer on another host is taken for dead."""


@contextlib.contextmanager
def hold_lock(lock: Path, on_loss: Callable[[str], None] = print) -> Iterator[None]:
    """Hold a folder's lock while the block runs; raises UserError when another process holds it, on any host.

    The lock of a dead process is taken over: at once on its own host, and after LEASE_SECONDS without a heartbeat on
    another host. `on_loss` is called from another thread if the lock is lost. Library: filelock's SoftFileLease, which
    judges the heartbeat by the contender's own clock.
    """

    def lose(compromise: LeaseCompromise) -> None:
        on_loss(f"{compromise.lock_file}: another process has taken over ({compromise.reason})")

    lock.parent.mkdir(parents=True, exist_ok=True)
    lease = SoftFileLease(lock, lease_duration=LEASE_SECONDS, on_compromise=lose)
    try:
        try:
            lease.acquire(timeout=1)
        except Timeout:
            if _here(lease.owner):
                raise
            lease.acquire(timeout=1.5 * LEASE_SECONDS)
    except Timeout:
        if shutil.disk_usage(lock.parent).free == 0:  # the lock of a dead process cannot be taken over on a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(lock)) from None
        owner = lease.owner
        who = f"process {owner.pid} on {owner.hostname.partition('?')[0]}" if owner else "another process"
        raise UserError(
            str(lease.lock_file), f"{who} is writing to this folder", "no other process: end it, or wait, and run again"
        ) from None
    except OSError as error:
        error.filename = error.filename or str(lock)
        raise
    try:
        yield
    finally:
        lease.release()


def _here(owner: Any) -> bool:
    """Tell if a lock's owner is on this host and, in containers, in this process namespace."""
    if owner is None:
        return False
    name, _, namespace = owner.hostname.partition("?pidns-")
    ours = Path("/proc/self/ns/pid")
    return bool(name == socket.gethostname() and (not namespace or f"{ours.stat().st_ino:x}" == namespace))


def hold_until_exit(place: Path) -> None:
    """Hold a lock until this process ends; raises what `hold_lock` does."""
    held = contextlib.ExitStack()
    atexit.register(held.close)
    held.enter_context(hold_lock(place))
