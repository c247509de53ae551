"""Say how a served engine bears its load: load.csv, one row a label.

Formulas, over the requests of the samples that did not fail (each turn is a request). Time to first token = seconds
from sending to the first chunk; time per output token of a request = decode_seconds / (output tokens - prefill_tokens);
p50 and p95 are percentiles over requests. window_tokens_per_second = sum of tokens / sum of seconds over the windows in
which all slots were busy; makespan_seconds = sum of seconds of all windows of windows.csv, and
makespan_tokens_per_second = their tokens over that. server_decode_seconds = sum of the engine's own figures;
client_decode_seconds = sum of decode_seconds of the same requests; server_over_client = the one over the other.
client_cores = median over samples of the cores that the client kept busy.

Acceptance, of the requests whose counts are known (acceptance.py): acceptance_rate = sum of accepted / sum of drafted,
acceptance_length = sum of decoded tokens / sum of verification steps; `_per_request` = the unweighted mean of the
requests' own rates or lengths, as several engines' tools print it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
import pandas as pd

from longspec.analysis import acceptance
from longspec.analysis.runs import Run
from longspec.analysis.tables import NAMES
from longspec.core.records import Turn

COLUMNS = [
    *NAMES,
    "requests",
    "window_tokens_per_second",
    "makespan_seconds",
    "makespan_tokens_per_second",
    "ttft_p50_seconds",
    "ttft_p95_seconds",
    "tpot_p50_seconds",
    "tpot_p95_seconds",
    "server_decode_seconds",
    "client_decode_seconds",
    "server_over_client",
    "client_cores",
    "acceptance_rate",
    "acceptance_rate_per_request",
    "acceptance_length",
    "acceptance_length_per_request",
]
Cells = dict[str, float | None]


def row(run: Run, windows: pd.DataFrame, drafts: bool) -> dict[str, object]:
    """Make one row of load.csv; `windows`: the run's rows of windows.csv. What is not known is empty."""
    turns = [turn for sample in run.samples if not sample.failed for turn in sample.turns]
    busy, known = windows[windows["busy"] == 1], windows[windows["seconds"].notna()]
    decoding = [(turn.decode_seconds, len(turn.output_ids) - turn.prefill_tokens) for turn in turns]
    cores = [s.surroundings["client_cores"] for s in run.samples if "client_cores" in s.surroundings]
    return {
        **run.record.names,
        "requests": len(turns),
        "window_tokens_per_second": _ratio(busy["tokens"].sum(), busy["seconds"].sum()),
        "makespan_seconds": float(known["seconds"].sum()) if len(known) else None,
        "makespan_tokens_per_second": _ratio(known["tokens"].sum(), known["seconds"].sum()),
        **_percentiles("ttft", [turn.prefill_seconds for turn in turns]),
        **_percentiles("tpot", [seconds / tokens for seconds, tokens in decoding if tokens > 0]),
        **_clocks(turns),
        "client_cores": statistics.median(cores) if cores else None,
        **(_acceptance(run) if drafts else {}),
    }


def _percentiles(name: str, seconds: Sequence[float]) -> Cells:
    if not seconds:
        return {}
    return {f"{name}_p{share}_seconds": float(np.percentile(seconds, share)) for share in (50, 95)}


def _clocks(turns: Sequence[Turn]) -> Cells:
    """Compare the engine's clock with the client's."""
    pairs = [(t.served.server_seconds["decode"], t.decode_seconds)
             for t in turns if t.served is not None and "decode" in t.served.server_seconds]  # fmt: skip
    if not pairs:
        return {}
    server, client = (sum(side) for side in zip(*pairs, strict=True))
    return {
        "server_decode_seconds": server,
        "client_decode_seconds": client,
        "server_over_client": _ratio(server, client),
    }


def _acceptance(run: Run) -> Cells:
    counts, _ = acceptance.told(run)
    decoded, steps, drafted, accepted = (sum(part) for part in zip(*counts, strict=True)) if counts else (0, 0, 0, 0)
    return {
        "acceptance_rate": _ratio(accepted, drafted),
        "acceptance_rate_per_request": _mean([c.accepted / c.drafted for c in counts if c.drafted]),
        "acceptance_length": _ratio(decoded, steps),
        "acceptance_length_per_request": _mean([c.decoded / c.steps for c in counts if c.steps]),
    }


def _ratio(some: float, whole: float) -> float | None:
    return float(some / whole) if whole else None


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
