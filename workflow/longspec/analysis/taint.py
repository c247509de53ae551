"""Flag samples that were timed while the machine did something else; they are kept, and counted.

Contract: judges what `Sample.surroundings` recorded; a sample without a reading has no reason. Thresholds are in this
file alone. A flag removes nothing from any figure.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from longspec.analysis.runs import Run

OTHER_CORES = 0.2
"""Busy with others, on the cores that the job may use, on average over a sample."""
SLOWER_CLOCK = 0.9
"""Of the run's median."""


def reasons(run: Run) -> list[list[str]]:
    """Say for each sample of a run what was wrong around it; mostly nothing."""
    readings = [sample.surroundings for sample in run.samples]
    clocks = {
        name: _median(reading.get(name) for reading in readings) for name in ("frequency_mhz", "device_clock_mhz")
    }
    return [_of(reading, clocks) for reading in readings]


def _of(reading: dict[str, float], clocks: dict[str, float]) -> list[str]:
    found = []
    if reading.get("other_cores", 0) > OTHER_CORES:
        found.append(f"other processes used {reading['other_cores']:.2f} cores")
    if reading.get("stolen_cores", 0) > OTHER_CORES:
        found.append(f"other machines used {reading['stolen_cores']:.2f} cores")
    if reading.get("swapped_bytes", 0) > 0:
        found.append(f"{reading['swapped_bytes']:.0f} bytes swapped")
    for name, usual in clocks.items():
        if reading.get(name, usual) < SLOWER_CLOCK * usual:
            found.append(f"{name} {reading[name]:.0f}, usually {usual:.0f}")
    if reason := int(reading.get("throttle_reasons", 0)):
        found.append(f"the device was throttled ({reason:#x})")
    if others := int(reading.get("device_processes", 0)):
        found.append(f"{others} other processes on the device")
    return found


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else 0.0
