"""Metrics and speedup against numbers worked out by hand; the report shows text as text; no torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from longspec.analysis import report, tables
from longspec.errors import UserError
from longspec.locations import STYLE, TEMPLATE
from longspec.records import SCHEMA_VERSION, Prompt, Sample, Turn, to_line
from longspec.stages import metrics, speedup

GRID = {"cells": {"m": ["d"]}, "methods": ["vanilla", "chain"], "baseline": "vanilla"}
CONDITIONS = {"prompts_sha256": "x", "dtype": "float32", "threads": 2, "repeats": 1, "sampling": "greedy"}


def turn(ids, steps, prefill, drafter, decode):
    return Turn(10, "h", ids, steps, prefill, drafter, decode, "limit")


def write(results, method, samples, **conditions):
    folder = results / "m" / "d" / method
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "samples.jsonl").write_text("".join(map(to_line, samples)))
    facts = {"schema_version": SCHEMA_VERSION, "conditions": {**CONDITIONS, **conditions}}
    facts |= {"peak_memory_bytes": 2**20, "started": "2026-01-01", "environment": {"device_name": "a <CPU>"}}
    (folder / "run.json").write_text(json.dumps(facts))


@pytest.fixture
def results(tmp_path):
    """Vanilla: 8 decoded tokens in 4 s. Chain: the same tokens in 1.6 s, one output of two differs."""
    prompts = [Prompt("a", ["hi"], [1], True), Prompt("b", ["<script>alert(1)</script>"], [1], True)]
    text = ["<script>alert(2)</script>"]
    vanilla = [
        Sample("a", 0, [turn([1, 2, 3, 4, 5], [(0, 0, 0)] * 4, 1.0, 0.0, 3.0)], text),
        Sample("b", 0, [turn([1, 2, 3], [(0, 0, 0)] * 2, 1.0, 0.0, 0.5), turn([1, 2, 3], [(0, 0, 0)] * 2, 0, 0, 0.5)]),
    ]
    chain = [
        Sample("a", 0, [turn([1, 2, 3, 4, 5], [(3, 3, 2), (3, 1, 0)], 1.0, 0.1, 1.0)], text),
        Sample("b", 0, [turn([1, 2, 9], [(3, 2, 1)], 1.0, 0.1, 0.3), turn([1, 2, 3], [(3, 2, 1)], 0, 0, 0.3)]),
    ]
    (tmp_path / "m/d").mkdir(parents=True)
    (tmp_path / "m/d/prompts.jsonl").write_text("".join(map(to_line, prompts)))
    write(tmp_path, "vanilla", vanilla)
    write(tmp_path, "chain", chain)
    return tmp_path


def test_throughput_is_a_ratio_of_sums(results):
    rows = metrics.build(GRID, results)["throughput"].set_index("method")
    assert rows.throughput_tokens_per_second["vanilla"] == pytest.approx(8 / 4)
    assert rows.throughput_tokens_per_second["chain"] == pytest.approx(8 / 1.6)
    assert rows.end_to_end_tokens_per_second["vanilla"] == pytest.approx(11 / 6)
    assert rows.end_to_end_tokens_per_second["chain"] == pytest.approx(11 / 3.8)


def test_acceptance(results):
    built = metrics.build(GRID, results)
    rows = built["acceptance"].set_index("method")
    assert rows.acceptance_rate["chain"] == pytest.approx(4 / 12)
    assert rows.acceptance_length["chain"] == pytest.approx(8 / 4)
    positions = built["acceptance_by_position"].set_index("position")
    assert positions.offered.to_dict() == {1: 4, 2: 3, 3: 1}
    assert positions.accepted.to_dict() == {1: 3, 2: 1, 3: 0}


def test_the_baselines_acceptance_is_empty_and_not_zero(results):
    tables.write(metrics.build(GRID, results)["acceptance"], results / "acceptance.csv")
    vanilla = (results / "acceptance.csv").read_text().splitlines()[1]
    assert vanilla == "m,d,vanilla,,,,,,"


def test_speedup_pairs_samples_and_counts_identical_outputs(results):
    row = speedup.build(GRID, results).iloc[0]
    assert row.samples_paired == 2
    assert row.speedup == pytest.approx((8 / 1.6) / (8 / 4))
    assert row.end_to_end_speedup == pytest.approx((11 / 3.8) / (11 / 6))
    assert row.identical_outputs == 1
    assert row.first_divergence_position == 2


@pytest.mark.parametrize(("key", "value"), [("dtype", "bfloat16"), ("threads", 1), ("prompts_sha256", "y")])
def test_other_conditions_are_refused_by_name(results, key, value):
    write(results, "chain", [], **{key: value})
    (results / "m/d/prompts.jsonl").write_text("")
    write(results, "vanilla", [])
    with pytest.raises(UserError, match=f"{key} is {value!r} in one and {CONDITIONS[key]!r} in the other"):
        speedup.build(GRID, results)


@pytest.mark.parametrize(("edit", "message"), [(lambda s: s[:1], "0 times"), (lambda s: s + s[:1], "2 times")])
def test_a_missing_or_doubled_sample_is_refused(results, edit, message):
    file = results / "m/d/chain/samples.jsonl"
    file.write_text("".join(edit(file.read_text().splitlines(keepends=True))))
    with pytest.raises(UserError, match=message):
        metrics.build(GRID, results)


def test_columns_keep_their_names_and_order(results):
    built = metrics.build(GRID, results)
    assert ",".join(built["timings"].columns).startswith(
        "model,dataset,method,sample_id,repeat,prompt_tokens,output_tokens,verification_steps,drafted_tokens,"
        "accepted_tokens,prefill_seconds,drafter_prefill_seconds,decode_seconds,stop_reason"
    )
    assert ",".join(built["throughput"].columns).startswith(
        "model,dataset,method,samples,output_tokens,decode_seconds,throughput_tokens_per_second,"
        "end_to_end_tokens_per_second,peak_memory_bytes"
    )
    assert ",".join(built["acceptance"].columns).startswith(
        "model,dataset,method,drafted_tokens,accepted_tokens,acceptance_rate,acceptance_length,verification_steps"
    )
    assert ",".join(speedup.build(GRID, results).columns).startswith(
        "model,dataset,method,samples_paired,speedup,end_to_end_speedup,identical_outputs"
    )


@pytest.fixture
def page(results):
    for name, table in metrics.build(GRID, results).items():
        tables.write(table, results / f"{name}.csv")
    tables.write(speedup.build(GRID, results), results / "speedup.csv")
    return report.render(GRID, {"methods": {"chain": {}}}, results, TEMPLATE, STYLE)


def test_the_report_needs_no_network_and_runs_no_text(page):
    assert "<script>" not in page
    assert "&lt;script&gt;alert(2)" in page
    assert "a &lt;CPU&gt;" in page
    assert not re.findall(r'(?:src|href)="(?!#|data:,)[^"]+"', page.replace('xlink:href="#', 'href="#'))
    assert page.count("<svg") == 3


def test_ids_and_links_of_the_report_agree(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_the_same_results_give_the_same_bytes(results, page):
    assert page == report.render(GRID, {"methods": {"chain": {}}}, results, TEMPLATE, STYLE)


def test_analysis_imports_no_torch():
    code = (
        "import sys, longspec.stages.metrics, longspec.stages.speedup, longspec.stages.report, longspec.planning;"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    workflow = str(Path(__file__).parents[2] / "workflow")
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": workflow}, check=False).returncode == 0
