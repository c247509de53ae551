"""A sample that fails is recorded with its cause, and the job continues or stops as configured."""

from __future__ import annotations

import lost_at_once
import pytest
import torch
from stage import Stage

from longspec.core.errors import UserError
from longspec.core.records import Prompt
from longspec.measure import worker
from longspec.measure.entries import Start
from longspec.measure.job import Job
from longspec.measure.journal import Outputs
from longspec.measure.supervisor import DEATHS_IN_A_ROW, Supervisor


def reasons(stage: Stage) -> list[str]:
    return [sample.turns[-1].stop_reason for sample in stage.samples]


SOME = [5, 31, 6, 32, 7, 36, 8, 9, 33]
"""Prompts of which the last is that of a worker which is killed twice: nothing is left to start another for.
The warm-up is as long as the median, which must be no fault."""
ALL = [5, 31, 6, 32, 7, 34, 8, 33, 9, 35, 36, 39, 10, 11, 12]
LOST = {31: "timeout", 32: "out_of_memory", 34: "device_error", 33: "killed", 39: "device_error"}


def test_an_id_past_the_embeddings_is_a_samples_failure_and_a_bug_is_none():
    """Also on a CPU, where torch raises an IndexError; on a GPU the device reports it."""
    with pytest.raises(IndexError) as past:
        torch.nn.Embedding(2, 2)(torch.tensor([2]))
    assert worker.cause(past.value) == "device_error"
    assert worker.cause(ZeroDivisionError()) is None


@pytest.mark.parametrize(
    ("lengths", "starts"),
    [(SOME, [0, 2, 4, 8]), pytest.param(ALL, [0, 2, 4, 6, 7, 8, 9, 12], marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_every_failure_is_recorded_with_its_cause_and_the_others_are_measured(tmp_path, lengths, starts):
    stage = Stage(tmp_path, lengths)
    code, text = stage.run("--timeout", "3")
    assert code == 0, text
    lost = [LOST[length] for length in lengths if length in LOST]
    for length, reason in zip(stage.lengths, reasons(stage), strict=True):
        expected = [LOST[length]] if length in LOST else ["nonfinite"] if length == 36 else ["limit", "eos"]
        assert reason in expected, length
    assert [sample.sample_id for sample in stage.samples] == [f"s{n}" for n in range(len(lengths))]
    assert [failure["cause"] for failure in stage.facts["failures"]] == lost
    assert "1 PiB" in stage.facts["failures"][1]["message"]
    for sample in stage.samples:
        assert sample.lost == (not sample.turns[0].output_ids), sample
        assert sample.lost == (sample.turns[0].prefill_seconds == 0)
    assert [piece["first_sample"] for piece in stage.facts["pieces"]] == starts
    assert all(piece["warmup_samples"] and piece["host"] for piece in stage.facts["pieces"])


PLANTED = "hf_abcdefghijklmnop"


def test_told_to_stop_it_stops_without_a_secret_of_a_library_and_the_next_run_tries_that_sample_again(tmp_path):
    stage = Stage(tmp_path, [5, 32, 6])
    drafter = tmp_path / "workflow/longspec/drafters/faulty.py"
    drafter.write_text(drafter.read_text().replace("1 PiB", f"https://u:{PLANTED}@host/"))
    code, text = stage.run("--on-error", "stop", HF_TOKEN=PLANTED)
    assert code == 2
    (refused,) = [line for line in text.splitlines() if line.startswith("error: ")]
    assert "s1" in refused
    assert "out_of_memory" in refused
    assert "[HF_TOKEN]" in refused
    assert "Traceback" not in text
    assert not (stage.job / "samples.jsonl").exists()
    assert stage.kept.count("\n") == 1
    assert "out_of_memory" in (stage.job / "generate.log").read_text().splitlines()[-1]
    code, more = stage.run("--on-error", "continue", HF_TOKEN=PLANTED)
    assert code == 0, more
    assert reasons(stage)[1] == "out_of_memory"
    assert [piece["first_sample"] for piece in stage.facts["pieces"]] == [0, 1, 2]
    assert PLANTED not in text + more
    for file in tmp_path.rglob("*.*"):
        if file.is_file() and file != drafter:
            assert PLANTED.encode() not in file.read_bytes(), file


def test_a_bug_keeps_its_traceback_and_what_is_finished(tmp_path):
    stage = Stage(tmp_path, [5, 37, 6, 7])
    code, text = stage.run()
    assert code == 1
    assert "ZeroDivisionError: a bug" in text
    assert stage.kept.count("\n") == 1


@pytest.fixture
def waiting(tmp_path, monkeypatch):
    """A supervisor of a job of nine samples, the first of which is to come, with a worker that always fails at once."""
    monkeypatch.chdir(tmp_path)
    prompts = [Prompt(f"s{n}", ["x"], [3], False) for n in range(9)]
    specs = [{"method": {"name": "m"}, "repeats": 1, "seed": 0}]
    outputs = [Outputs(tmp_path / "samples.jsonl", tmp_path / "run.json")]
    job = Job(specs, outputs, prompts, [], tmp_path / "generate.log")
    job.journal().begin({"m": Start({}, {})})
    return Supervisor(job, lost_at_once.work)


def test_processes_that_all_lose_the_device_are_given_up(waiting, tmp_path):
    """By a worker that says so at once and imports nothing."""
    with pytest.raises(UserError) as refused:
        waiting.run()
    assert "device_error" in str(refused.value)
    assert (tmp_path / "started").read_text() == "x" * DEATHS_IN_A_ROW
    assert waiting.job.journal().done == DEATHS_IN_A_ROW - 1, "the last is left to the next run"


@pytest.mark.slow
def test_a_device_that_is_lost_for_good_stops_the_job(tmp_path):
    stage = Stage(tmp_path, [*[34] * DEATHS_IN_A_ROW, 5, 6, 7, 8, 9])
    code, text = stage.run()
    assert code == 2
    assert "device_error" in text
    assert "Traceback" not in text
    assert not (stage.job / "samples.jsonl").exists()
