"""Speedup: paired, a ratio of sums, and refused when conditions differ (see tests/results_folder.py)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import analysis_steps
import pandas as pd
import pytest
from refusals import refused
from results_folder import (
    CHAIN,
    CONDITIONS,
    GRID,
    PROMPTS,
    VANILLA,
    hashed,
    turn,
    write_all,
    write_prompts,
    write_run,
    write_verdicts,
)

from longspec.analysis import sample_tables, speedup_table, tables, timings
from longspec.analysis.speedup import compare
from longspec.analysis.speedup_row import columns
from longspec.cli import analyse
from longspec.core import run_record
from longspec.core.records import Prompt, Sample, to_line


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_all(tmp_path)


def row_of(results: Path) -> pd.Series:
    return table_of(results).iloc[0]


def table_of(results: Path) -> pd.DataFrame:
    analysis_steps.run(results, GRID, "metrics")
    return speedup_table.build(GRID, results, results)["speedup"]


def test_speedup_is_a_ratio_of_throughputs(results):
    row = row_of(results)
    assert row.samples_paired == 2
    assert row.speedup == pytest.approx((8 / 1.6) / (8 / 4))
    assert row.end_to_end_speedup == pytest.approx((11 / 3.8) / (11 / 6))


def test_outputs_are_identical_only_in_every_turn(results):
    row = row_of(results)
    assert (row.identical_outputs, row.first_divergence_position) == (1, 2)
    first, second = CHAIN[1].turns
    fixed = replace(first, output_ids=[1, 2, 3])
    write_run(results, "chain", [CHAIN[0], replace(CHAIN[1], turns=[fixed, replace(second, output_ids=[1, 2, 8])])])
    assert (row_of(results).identical_outputs, row_of(results).first_divergence_position) == (1, 5)
    write_run(results, "chain", [CHAIN[0], replace(CHAIN[1], turns=[fixed, second])])
    assert row_of(results).identical_outputs == 2
    assert pd.isna(row_of(results).first_divergence_position)


def test_an_output_that_only_ends_earlier_is_not_identical(results):
    shorter = replace(CHAIN[0], turns=[replace(CHAIN[0].turns[0], output_ids=[1, 2, 3, 4])])
    write_run(results, "chain", [shorter, CHAIN[1]])
    assert (row_of(results).identical_outputs, row_of(results).first_divergence_position) == (0, 2)


def test_samples_pair_by_id_and_repeat_whatever_their_order(results):
    def twice(samples: list[Sample]) -> list[Sample]:
        return [replace(sample, repeat=repeat) for repeat in (0, 1) for sample in samples]

    write_run(results, "vanilla", twice(VANILLA), repeats=2)
    write_run(results, "chain", twice(CHAIN)[::-1], repeats=2)
    row = row_of(results)
    assert (row.samples_paired, row.identical_outputs) == (4, 2)
    assert row.speedup == pytest.approx(2.5)


def test_only_pairs_present_in_both_count(results):
    timings = sample_tables.build(GRID, results)["timings"]
    mine, theirs = (timings[timings["method"] == name] for name in ("chain", "vanilla"))
    row = compare(mine, theirs[:1])
    # Sample a alone: 4 tokens in 1 s against 4 in 3 s.
    assert (row.samples_paired, row.identical_outputs) == (1, 1)
    assert pd.isna(row.first_divergence_position)
    assert row.speedup.value == pytest.approx(3.0)


def test_a_row_has_every_column_and_no_other(results):
    """But for the value of the simultaneous interval, which is the speedup itself."""
    analysis_steps.run(results, GRID, "metrics")
    timings, lossless = (tables.read(results / f"{name}.csv") for name in ("timings", "lossless"))
    records = {name: run_record.read(results / f"m/d/{name}/run.json") for name in GRID["methods"]}
    jobs = {name: timings[timings["method"] == name] for name in records}
    (row,) = speedup_table.cell(GRID, records, {"chain": lossless["verdict"][0]}, jobs)
    assert set(columns(row)) - {"simultaneous"} == set(speedup_table.COLUMNS)


def test_slower_samples_are_counted(results):
    assert row_of(results).samples_slower == 0
    slow = replace(CHAIN[1], turns=[replace(CHAIN[1].turns[0], decode_seconds=0.9), CHAIN[1].turns[1]])
    write_run(results, "chain", [CHAIN[0], slow])
    assert row_of(results).samples_slower == 1


@pytest.mark.parametrize("key", sorted(set(CONDITIONS) - {"repeats"}))
def test_a_differing_condition_is_refused_with_its_name_and_both_values(results, key):
    other = 9 if isinstance(CONDITIONS[key], int) else "other"
    write_run(results, "chain", CHAIN, **{key: other})
    with refused("m/d", (key, f"{other!r} for chain", f"{CONDITIONS[key]!r} for vanilla")):
        table_of(results)


def test_a_condition_that_only_one_side_has_is_refused(results):
    write_run(results, "chain", CHAIN, cuda_graphs=True)
    with refused("m/d", ("cuda_graphs", "True for chain", "None for vanilla")):
        table_of(results)


def test_other_counts_of_repeats_are_refused(results):
    write_run(results, "chain", [replace(s, repeat=r) for r in (0, 1) for s in CHAIN], repeats=2)
    with refused("m/d", ("repeats", "2 for chain", "1 for vanilla")):
        table_of(results)


def test_answers_of_one_token_have_no_speedup(results):
    for method in GRID["methods"]:
        write_run(results, method, [Sample(name, 0, [turn([7], [], 0.5, 0.0, 0.0)]) for name in "ab"])
    row = row_of(results)
    assert pd.isna(row.speedup)
    assert row.end_to_end_speedup == pytest.approx(1.0)


def test_the_stage_writes_the_agreed_columns_and_prints_them(results, capsys):
    table_of(results)
    analysis_steps.run(results, GRID, "speedup")
    header, row = (results / "speedup.csv").read_text().splitlines()
    assert header.startswith(
        "model,dataset,method,concurrency,samples_paired,speedup,end_to_end_speedup,identical_outputs"
    )
    assert row.startswith("m,d,chain,1,2,2.5,")
    assert "identical_outputs" in capsys.readouterr().out


def test_a_refused_speedup_writes_nothing(results):
    write_run(results, "chain", CHAIN, dtype="bfloat16")
    analysis_steps.run(results, GRID, "metrics")
    with refused("m/d", ("dtype", "'bfloat16' for chain")):
        analysis_steps.run(results, GRID, "speedup")
    assert not (results / "speedup.csv").exists()


def test_a_required_verdict_stops_the_run_and_names_the_job(results):
    arguments = ["speedup", "--grid", json.dumps(GRID), "--results", str(results), "--lossless", "require"]
    table_of(results)
    write_verdicts(results, "not lossless")
    with refused("lossless.csv", "m/d/chain", "lossless: require"):
        analyse.main(arguments)
    assert not (results / "speedup.csv").exists()
    for verdict in ("identical", "ties only", "same distribution"):
        write_verdicts(results, verdict)
        analyse.main(arguments)
        assert row_of(results).verdict == verdict


def test_failed_samples_are_in_no_figure(results):
    broken = replace(VANILLA[1].turns[0], output_ids=[], steps=[], decode_seconds=0.0, stop_reason="nonfinite")
    write_run(results, "chain", [CHAIN[0], replace(CHAIN[1], turns=[broken])])
    row = row_of(results)
    # Sample a alone: 4 tokens in 1 s against 4 in 3 s.
    assert (row.samples_paired, row.speedup) == (1, pytest.approx(3.0))


def with_times(samples: list[Sample], *seconds: float) -> list[Sample]:
    """Repeats of one sample: the first of `samples`, once a number of seconds."""
    first = samples[0].turns[0]
    return [replace(samples[0], repeat=r, turns=[replace(first, decode_seconds=s)]) for r, s in enumerate(seconds)]


def test_the_interval_is_over_samples_and_not_over_repeats(results):
    """Twice the same repeats say nothing new about other prompts."""
    once = row_of(results)
    assert once.speedup_low < once.speedup < once.speedup_high
    assert once.end_to_end_speedup_low < once.end_to_end_speedup < once.end_to_end_speedup_high

    def twice(samples: list[Sample]) -> list[Sample]:
        return [replace(sample, repeat=repeat) for repeat in (0, 1) for sample in samples]

    for method, samples in (("vanilla", VANILLA), ("chain", CHAIN)):
        write_run(results, method, twice(samples), repeats=2)
    row = row_of(results)
    assert (row.speedup_low, row.speedup_high) == pytest.approx((once.speedup_low, once.speedup_high))


def test_repeats_are_told_by_least_median_and_spread(results):
    write_prompts(results, ["a"])
    prompts_sha256 = hashed(PROMPTS[:1])
    for method, samples in (("vanilla", VANILLA), ("chain", CHAIN)):
        write_run(results, method, with_times(samples, 3.0, 2.0, 2.5), repeats=3, prompts_sha256=prompts_sha256)
    row_of(results)
    rows = tables.read(results / "repeats.csv")
    assert list(rows["method"]) == ["vanilla", "chain"]
    figures = rows[["repeats", "decode_seconds_least", "decode_seconds_median", "decode_seconds_spread"]]
    assert figures.iloc[0].tolist() == [3, 2.0, 2.5, pytest.approx(0.4)]


def test_without_repeats_there_is_nothing_to_tell(results):
    row_of(results)
    assert tables.read(results / "repeats.csv").empty


def test_equal_length_leaves_out_pairs_of_other_lengths(results):
    row = row_of(results)
    assert (row.equal_length_pairs, row.equal_length_speedup) == (2, pytest.approx(2.5))
    longer = replace(CHAIN[1], turns=[replace(CHAIN[1].turns[0], output_ids=[1, 2]), CHAIN[1].turns[1]])
    write_run(results, "chain", [CHAIN[0], longer])
    row = row_of(results)
    assert (row.equal_length_pairs, row.equal_length_speedup) == (1, pytest.approx(3.0))
    assert row.samples_paired == 2


def long_run(loops: int, factors: list[float]) -> list[Sample]:
    """A sample for each factor: 40 tokens in 4 s over the factor; the first `loops` of them repeat one token."""
    ids = [[7] * 40 if n < loops else list(range(40)) for n in range(len(factors))]
    return [
        Sample(f"s{n}", 0, [turn(ids[n], [(0, 0, 0)] * 39, 1.0, 0.0, 4 / factor)]) for n, factor in enumerate(factors)
    ]


@pytest.mark.parametrize(("quick", "differs"), [(4.0, 1), (1.5, 0)])
def test_looping_outputs_are_told_apart_and_a_difference_is_flagged(results, quick, differs):
    factors = [quick, quick * 1.1, quick * 0.9, 1.4, 1.5, 1.6]
    prompts = [Prompt(f"s{n}", ["hi"], [1], True) for n in range(6)]
    (results / "m" / "d" / "prompts.jsonl").write_text("".join(map(to_line, prompts)))
    write_run(results, "vanilla", long_run(3, [1.0] * 6), prompts_sha256=hashed(prompts))
    write_run(results, "chain", long_run(3, factors), prompts_sha256=hashed(prompts))
    row = row_of(results)
    assert (row.looping_pairs, row.looping_differs) == (3, differs)
    assert row.looping_speedup == pytest.approx(quick, rel=0.02)
    assert row.other_speedup == pytest.approx(1.5, rel=0.02)


def test_a_machine_that_slows_down_shows_as_drift(results):
    prompts = [Prompt(f"s{n}", ["hi"], [1], True) for n in range(6)]
    (results / "m" / "d" / "prompts.jsonl").write_text("".join(map(to_line, prompts)))
    write_run(results, "vanilla", long_run(0, [1, 1.01, 0.99, 0.5, 0.51, 0.49]), prompts_sha256=hashed(prompts))
    write_run(results, "chain", long_run(0, [1, 1.1, 0.9, 0.9, 1.1, 1]), prompts_sha256=hashed(prompts))
    row_of(results)
    rows = tables.read(results / "throughput.csv").set_index("method")
    assert rows["drift"]["vanilla"] == pytest.approx(2, rel=0.01)
    assert rows["drift_low"]["vanilla"] > 1.8
    assert rows["drift_low"]["chain"] < 1 < rows["drift_high"]["chain"]


def test_repeats_of_a_sample_do_not_make_a_drift_surer(results):
    """Two prompts a half, each run four times: the doubt is that of two prompts."""
    once = pd.DataFrame({"sample_id": list("abcd"), "decode_seconds": [1.0, 1.2, 1.4, 1.1], "verification_steps": 10})
    once["failed"] = 0
    halves = once[:2], once[2:]
    often = pd.concat([half for half in halves for _ in range(4)], ignore_index=True)
    assert timings.drift(often) == pytest.approx(timings.drift(once))
