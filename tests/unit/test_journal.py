"""The journal: each line is complete or absent, it is verified before it is continued, and one process writes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from refusals import refused

from longspec.core.records import Prompt, Sample, Turn, read_records, to_line
from longspec.measure import journal as journals
from longspec.measure import lock as locks
from longspec.measure import order
from longspec.measure.entries import Start
from longspec.measure.journal import NAME, Journal, Outputs
from longspec.measure.lock import hold_lock

PROMPTS = [Prompt(f"s{n}", ["é"], [1, 2], False) for n in range(3)]
LINES = order.lines(["m"], PROMPTS, 2, 0)
CONDITIONS = {"dtype": "float32", "prompts_sha256": "h", "repeats": 2, "seed": 0, "verification": "keyed"}
FACTS = {"model": "m", "dataset": "d", "method": "m", "spec": {"method": {"method": "vanilla"}}}
PIECE = {
    "started": "now",
    "host": "here",
    "load_seconds": 1.0,
    "warmup_samples": [],
    "environment": {},
    "engine_note": None,
    "engine_checks": None,
}


def sample(number: int) -> Sample:
    _, repeat, prompt = LINES[number]
    return Sample(prompt.sample_id, repeat, [Turn(2, "h", [5, 6], [(0, 0, 0)], 0.1, 0.0, 0.2, "limit")], ["é"])


def opened(folder: Path, key: str = "k") -> Journal:
    outputs = {"m": Outputs(folder / "samples.jsonl", folder / "run.json")}
    return Journal(folder / NAME, key, outputs, LINES)


def written(folder: Path, lines: int, conditions: dict = CONDITIONS) -> Journal:
    journal = opened(folder)
    journal.begin({"m": Start(conditions, PIECE)})
    for number in range(journal.done, lines):
        journal.append(sample(number))
    return journal


def test_a_finished_journal_is_the_outputs_and_once_these_are_noted_nothing_else(tmp_path):
    journal = written(tmp_path, 6)
    assert not (tmp_path / "samples.jsonl").exists()
    journal.finish({"m": FACTS})
    assert read_records(tmp_path / "samples.jsonl", Sample) == [sample(n) for n in range(6)]
    journals.tidy(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"samples.jsonl", "run.json"}


@pytest.mark.parametrize("gone", [["samples.jsonl"], ["run.json"], ["samples.jsonl", "run.json"]])
def test_outputs_that_snakemake_deletes_again_are_made_again_as_they_were(tmp_path, gone):
    """As when it was killed before it noted the job, or the job was ended in its last moment."""
    written(tmp_path, 6).finish({"m": FACTS})
    before = [(tmp_path / name).read_bytes() for name in ("samples.jsonl", "run.json")]
    for name in gone:
        (tmp_path / name).unlink()
    journals.tidy(tmp_path)
    journal = opened(tmp_path)
    assert journal.complete
    journal.finish({"m": FACTS})
    assert [(tmp_path / name).read_bytes() for name in ("samples.jsonl", "run.json")] == before


def test_a_journal_of_other_samples_than_the_outputs_is_not_tidied_away(tmp_path):
    written(tmp_path, 6).finish({"m": FACTS})
    opened(tmp_path, "another spec").begin({"m": Start(CONDITIONS, PIECE)})
    journals.tidy(tmp_path)
    assert (tmp_path / NAME).exists()


def test_a_line_torn_anywhere_is_dropped_and_no_other(tmp_path):
    """Every length that a killed write can leave."""
    whole = written(tmp_path, 2).path.read_bytes()
    begun, first, _ = whole.splitlines(keepends=True)
    ends = [len(begun), len(begun) + len(first), len(whole)]
    for length in range(len(whole) + 1):
        (tmp_path / NAME).write_bytes(whole[:length])
        journal = opened(tmp_path)
        assert journal.done == (length >= ends[1]) + (length == ends[2])
        if length >= ends[0]:
            assert journal.path.read_bytes() == whole[: ends[journal.done]]
        journal.begin({"m": Start(CONDITIONS, PIECE)})
        assert opened(tmp_path).done == journal.done


@pytest.mark.parametrize(
    ("damage", "line", "found", "expected"),
    [
        (lambda lines: [lines[0], b"{oops", lines[2]], 2, "JSON", ()),
        (lambda lines: [lines[0], lines[2]], 2, "repeat 0 of 's2'", "repeat 0 of 's1'"),
        (lambda lines: [lines[0], lines[0]], 2, "repeat 0 of 's0'", "repeat 0 of 's1'"),
        (lambda lines: [b"", *lines], 1, "JSON", ()),
        (lambda lines: [lines[0].replace(b'"output_ids"', b'"ids"')], 1, "sample.turns.0.output_ids", ()),
        (lambda lines: [lines[0].replace(b'"schema_version": 7', b'"schema_version": 1')], 1, ("schema_version", 1), 7),
        (lambda lines: [b"\xff"], 1, (), ()),
        (lambda lines: [*lines, *lines, lines[0]], 4, "repeat 0 of 's0'", "repeat 1 of 's0'"),
    ],
)
def test_other_damage_is_an_error_that_names_the_line(tmp_path, damage, line, found, expected):
    journal = written(tmp_path, 3)
    begun, *lines = journal.path.read_bytes().splitlines()
    journal.path.write_bytes(b"".join(line + b"\n" for line in [begun, *damage(lines)]))
    with refused(f"{NAME}, line {line + 1}", found, expected):
        opened(tmp_path)


@pytest.mark.parametrize("first", [b"{oops", b"\xff"])
def test_so_is_a_damaged_first_line(tmp_path, first):
    journal = written(tmp_path, 3)
    _, *lines = journal.path.read_bytes().splitlines()
    journal.path.write_bytes(b"".join(line + b"\n" for line in [first, *lines]))
    with refused(f"{NAME}, line 1"):
        opened(tmp_path)


def test_a_restarted_job_goes_on_and_tells_its_pieces(tmp_path):
    written(tmp_path, 2)
    written(tmp_path, 2)  # this one ended before it had a sample
    written(tmp_path, 6).finish({"m": FACTS})
    facts = json.loads((tmp_path / "run.json").read_text())
    assert [piece["first_sample"] for piece in facts["pieces"]] == [0, 2]


def test_what_was_made_from_something_else_is_not_built_upon(tmp_path):
    written(tmp_path, 2)
    other = opened(tmp_path, "another spec")
    assert other.done == 0
    other.begin({"m": Start(CONDITIONS, PIECE)})
    assert opened(tmp_path).done == 0


def test_nor_what_was_made_under_other_conditions(tmp_path):
    written(tmp_path, 2)
    journal = written(tmp_path, 0, {"dtype": "bfloat16"})
    assert journal.done == 0
    assert len(journal.state.pieces) == len(opened(tmp_path).state.pieces) == 1


def test_killed_between_the_two_outputs_nothing_is_lost(tmp_path):
    journal = written(tmp_path, 6)
    (tmp_path / "samples.jsonl").mkdir()
    with pytest.raises(OSError, match=r"samples\.jsonl"):
        journal.finish({"m": FACTS})
    (tmp_path / "samples.jsonl").rmdir()
    (tmp_path / "run.json").unlink()  # as Snakemake does with incomplete outputs
    opened(tmp_path).finish({"m": FACTS})
    assert len(read_records(tmp_path / "samples.jsonl", Sample)) == 6


HOLD = "import sys, time; from pathlib import Path; from longspec.measure.lock import hold_lock\n"
HOLD += "with hold_lock(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(100)"


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    package = str(Path(journals.__file__).parents[2])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": package})
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_writer_is_told_who_the_first_is(tmp_path, holder):
    with refused("lock", (f"process {holder.pid}", locks.socket.gethostname())), hold_lock(tmp_path / "lock"):
        pass


def test_a_dead_owner_is_taken_over_at_once(tmp_path, holder):
    holder.kill()
    holder.wait()
    started = time.monotonic()
    with hold_lock(tmp_path / "lock"):
        assert time.monotonic() - started < 1


def test_an_owner_on_another_host_is_believed_while_it_gives_signs_of_life(tmp_path, holder, monkeypatch):
    """The marker of a live process, changed to name a host that cannot be asked."""
    lock = tmp_path / "lock"
    here, foreign = locks.socket.gethostname(), "elsewhere"
    lock.write_text(lock.read_text().replace(f"host={here}", f"host={foreign}"))
    monkeypatch.setattr(locks, "LEASE_SECONDS", 1.5)
    lock.write_text(lock.read_text().replace("duration=60.0", "duration=1.5"))

    def beat():
        while not silent:
            lock.touch()
            time.sleep(0.2)

    silent: list[bool] = []
    thread = threading.Thread(target=beat)
    thread.start()
    with refused("lock", (f"process {holder.pid}", foreign)), hold_lock(lock):
        pass
    silent.append(True)
    thread.join()
    with hold_lock(lock):
        assert foreign not in lock.read_text()


def test_a_line_that_the_disk_has_no_room_for_leaves_nothing_however_much_of_it_fits(tmp_path):
    """A limit on the file's size stops a write in its middle as a full disk does; the file then has room again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = written(tmp_path, 1)
    before = journal.path.read_bytes()
    for room in range(len(to_line(sample(1)))):
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, hard))
        try:
            with pytest.raises(OSError, match="too large"):
                journal.append(sample(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert journal.path.read_bytes() == before
    journal.append(sample(1))
    assert opened(tmp_path).done == 2


def test_a_sample_without_an_outcome_is_written_with_its_reason(tmp_path):
    written(tmp_path, 1).lose("timeout", "too slow")
    journal = opened(tmp_path)
    journal.lose("killed", "by SIGKILL")
    while not journal.complete:
        journal.append(sample(journal.done))
    opened(tmp_path).finish({"m": FACTS})
    failures = json.loads((tmp_path / "run.json").read_text())["failures"]
    assert [(f["sample_id"], f["repeat"], f["cause"], f["message"]) for f in failures] == [
        ("s1", 0, "timeout", "too slow"),
        ("s2", 0, "killed", "by SIGKILL"),
    ]
    lost = [s.lost for s in read_records(tmp_path / "samples.jsonl", Sample)]
    assert lost == [False, True, True, False, False, False]


def test_the_outputs_tell_the_most_memory_and_the_profile(tmp_path):
    written(tmp_path, 2).note_peak(7)
    written(tmp_path, 4).note_peak(5)
    journal = written(tmp_path, 6)
    journal.note_profile("m", [{"draft_seconds": 0.5}], {"weights": 3})
    opened(tmp_path).finish({"m": FACTS})
    run = json.loads((tmp_path / "run.json").read_text())
    assert (run["profile"], run["memory"], run["peak_memory_bytes"]) == ([{"draft_seconds": 0.5}], {"weights": 3}, 7)
    assert [piece.get("peak_memory_bytes") for piece in run["pieces"]] == [7, 5, None]
