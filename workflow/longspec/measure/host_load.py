"""Measures the load on the machine around each sample: what else ran while the sample was timed.

Counters are read before and after the clock runs, never under it. A number that a machine does not provide is left out;
thresholds are those of analysis/taint.py. On the cores that this process may use: `other_cores` (busy with other
processes, in cores) and `stolen_cores` (held by other virtual machines); `frequency_mhz`, `swapped_bytes`, `load`.
Where servers make the answers, their work counts as this process's, and `client_cores` is what it used itself. On a
GPU: `device_clock_mhz`, `device_temperature_c`, `throttle_reasons` (NVML's bits, without those of an idle device) and
`device_processes` (others that hold memory there). Libraries: psutil; NVML through torch.cuda, where nvidia-ml-py is
installed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch

IDLE_BITS = 0x1 | 0x2
"""NVML's throttle reasons that are not throttling: idle, and clocks as an application set them."""


class HostLoad:
    """Read the machine's counters before and after one sample."""

    def __init__(self, device: torch.device, servers: Callable[[], list[psutil.Process]] = list) -> None:
        """Read the counters for the first time. `servers`: lists processes that work for this one."""
        self.device, self._servers = device, servers
        process = psutil.Process()
        self._process = process
        self._cores = process.cpu_affinity() if hasattr(process, "cpu_affinity") else None
        self._before = self._counters()

    def end(self) -> dict[str, float]:
        """Read the counters after the clock has stopped; returns the load since they were first read."""
        before, after = self._before, self._counters()
        seconds = max(after["time"] - before["time"], 1e-9)
        busy, own, served, stolen = (
            (after[key] - before[key]) / seconds for key in ("busy", "own", "served", "stolen")
        )
        found = {
            "other_cores": round(max(busy - own - served, 0.0), 3),
            "stolen_cores": round(stolen, 3),
            "swapped_bytes": after["swapped"] - before["swapped"],
            "load": round(psutil.getloadavg()[0], 2),
        }
        if served:
            found["client_cores"] = round(own, 4)
        with contextlib.suppress(Exception):  # no frequency to be read in many containers
            found["frequency_mhz"] = round(float(psutil.cpu_freq().current), 0)
        return found | (gpu(self.device) if self.device.type == "cuda" else {})

    def _counters(self) -> dict[str, float]:
        times: list[Any] = psutil.cpu_times(percpu=True)
        mine = times if self._cores is None else [times[core] for core in self._cores if core < len(times)]
        own = self._process.cpu_times()
        swap = psutil.swap_memory()
        return {
            "time": time.monotonic(),
            "busy": sum(t.user + t.system + getattr(t, "irq", 0.0) + getattr(t, "softirq", 0.0) for t in mine)
            + sum(getattr(t, "nice", 0.0) for t in mine),
            "stolen": sum(getattr(t, "steal", 0.0) for t in mine),
            "own": own.user + own.system,
            "served": sum(_seconds(process) for process in self._servers()),
            "swapped": float(swap.sin + swap.sout),
        }


def _seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def gpu(device: torch.device) -> dict[str, float]:
    """Read a GPU's clock, temperature, throttle reasons and other processes; empty where NVML is not available."""
    found: dict[str, float] = {}
    with contextlib.suppress(Exception):  # a reading that fails must not lose the sample
        found["device_clock_mhz"] = float(torch.cuda.clock_rate(device))
        found["device_temperature_c"] = float(torch.cuda.temperature(device))
        import pynvml  # type: ignore[import-not-found,unused-ignore]  # comes with torch's CUDA builds, or not

        handle = torch.cuda._get_pynvml_handler(device)  # torch's own, which knows CUDA_VISIBLE_DEVICES
        found["throttle_reasons"] = float(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle) & ~IDLE_BITS)
        others = {process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)} - {os.getpid()}
        found["device_processes"] = float(len(others))
    return found
