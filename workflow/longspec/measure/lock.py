"""One writer of a folder at a time, on this host or on any that shares its file system. No torch."""

from __future__ import annotations

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
"""A writer on another host that has given no sign for so long is taken for dead."""


@contextlib.contextmanager
def claim(lock: Path, on_loss: Callable[[str], None] = print) -> Iterator[None]:
    """Be the only writer of the lock's folder. UserError when another is at work, on this host or on a different one.

    The claim of a dead process is taken over: at once on its own host, and after LEASE_SECONDS without a sign of
    life on another one that shares the file system. `on_loss` is called from another thread if the claim is lost.
    Source: filelock's SoftFileLease, whose heartbeat is judged by the contender's own clock.
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
        if shutil.disk_usage(lock.parent).free == 0:  # then nor could a dead owner's claim be taken over
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(lock)) from None
        owner = lease.owner
        who = f"process {owner.pid} on {owner.hostname.partition('?')[0]}" if owner else "another process"
        raise UserError(
            str(lease.lock_file), f"{who} is writing to this folder", "no other: end it, or wait, and run again"
        ) from None
    except OSError as error:
        error.filename = error.filename or str(lock)
        raise
    try:
        yield
    finally:
        lease.release()


def _here(owner: Any) -> bool:
    """Whether a lock's owner is of this host and, in containers, of this process namespace."""
    if owner is None:
        return False
    name, _, namespace = owner.hostname.partition("?pidns-")
    ours = Path("/proc/self/ns/pid")
    return bool(name == socket.gethostname() and (not namespace or f"{ours.stat().st_ino:x}" == namespace))
