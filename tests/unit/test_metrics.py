"""Timings, throughput and acceptance against figures worked out by hand (see tests/results_folder.py)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import analysis_steps
import pandas as pd
import pytest
from refusals import refused
from results_folder import CHAIN, GRID, VANILLA, turn, write_all, write_prompts, write_run

from longspec.analysis import sample_tables, tables
from longspec.core.records import Sample, line_sha256, prompts_sha256

FILES = tuple(f"{name}.csv" for name in tables.OF_SAMPLES)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_all(tmp_path)


def run(results: Path, grid: dict = GRID) -> None:
    analysis_steps.run(results, grid, "metrics")


def test_a_row_of_timings_is_the_sum_over_turns(results):
    rows = sample_tables.build(GRID, results)["timings"].set_index(["method", "sample_id"])
    row = rows.loc[("chain", "b")]
    assert (row["repeat"], row.prompt_tokens, row.output_tokens, row.turns) == (0, 20, 6, 2)
    assert (row.verification_steps, row.drafted_tokens, row.accepted_tokens) == (2, 6, 2)
    assert (row.prefill_seconds, row.drafter_prefill_seconds, row.decode_seconds) == (1.0, 0.1, 0.6)
    assert row.stop_reason == "limit+limit"


def test_throughput_is_a_ratio_of_sums_without_the_first_token_of_each_turn(results):
    rows = sample_tables.build(GRID, results)["throughput"].set_index("method")
    assert rows.throughput_tokens_per_second["vanilla"] == pytest.approx(8 / 4)
    assert rows.throughput_tokens_per_second["chain"] == pytest.approx(8 / 1.6)
    assert rows.end_to_end_tokens_per_second["vanilla"] == pytest.approx(11 / 6)
    assert rows.end_to_end_tokens_per_second["chain"] == pytest.approx(11 / 3.8)


def test_acceptance(results):
    built = sample_tables.build(GRID, results)
    row = built["acceptance"].set_index("method").loc["chain"]
    assert (row.drafted_tokens, row.accepted_tokens, row.verification_steps) == (12, 4, 4)
    assert row.acceptance_rate == pytest.approx(4 / 12)
    assert row.acceptance_length == pytest.approx(8 / 4)


def test_acceptance_by_position_counts_only_steps_that_had_a_draft_to_check_there(results):
    rows = sample_tables.build(GRID, results)["acceptance_by_position"]
    assert set(rows.method) == {"chain"}
    assert rows.position.tolist() == [1, 2, 3]
    assert rows.offered.tolist() == [4, 3, 1]
    assert rows.accepted.tolist() == [3, 1, 0]
    assert rows.acceptance_rate.tolist() == pytest.approx([3 / 4, 1 / 3, 0])


def test_without_a_drafter_acceptance_is_empty_and_not_zero(results):
    write_run(results, "again", VANILLA)
    run(results, {**GRID, "methods": ["vanilla", "chain", "again"]})
    lines = (results / "acceptance.csv").read_text().splitlines()
    assert [lines[1], lines[3]] == ["m,d,vanilla,1,,,,,,,,,", "m,d,again,1,,,,,,,,,"]
    assert lines[2].startswith("m,d,chain,1,12,4,0.333")


def test_a_drafter_that_never_drafted_counts_zero_and_has_no_rate(results):
    idle = [replace(s, turns=[replace(t, steps=[(0, 0, 0)] * len(t.steps)) for t in s.turns]) for s in CHAIN]
    write_run(results, "chain", idle)
    row = sample_tables.build(GRID, results)["acceptance"].iloc[1]
    assert row.drafted_tokens == 0
    assert pd.isna(row.acceptance_rate)
    assert sample_tables.build(GRID, results)["acceptance_by_position"].empty


def test_answers_of_one_token_have_no_throughput_and_do_not_divide_by_zero(results):
    one = [Sample(name, 0, [turn([7], [], 0.5, 0.0, 0.0)]) for name in "ab"]
    write_run(results, "chain", one)
    row = sample_tables.build(GRID, results)["throughput"].iloc[1]
    assert pd.isna(row.throughput_tokens_per_second)
    assert row.end_to_end_tokens_per_second == pytest.approx(2 / 1)
    run(results)
    assert "m,d,chain,1,2,2,0.0,,2.0," in (results / "throughput.csv").read_text()


def test_a_decode_too_short_for_the_clock_has_no_throughput(results):
    write_run(results, "chain", [Sample(name, 0, [turn([7, 8], [(1, 1, 1)], 0.5, 0.0, 0.0)]) for name in "ab"])
    assert pd.isna(sample_tables.build(GRID, results)["throughput"].iloc[1].throughput_tokens_per_second)


def test_no_samples_at_all_give_empty_cells(results):
    write_prompts(results, [])
    for method in GRID["methods"]:
        write_run(results, method, [], prompts_sha256=prompts_sha256([]))
    run(results)
    assert (results / "throughput.csv").read_text().splitlines()[1].startswith("m,d,vanilla,1,0,0,0.0,,,")


@pytest.mark.parametrize(
    ("edit", "found"), [(lambda s: s[:1], ("'b'", "0 times")), (lambda s: s + s[:1], ("'a'", "2 times"))]
)
def test_a_missing_or_doubled_sample_is_refused_and_nothing_is_written(results, edit, found):
    write_run(results, "chain", edit(CHAIN))
    with refused("m/d/chain/samples.jsonl", found, (1, "prompts.jsonl")):
        run(results)
    assert not any((results / name).exists() for name in FILES)


def test_turns_that_got_no_answer_are_counted(results):
    write_run(results, "chain", [CHAIN[0], replace(CHAIN[1], turns=CHAIN[1].turns[:1])])
    built = sample_tables.build(GRID, results)
    assert list(built["throughput"].unanswered_turns) == [0, 1]
    assert list(built["timings"].unanswered_turns) == [0, 0, 0, 1]


@pytest.mark.parametrize(("key", "place"), [("model", "m"), ("dataset", "d"), ("method", "chain")])
def test_a_run_that_belongs_to_another_folder_is_refused(results, key, place):
    file = results / "m" / "d" / "chain" / "run.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({**facts, key: "elsewhere"}))
    with refused("m/d/chain/run.json", (key, "'elsewhere'"), f"'{place}'"):
        sample_tables.build(GRID, results)


def test_a_run_on_other_prompts_than_those_beside_it_is_refused(results):
    write_run(results, "chain", CHAIN, prompts_sha256="of others")
    with refused("m/d/chain/run.json", ("of others", results / "m" / "d" / "prompts.jsonl")):
        sample_tables.build(GRID, results)


@pytest.mark.parametrize("name", ["run.json", "samples.jsonl"])
def test_another_schema_version_is_refused(results, name):
    file = results / "m" / "d" / "chain" / name
    file.write_text(file.read_text().replace('"schema_version": 7', '"schema_version": 99'))
    with refused(f"m/d/chain/{name}{', line 1' if name == 'samples.jsonl' else ''}", ("schema_version", 99), 7):
        sample_tables.build(GRID, results)


def test_columns_keep_their_names_and_order(results):
    run(results)
    starts = {
        "timings.csv": "model,dataset,method,concurrency,"
        "sample_id,repeat,prompt_tokens,output_tokens,verification_steps,"
        "drafted_tokens,accepted_tokens,prefill_seconds,drafter_prefill_seconds,decode_seconds,stop_reason",
        "throughput.csv": "model,dataset,method,concurrency,"
        "samples,output_tokens,decode_seconds,throughput_tokens_per_second,"
        "end_to_end_tokens_per_second,peak_memory_bytes",
        "acceptance.csv": "model,dataset,method,concurrency,"
        "drafted_tokens,accepted_tokens,acceptance_rate,acceptance_length,"
        "verification_steps",
        "acceptance_by_position.csv": "model,dataset,method,concurrency,position,offered,accepted,acceptance_rate",
    }
    for name, start in starts.items():
        assert (results / name).read_text().startswith(start), name


def test_tables_read_back_exactly_and_are_the_same_bytes_each_time(results):
    run(results)
    first = {name: (results / name).read_bytes() for name in FILES}
    built = sample_tables.build(GRID, results)["timings"]
    assert tables.read(results / "timings.csv").decode_seconds.tolist() == built.decode_seconds.tolist()
    run(results)
    assert {name: (results / name).read_bytes() for name in FILES} == first


def test_the_stage_prints_its_tables(results, capsys):
    run(results)
    printed = capsys.readouterr().out
    assert "throughput_tokens_per_second" in printed
    assert "acceptance_length" in printed


def test_acceptance_four_ways(results):
    row = sample_tables.build(GRID, results)["acceptance"].set_index("method").loc["chain"]
    # 4 accepted of 12 drafted; 8 tokens in 4 steps; some step had 3 positions to check.
    assert (row.acceptance_rate, row.acceptance_length) == (pytest.approx(1 / 3), 2)
    assert (row.depth, row.accepted_per_depth) == (3, pytest.approx(4 / 12))


def test_acceptance_along_a_text(results):
    """Steps that began after 1, 4, ... and 15, 17 tokens of a text of 20 fall into the bins below 16 and 32."""
    steps = [(3, 3, 2), (3, 3, 3), (3, 2, 1), (3, 3, 3), (3, 2, 1), (3, 3, 3)]
    long = Sample("a", 0, [turn(list(range(20)), steps, 1, 0, 1)])
    write_run(results, "chain", [long, CHAIN[1]])
    rows = sample_tables.build(GRID, results)["acceptance_curves"].set_index(["axis", "at_least"])
    first, second = rows.loc[("output_position", 0)], rows.loc[("output_position", 16)]
    # Steps of the long text begin at 1, 4, 8, 10, 14, 16; the last gives 4. Sample b adds two steps of two tokens.
    assert (first.verification_steps, first.decoded_tokens, first.below) == (7, 15 + 4, 16)
    assert (second.verification_steps, second.decoded_tokens, second.acceptance_length) == (1, 4, 4)
    assert rows.loc[("context_tokens", 0)].verification_steps == 8
    assert rows.loc["output_position"].decoded_tokens.sum() == rows.loc["context_tokens"].decoded_tokens.sum() == 23


def test_a_stop_id_that_was_drafted_has_no_bonus_token_behind_it(results):
    write_run(results, "chain", [Sample(n, 0, [turn([1, 2, 3], [(3, 2, 2)], 1, 0, 1)]) for n in "ab"])
    built = sample_tables.build(GRID, results)
    assert built["acceptance"].set_index("method").loc["chain"].acceptance_length == 2
    assert list(built["acceptance_curves"].decoded_tokens) == [4, 4]


def test_a_rows_hash_is_that_of_its_line(results):
    lines = (results / "m" / "d" / "chain" / "samples.jsonl").read_text().splitlines()
    rows = sample_tables.build(GRID, results)["timings"]
    assert list(rows[rows.method == "chain"].line_sha256) == [line_sha256(line.encode()) for line in lines]


@pytest.mark.parametrize(
    ("key", "value"),
    [("prompt_tokens", -1), ("prompt_tokens", 10**30), ("decode_seconds", -0.5), ("steps", [[65_537, 0, 0]]),
     ("output_ids", [-1]), ("prefill_seconds", "1"), ("prefill_tokens", 1.5)],
)  # fmt: skip
def test_a_number_that_cannot_be_is_refused_by_name(results, key, value):
    file = results / "m" / "d" / "chain" / "samples.jsonl"
    first, *rest = file.read_text().splitlines(keepends=True)
    row = json.loads(first)
    row["turns"][0][key] = value
    file.write_text("".join([json.dumps(row) + "\n", *rest]))
    with refused("m/d/chain/samples.jsonl, line 1", ("Sample", f"turns.0.{key}")):
        sample_tables.build(GRID, results)
