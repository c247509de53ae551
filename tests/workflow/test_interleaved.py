"""Several methods in one job, sample by sample: each gives the answers that it gives alone, at the same cost."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import time

import psutil
import pytest
import yaml
from stage import Stage
from test_reruns import AFTER, ALL_METHODS, gate

from longspec.core.records import Sample, read_records
from longspec.measure.journal import split

METHODS = {
    "vanilla": {"method": "vanilla"},
    "faulty": {"method": "sequential", "drafter": "faulty", "gamma": 1},
    "peer": {"method": "hf_generate"},
}
INTERLEAVED = {"schedule": "interleaved"}


class Job(Stage):
    """A job of three methods, one of them a peer and one that fails where its prompts say."""

    def command(self, *arguments):
        """The command line."""
        specs = [{**self.spec, **INTERLEAVED, "method": {"name": n, **entry}} for n, entry in METHODS.items()]
        for name in METHODS:
            (self.job / name).mkdir(exist_ok=True)
        outputs = {f: [f"results/{name}/{f}.{kind}" for name in METHODS] for f, kind in self.FILES.items()}
        command = [sys.executable, "-m", "longspec", "generate", "--spec", *map(json.dumps, specs)]
        command += ["--samples", *outputs["samples"], "--run", *outputs["run"], "--prompts", "prompts.jsonl"]
        return [*command, "--tuning", "tuning.jsonl", "--log", "results/generate.log", *arguments]

    FILES = {"samples": "jsonl", "run": "json"}

    def made(self, name):
        """One method's outputs."""
        samples = read_records(self.job / name / "samples.jsonl", Sample)
        return samples, json.loads((self.job / name / "run.json").read_text())


def answers(samples):
    """All of a method's samples but for their times."""
    return [(s.sample_id, s.texts, [(t.output_ids, t.steps, t.stop_reason) for t in s.turns]) for s in samples]


@pytest.mark.parametrize("lengths", [[5, 32, 6], pytest.param([5, 32, 6, 33, 7], marks=pytest.mark.slow)], ids=len)
def test_a_failure_is_its_own_methods_and_all_go_on(tmp_path, lengths):
    job = Job(tmp_path, lengths)
    code, text = job.run()
    assert code == 0, text
    reasons = {name: [s.turns[-1].stop_reason for s in job.made(name)[0]] for name in METHODS}
    failed = {32: "out_of_memory", 33: "killed"}
    assert [reason for reason in reasons["faulty"] if reason not in ("limit", "eos")] == [
        failed[length] for length in lengths if length in failed
    ]
    assert all(reason in ("limit", "eos") for name in ("vanilla", "peer") for reason in reasons[name])
    for name in METHODS:
        samples, facts = job.made(name)
        assert [sample.sample_id for sample in samples] == [f"s{n}" for n in range(len(lengths))]
        assert (facts["method"], facts["conditions"]["schedule"]) == (name, "interleaved")
        assert len(facts["failures"]) == (len(set(lengths) & set(failed)) if name == "faulty" else 0)
        assert all(piece["warmup_samples"] for piece in facts["pieces"])
    log = (job.job / "generate.log").read_text()
    assert all(f" {name} s0 " in log for name in METHODS)
    assert re.search("faulty.*s1.*out_of_memory", log)


def test_killed_anywhere_it_goes_on_where_it_was(tmp_path):
    job = Job(tmp_path, [5] * 30)
    code, text = job.run()
    assert code == 0, text
    expected = {name: answers(job.made(name)[0]) for name in METHODS}
    shutil.rmtree(job.job)
    process = job.start()
    standing = 0
    for lines in (4, 45):
        while standing < lines:
            time.sleep(0.01)
            assert process.poll() is None
            standing = sum(text.count("\n") for text in split(job.journal).values())
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        psutil.wait_procs(family, timeout=5)
        process = job.start()
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert {name: answers(job.made(name)[0]) for name in METHODS} == expected
    for name in METHODS:
        starts = [piece["first_sample"] for piece in job.made(name)[1]["pieces"]]
        assert starts == sorted(starts)
        assert len(starts) > 1


@pytest.fixture
def interleaved(clone):
    """One data set of the finished experiment, made again with its methods in turn."""
    data = yaml.safe_load((clone.place / "config.yaml").read_text())["datasets"]
    clone.edit(schedule="interleaved", datasets={"a": data["a"]})
    assert clone.planned() == {"generate:tiny/a", *gate("chain", "wide", datasets="a"), *AFTER}
    clone.run()
    return clone


def test_the_whole_experiment_in_turn(finished, interleaved):
    """What a change reruns: test_plans.py."""
    for method in ALL_METHODS:
        places = [c.place / f"results/tiny/a/{method}/samples.jsonl" for c in (finished, interleaved)]
        ours, theirs = (answers(read_records(place, Sample)) for place in places)
        assert ours == theirs
    audit = (interleaved.place / "results/audit.csv").read_text().splitlines()
    assert [row for row in audit[1:] if ",pass," not in row] == []
    assert interleaved.planned() == set()
