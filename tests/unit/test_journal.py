"""The journal: each line complete or absent, verified before it is built upon, and one writer."""

from __future__ import annotations

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
from longspec.measure.journal import Journal
from longspec.measure.lock import claim

PROMPTS = [Prompt(f"s{n}", ["é"], [1, 2], False) for n in range(3)]
JOBS = order.jobs(PROMPTS, 2)
CONDITIONS = {"dtype": "float32"}
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
    repeat, prompt = JOBS[number]
    return Sample(prompt.sample_id, repeat, [Turn(2, "h", [5, 6], [(0, 0, 0)], 0.1, 0.0, 0.2, "limit")], ["é"])


def opened(folder: Path, key: str = "k") -> Journal:
    return Journal(folder / "samples.jsonl", folder / "run.json", key, JOBS)


def written(folder: Path, lines: int, conditions: dict = CONDITIONS) -> Journal:
    journal = opened(folder)
    journal.begin(conditions, PIECE)
    for number in range(journal.done, lines):
        journal.append(sample(number))
    return journal


def test_a_finished_journal_is_the_outputs_and_once_these_are_noted_nothing_else(tmp_path):
    journal = written(tmp_path, 6)
    assert not (tmp_path / "samples.jsonl").exists()
    journal.finish({"model": "m"})
    assert read_records(tmp_path / "samples.jsonl", Sample) == [sample(n) for n in range(6)]
    journals.tidy(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"samples.jsonl", "run.json"}


@pytest.mark.parametrize("gone", [["samples.jsonl"], ["run.json"], ["samples.jsonl", "run.json"]])
def test_outputs_that_snakemake_deletes_again_are_made_again_as_they_were(tmp_path, gone):
    """As when it was killed before it noted the job, or the job was ended in its last moment."""
    written(tmp_path, 6).finish({"model": "m"})
    before = [(tmp_path / name).read_bytes() for name in ("samples.jsonl", "run.json")]
    for name in gone:
        (tmp_path / name).unlink()
    journals.tidy(tmp_path)
    journal = opened(tmp_path)
    assert journal.complete
    journal.finish({"model": "m"})
    assert [(tmp_path / name).read_bytes() for name in ("samples.jsonl", "run.json")] == before


def test_a_journal_of_other_samples_than_the_outputs_is_not_tidied_away(tmp_path):
    written(tmp_path, 6).finish({})
    opened(tmp_path, "another spec").begin(CONDITIONS, PIECE)
    (tmp_path / "samples.jsonl.partial").touch()
    journals.tidy(tmp_path)
    assert (tmp_path / "run.json.partial").exists()


def test_a_line_torn_anywhere_is_dropped_and_no_other(tmp_path):
    """Every length that a killed write can leave."""
    whole = written(tmp_path, 2).partial.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(len(whole) + 1):
        (tmp_path / "samples.jsonl.partial").write_bytes(whole[:length])
        journal = opened(tmp_path)
        assert journal.done == (length >= first) + (length == len(whole))
        assert journal.partial.read_bytes() == whole[: (0, first, len(whole))[journal.done]]


@pytest.mark.parametrize(
    ("damage", "line", "found", "expected"),
    [
        (lambda lines: [lines[0], b"{oops", lines[2]], 2, "JSON", "JSON"),
        (lambda lines: [lines[0], lines[2]], 2, "repeat 0 of 's2'", "repeat 0 of 's1'"),
        (lambda lines: [lines[0], lines[0]], 2, "repeat 0 of 's0'", "repeat 0 of 's1'"),
        (lambda lines: [b"", *lines], 1, "JSON", "JSON"),
        (lambda lines: [lines[0].replace(b'"output_ids"', b'"ids"')], 1, ("Sample", "turns.0.output_ids"), ()),
        (lambda lines: [lines[0].replace(b'"schema_version": 6', b'"schema_version": 1')], 1, ("schema_version", 1), 6),
        (lambda lines: [b"\xff"], 1, "UTF-8", ()),
        (lambda lines: [*lines, *lines, lines[0]], 4, "repeat 0 of 's0'", "repeat 1 of 's0'"),
    ],
)
def test_other_damage_is_an_error_that_names_the_line(tmp_path, damage, line, found, expected):
    journal = written(tmp_path, 3)
    lines = journal.partial.read_bytes().splitlines()
    journal.partial.write_bytes(b"".join(line + b"\n" for line in damage(lines)))
    with refused(f"samples.jsonl.partial, line {line}", found, expected):
        opened(tmp_path)


