"""Looks up the record of a model's engine check in the cache, or runs the check in a process of its own.

The key of a record is all that can change the result: weights, configuration, our own code, libraries, processor and
device, threads, number format, and the engine and numerics that were asked for. Failures are not cached.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from filelock import FileLock

from longspec.core import fingerprint, watchdog
from longspec.core.errors import UserError
from longspec.core.io import write_whole
from longspec.core.spec import EngineCheck, TargetSpec
from longspec.models import machine, model_files, user_cache
from longspec.verify.engine.check import check

LIBRARIES = ("torch", "transformers", "triton", "numpy")
ASKED = ("device", "dtype", "engine", "numerics", "threads")
"""Keys of a spec that decide an engine, beside the model."""


def checked(spec: TargetSpec) -> EngineCheck:
    """Look up the record of the engine that the model of a generate spec runs by, or make it.

    Raises the UserError of the check where no engine passes. Call it before the device is used.
    """
    place = _place(spec)
    if not place.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):  # jobs that begin together check once
            if not place.is_file():
                write_whole({place: json.dumps(_in_its_own_process(spec), indent=1) + "\n"})
    record: EngineCheck = json.loads(place.read_text(encoding="utf-8"))
    return record


def _place(spec: TargetSpec) -> Path:
    device = machine.resolve_device(spec["device"])
    key = {
        "model": model_files.resolved(spec["model"]),
        "as": {"context": spec["model"].get("context"), "trust_remote_code": spec["model"].get("trust_remote_code")},
        "code": fingerprint.digest("verify.engine.check"),
        "libraries": machine.versions(LIBRARIES),
        "processor": [machine.processor(), torch.cpu.get_capabilities()],
        "device": machine.device_name(device),
        "dtype": str(machine.resolve_dtype(spec["dtype"], device)),
        "threads": machine.resolve_threads(spec["threads"]),
        "asked": {key: value for key, value in spec.items() if key in ASKED},
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:32]
    return user_cache.folder() / "engine-checks" / f"{name}.json"


def _in_its_own_process(spec: TargetSpec) -> EngineCheck:
    """Check in a new process: a fork where that is safe, since imports take longer than the check; CUDA cannot fork."""
    forks = sys.platform == "linux" and machine.resolve_device(spec["device"]).type == "cpu"
    context = multiprocessing.get_context("fork" if forks else "spawn")
    try:
        with ProcessPoolExecutor(1, context, initializer=watchdog.end_with_parent) as pool:
            return pool.submit(check, spec).result()
    except BrokenProcessPool:
        raise UserError(
            f"models.{spec['model'].get('name')}",
            "the process that checks its engine was killed",
            "memory for the model, or a smaller one",
        ) from None
