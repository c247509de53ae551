"""The report says how the engine was held against transformers."""

from __future__ import annotations

import json

from results_folder import write_all
from test_report import render


def test_the_check_of_the_engine_stands_under_the_machine(tmp_path):
    """Once, however many runs have the same record; results without one show none."""
    results = write_all(tmp_path)
    assert "transformers 5.23" not in render(results)
    seconds = {"native": {"1": 0.0069, "8": 0.0135}, "packed": {"1": 0.0306, "8": 0.032}}
    record = {
        "engine": "native",
        "step_seconds": seconds,
        "transformers": "5.23.0",
        "max_difference": 3.1e-5,
        "distance": 2.2e-6,
        "bound": 2e-4,
    }
    for place in results.glob("m/d/*/run.json"):
        facts = json.loads(place.read_text(encoding="utf-8"))
        place.write_text(json.dumps({**facts, "engine_checks": {"target": record}}), encoding="utf-8")
    shown_text = render(results)
    assert shown_text.count("against transformers 5.23.0") == 1
    assert "3e-05" in shown_text
    assert "native 6.9 ms, packed 30.6 ms" in shown_text, "what the choice rests on"
