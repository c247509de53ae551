"""The cache of this user: what takes long to make and is the same in every experiment.

Contract: a folder of the cache is made once, under a lock, in a process of its own, whole or not at all. It does not
know what is in it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from filelock import FileLock

from longspec.core import watchdog
from longspec.core.errors import UserError


def folder() -> Path:
    """Locate the cache: LONGSPEC_CACHE, or below the system's place for caches."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LONGSPEC_CACHE") or Path(base) / "longspec-bench")


@functools.cache
def content_key(file: Path, changed_ns: int) -> str:
    """Hash a large file, read once a process for each time that it was changed (`st_mtime_ns`)."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:32]


def made_once(name: str, make: Callable[[Path, Path], None], source: Path) -> Path:
    """Find the folder `name` of the cache, or have `make(source, folder)` fill it.

    `make` runs where no threads stay behind: who asks may yet fork, and a fork of OpenMP's threads waits for ever. Its
    UserError is raised here; another one says that its process was killed."""
    place = folder() / name
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not place.is_dir():
            fresh = place.with_name(f"{name}.unfinished")
            shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed
            fresh.mkdir()
            try:
                _in_its_own_process(make, source, fresh)
                fresh.rename(place)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    return place


def _in_its_own_process(make: Callable[[Path, Path], None], source: Path, place: Path) -> None:
    spawned = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, spawned, initializer=watchdog.end_with_parent) as pool:
            pool.submit(make, source, place).result()
    except BrokenProcessPool:
        raise UserError(
            str(source), "the process that converts it was killed", "memory for its largest file of weights"
        ) from None


@contextlib.contextmanager
def naming_a_full_disk(place: Path) -> Iterator[None]:
    """Turn the error of safetensors for a full disk, which has the system's number in its text, into the system's."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        if f"os error {errno.ENOSPC}" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place)) from None
