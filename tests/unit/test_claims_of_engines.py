"""Claims of a served engine: which engine and load, and what withholds them there."""

from __future__ import annotations

import pytest
from refusals import says
from results_folder import record
from test_claims import CLEAN, NAN, ROW, judged

from longspec.analysis import claims
from longspec.analysis.claim_thresholds import LEAST_WINDOWS
from longspec.analysis.verdict import NOT_INVARIANT

SERVED = record(sampling="greedy", server=["-b", "512"], concurrency=4, loop="an engine 1.2").conditions
LOADED = {"method": "fast@4", "baseline": "eng@4", "concurrency": 4, "windows_paired": LEAST_WINDOWS,
          "throughput_speedup": 1.41, "throughput_speedup_low": 1.31, "throughput_speedup_high": 1.51}  # fmt: skip


def test_a_loaded_engines_claim_says_which_how_many_and_what_the_operator_gains():
    claim = claims.judge({**ROW, **LOADED}, CLEAN, {}, SERVED)["claim"]
    assert says(claim, "an engine 1.2", "4 requests in flight", "1.41", "1.31", "1.51", LEAST_WINDOWS)
    assert "batch 1" not in claim
    alone = claims.judge({**ROW, "method": "fast", **{k: NAN for k in LOADED if "through" in k}}, CLEAN, {},
                         SERVED.model_copy(update={"concurrency": 1}))["claim"]  # fmt: skip
    assert says(alone, "1 request in flight")
    assert not says(alone, "windows")


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"windows_paired": LEAST_WINDOWS - 1}, "too few samples"), ({"verdict": NOT_INVARIANT}, NOT_INVARIANT)],
)
def test_a_loaded_engine_makes_no_claim_of_few_windows_nor_where_it_does_not_repeat_itself(changes, code):
    claim = judged(**{**LOADED, **changes})
    assert claim["claim"] is None
    assert claim["kind"] == "withheld"
    assert claim["reason_code"] == code