def test_a_restarted_job_goes_on_and_tells_its_pieces(tmp_path):
    written(tmp_path, 2)
    written(tmp_path, 2)  # this one ended before it had a sample
    written(tmp_path, 6).finish({})
    facts = journals.json.loads((tmp_path / "run.json").read_text())
    assert [piece["first_sample"] for piece in facts["pieces"]] == [0, 2]


def test_what_was_made_from_something_else_is_not_built_upon(tmp_path):
    written(tmp_path, 2)
    other = opened(tmp_path, "another spec")
    assert other.done == 0
    other.begin(CONDITIONS, PIECE)
    assert not other.partial.exists()
    assert opened(tmp_path).done == 0


def test_nor_what_was_made_under_other_conditions(tmp_path):
    written(tmp_path, 2)
    journal = written(tmp_path, 0, {"dtype": "bfloat16"})
    assert journal.done == 0
    assert len(journal.facts["pieces"]) == 1


def test_killed_between_the_two_outputs_nothing_is_lost(tmp_path):
    journal = written(tmp_path, 6)
    (tmp_path / "samples.jsonl").mkdir()
    with pytest.raises(OSError, match=r"samples\.jsonl"):
        journal.finish({})
    (tmp_path / "samples.jsonl").rmdir()
    (tmp_path / "run.json").unlink()  # as Snakemake does with incomplete outputs
    opened(tmp_path).finish({})
    assert len(read_records(tmp_path / "samples.jsonl", Sample)) == 6


HOLD = "import sys, time; from pathlib import Path; from longspec.measure.lock import claim\n"
HOLD += "with claim(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(100)"


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the claim."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    package = str(Path(journals.__file__).parents[2])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": package})
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_writer_is_told_who_the_first_is(tmp_path, holder):
    with refused("lock", (f"process {holder.pid}", locks.socket.gethostname())), claim(tmp_path / "lock"):
        pass


def test_a_dead_owner_is_taken_over_at_once(tmp_path, holder):
    holder.kill()
    holder.wait()
    started = time.monotonic()
    with claim(tmp_path / "lock"):
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
    with refused("lock", (f"process {holder.pid}", foreign)), claim(lock):
        pass
    silent.append(True)
    thread.join()
    with claim(lock):
        assert foreign not in lock.read_text()


def test_a_line_that_the_disk_has_no_room_for_leaves_nothing_however_much_of_it_fits(tmp_path):
    """A limit on the file's size stops a write in its middle as a full disk does; the file then has room again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = written(tmp_path, 1)
    before = journal.partial.read_bytes()
    for room in range(len(to_line(sample(1)))):
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, hard))
        try:
            with pytest.raises(OSError, match="too large"):
                journal.append(sample(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert journal.partial.read_bytes() == before
    journal.append(sample(1))
    assert opened(tmp_path).done == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("full", ["samples.jsonl.partial", "run.json.partial.unfinished"])
def test_a_sample_and_its_failure_stand_together_or_not_at_all(tmp_path, full):
    journal = written(tmp_path, 1)
    kept = journal.partial.read_bytes()
    (tmp_path / full).unlink(missing_ok=True)
    (tmp_path / full).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        journal.lose("timeout", "too slow")
    if journal.partial.is_symlink():
        journal.partial.unlink()
        journal.partial.write_bytes(kept)
    journal = opened(tmp_path)
    assert len(journal.facts["failures"]) == journal.done - 1
    while journal.done < 3:
        journal.lose("timeout", "too slow")
    assert [failure["sample_id"] for failure in opened(tmp_path).facts["failures"]] == ["s1", "s2"]
