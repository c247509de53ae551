"""Weights that a model's folder has as pickles alone, converted once into safetensors.

Contract: pickles are opened only where the model's entry says `convert_pickles: true`: by a process of its own that may
use no network, with torch's loader for weights, which builds tensors and calls nothing that the file names. UserError
names a file that holds anything else. Names, values and number formats stay. The result lies in the user's cache, known
by what it was made of.
Source: torch.load(weights_only=True), which ran code before torch 2.10 (CVE-2025-32434, CVE-2026-24747).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longspec.core.errors import UserError
from longspec.models import user_cache, weights_files

if TYPE_CHECKING:
    from torch import Tensor

NAMES = "pytorch_model*.bin"
WHOLE, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
BESIDE = ("*.json", "*.txt", "*.model", "*.jinja", "*.py")
"""What belongs to a model beside its weights."""
FORBIDDEN = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system")
"""Beginnings of Python's audit events that the converting process does not survive."""


def pickles(place: Path) -> list[Path]:
    """List the pickles of a folder's weights: those that the index names, or the only one. UserError where one of them
    is not there or elsewhere."""
    if not (place / INDEX).is_file():
        return [place / WHOLE] if (place / WHOLE).is_file() else []
    files = weights_files.named(place, INDEX)
    for name in files:
        if Path(name).name != name or not (place / name).is_file():
            raise UserError(str(place / INDEX), f"names {name}, which is not beside it", "all files that it names")
    return [place / name for name in files]


def converted(place: Path, commit: str | None) -> Path:
    """Convert a folder's pickles in the user's cache, once. `commit`: what the hub knows their content by; without it
    they are read and hashed."""
    digest = hashlib.sha256()
    for file in pickles(place):
        known = commit or user_cache.content_key(file, file.stat().st_mtime_ns)
        digest.update(f"{file.name} {known}\n".encode())
    for file in _beside(place):
        digest.update(file.name.encode() + file.read_bytes())
    return user_cache.made_once(f"{digest.hexdigest()[:32]}-from-pickles", _convert, place)


def _beside(place: Path) -> list[Path]:
    found = {file for pattern in BESIDE for file in place.glob(pattern) if not file.name.endswith(".index.json")}
    return sorted(found)


def _convert(place: Path, fresh: Path) -> None:
    import torch  # noqa: F401  (which starts programs when it is imported)

    sys.addaudithook(_refuse)
    write(place, fresh)


def write(place: Path, fresh: Path) -> None:
    """Write a folder's pickles as safetensors into the folder `fresh`, and beside them what belongs to the model."""
    from safetensors.torch import save_file

    files = pickles(place)
    weight_map: dict[str, str] = {}
    for number, file in enumerate(files, start=1):
        name = "model.safetensors" if len(files) == 1 else f"model-{number:05d}-of-{len(files):05d}.safetensors"
        tensors = dict(_apart(_tensors(file)))
        with user_cache.naming_a_full_disk(fresh):
            save_file(tensors, fresh / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    if len(files) > 1:
        (fresh / weights_files.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for file in _beside(place):
        shutil.copyfile(file, fresh / file.name)


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if event.startswith(FORBIDDEN):
        raise PermissionError(f"{event} while pickles are converted")


def _tensors(file: Path) -> dict[str, Tensor]:
    """Load a pickle's tensors by name, mapped from the file where its format allows it."""
    import torch

    expected = "a pickle of nothing but tensors by their names"
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # the loader raises many kinds; of what it says, only what it stopped at is of use
        stopped = re.search(r"GLOBAL (\S+)", str(error))
        found = f"holds {stopped[1]}" if stopped else f"cannot be read ({type(error).__name__})"
        raise UserError(str(file), found, expected) from None
    if not isinstance(content, dict):
        raise UserError(str(file), f"holds one {type(content).__name__}", expected)
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise UserError(str(file), f"holds {name!r} of type {type(value).__name__}", expected)
    return content


def _apart(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Give each tensor memory of its own, in order: safetensors stores neither tied nor transposed ones."""
    import torch

    seen = set()
    for name, tensor in tensors.items():
        start = tensor.untyped_storage().data_ptr()
        plain = tensor.is_contiguous() and start not in seen
        yield name, tensor if plain else tensor.clone(memory_format=torch.contiguous_format)
        seen.add(start)
