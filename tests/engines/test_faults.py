"""A served engine that fails is a failed sample like any other: marked, with its cause, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from stage import Stage

from longspec.core import registry

STAND_IN = f"{sys.executable} {Path(__file__).parents[1] / 'stand_in_server.py'}"
VANILLA = {"method": "vanilla"}


def staged(place: Path, count: int = 5, concurrency: int = 1, speculation=None, **environment: str) -> Stage:
    """A job of the stand-in server on prompts of different lengths."""
    given = {
        "method": "llamacpp",
        "program": STAND_IN,
        "gguf": "model/config.json",  # any file: the stand-in does not read it
        "speculation": speculation,
        "environment": {"STAND_IN_MODEL": "model", "STAND_IN_ONCE": str(place / "once"), **environment},
    }
    defaults = {name: schema["default"] for name, schema in registry.options("served", "llamacpp").items()}
    stage = Stage(place, [5 + n for n in range(count)], {**defaults, **given})
    stage.spec |= {"concurrency": concurrency}
    return stage


def servers(place: Path) -> list[psutil.Process]:
    """The processes of a job's servers that live: those that know its folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("STAND_IN_ONCE", "").startswith(str(place)):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def vanilla_ids(tmp_path_factory):
    """What our own loop answers to the same prompts."""
    stage = Stage(tmp_path_factory.mktemp("vanilla"), [5 + n for n in range(5)], VANILLA)
    code, text = stage.run()
    assert code == 0, text
    return [sample.turns[0].output_ids for sample in stage.samples]


DRAFTING = {"spec-type": "ngram-simple", "spec-draft-n-max": 3}
SLOW = pytest.mark.slow  # each starts two or three processes that import torch


@pytest.mark.parametrize(
    ("concurrency", "speculation"),
    [
        (1, None),
        (2, DRAFTING),
        pytest.param(1, DRAFTING, marks=SLOW),
        pytest.param(2, None, marks=SLOW),
    ],
)
def test_answers_are_the_models_and_their_record_is_whole(tmp_path, vanilla_ids, concurrency, speculation):
    stage = staged(tmp_path, concurrency=concurrency, speculation=speculation)
    code, text = stage.run()
    assert code == 0, text
    assert [s.turns[0].output_ids for s in stage.samples] == vanilla_ids
    for turn in (sample.turns[0] for sample in stage.samples):
        served = turn.served
        assert sum(served.chunk_tokens) == len(turn.output_ids)
        assert turn.decode_seconds == pytest.approx(served.chunk_seconds[-1] - served.chunk_seconds[0])
        if turn.counts is not None:
            steps, drafted, accepted = turn.counts
            assert steps + accepted == len(turn.output_ids) - turn.prefill_tokens
            assert drafted >= accepted
    drafted = sum(turn.counts[1] for s in stage.samples for turn in s.turns if turn.counts)
    assert (drafted > 0) == (speculation is not None)
    (piece,) = stage.facts["pieces"]
    assert "--port" in piece["server_command"]
    assert stage.facts["conditions"]["concurrency"] == concurrency
    assert not {"--spec-type", "--port"} & set(stage.facts["conditions"]["server"])
    assert all("client_cores" in sample.surroundings for sample in stage.samples)
    assert (stage.job / "server-m.log").exists()
    assert not servers(tmp_path)


FAULTS = {
    "dies": ("server_error", 2),  # another server is started
    "500": ("server_error", 1),
    "counts": ("server_error", 1),
    "hangs": ("timeout", 2),
}


@pytest.mark.parametrize(
    ("fault", "concurrency"),
    [
        ("dies", 3),
        ("500", 1),
        *(pytest.param(*one, marks=SLOW) for one in (("dies", 1), ("500", 3), ("counts", 1), ("counts", 3))),
        *(pytest.param("hangs", load, marks=SLOW) for load in (1, 3)),
    ],
)
def test_a_fault_is_one_samples_and_the_others_are_measured(tmp_path, vanilla_ids, fault, concurrency):
    """The third question of its life: the warm-up is the first."""
    cause, pieces = FAULTS[fault]
    stage = staged(tmp_path, concurrency=concurrency, STAND_IN_FAULT=f"{fault}@3")
    code, text = stage.run("--timeout", "4")
    assert code == 0, text
    reasons = [sample.turns[0].stop_reason for sample in stage.samples]
    assert reasons.count(cause) == 1, reasons
    assert len(stage.facts["pieces"]) == pieces
    (failure,) = stage.facts["failures"]
    assert failure["cause"] == cause
    for sample, expected in zip(stage.samples, vanilla_ids, strict=True):
        assert sample.lost or sample.turns[0].output_ids == expected
    assert not servers(tmp_path)


def test_told_to_stop_it_stops_with_the_cause(tmp_path):
    stage = staged(tmp_path, STAND_IN_FAULT="500@3")
    code, text = stage.run("--on-error", "stop")
    assert code == 2
    assert "error: sample 's1'" in text
    assert "500" in text
    assert "Traceback" not in text
    assert stage.kept.count("\n") == 1
    assert not servers(tmp_path)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("refuses", ("server-m.log", "no such model")), ("cached@1", ("1 tokens of a prompt came from a cache",))],
    ids=["a_server_that_does_not_start", "a_warm_cache_of_prompts"],
)
def test_what_holds_for_every_sample_ends_the_job_in_one_line(tmp_path, fault, words):
    stage = staged(tmp_path, STAND_IN_FAULT=fault)
    code, text = stage.run()
    assert code == 2, text
    (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    for word in words:
        assert word in line
    assert "Traceback" not in text
    assert not servers(tmp_path)


@pytest.mark.parametrize("victim", ["worker", *(pytest.param(one, marks=SLOW) for one in ("job", "guard"))])
def test_a_killed_job_leaves_no_server_behind_and_goes_on_where_it_was(tmp_path, vanilla_ids, victim):
    stage = staged(tmp_path, STAND_IN_FAULT="hangs@4")
    process = stage.start("--timeout", "0" if victim == "job" else "20")
    until = time.monotonic() + 60
    while not (tmp_path / "once").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    (guard,) = [p for p in servers(tmp_path) if "longspec.core.guard" in p.cmdline()]
    {"job": process, "worker": guard.parent(), "guard": guard}[victim].send_signal(signal.SIGKILL)
    if victim == "job":
        process.communicate(timeout=60)
        _, alive = psutil.wait_procs(servers(tmp_path), 20)
        assert not alive
        process = stage.start()
    assert process.wait(120) == 0, process.communicate()
    assert [s.turns[0].output_ids for s in stage.samples if not s.lost] == [
        ids for ids, sample in zip(vanilla_ids, stage.samples, strict=True) if not sample.lost
    ]
    assert sum(sample.lost for sample in stage.samples) == (victim == "guard")
    assert not servers(tmp_path)
    assert os.path.exists(stage.job / "run.json")
