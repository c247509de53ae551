"""Plans with served engines: which jobs there are at which load, what makes them run again, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import planning
import pytest
import yaml
from experiments import Clone, prepare
from refusals import refused, says
from test_reruns import AFTER, gate, generate

OURS = ("vanilla", "chain", "wide")
PLAIN = {"method": "llamacpp", "program": "true"}
NGRAM = {**PLAIN, "speculation": {"spec-type": "ngram-simple"}}
ENGINES = {"llamacpp": PLAIN, "llamacpp-ngram": NGRAM, "vllm": {"method": "vllm", "program": "true"}}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The tiny experiment with engines at one request in flight, and its jobs before any change."""
    made = prepare(tmp_path_factory.mktemp("original"))
    made.edit(**{f"methods__{name}": entry for name, entry in ENGINES.items()})
    return made.place, planning.jobs(made.place)


@pytest.fixture
def clone(original, tmp_path):
    return Clone(shutil.copytree(original[0], tmp_path / "clone"))


@pytest.fixture
def changed(original, clone):
    """The jobs that are new or have other parameters than before; none may be gone."""

    def compare(own_code=False):
        found = planning.changed(original[1], planning.jobs(clone.place, own_code))
        assert not found.gone
        return found.now

    return compare


def test_an_engine_without_speculation_is_gated_too(original):
    found = {name for name in original[1] if name.startswith(("generate", "gate"))}
    assert found == generate(*OURS, *ENGINES)


SETTINGS = {
    "a load added": (
        {"concurrency": [1, 4]},
        generate("llamacpp@4", "llamacpp-ngram@4", "vllm@4") | AFTER,
    ),
    "a variant that speculates added": (
        {"methods__more": {**PLAIN, "speculation": {"spec-type": "ngram-mod"}}},
        generate("more") | AFTER,
    ),
    "how one speculates": (
        {"methods__llamacpp-ngram__speculation": {"spec-type": "ngram-mod"}},
        generate("llamacpp-ngram") | {"report"},
    ),
    "arguments of an engine": (
        {f"methods__{name}__arguments": ["-fa", "on"] for name in ("llamacpp", "llamacpp-ngram")},
        generate("llamacpp", "llamacpp-ngram") | {"report"},
    ),
    "its GPUs": ({"models__tiny__resources": {"gpus": 4}}, generate(*ENGINES) | {"report"}),
    "a method of ours": ({"methods__chain__gamma": 2}, generate("chain") | {"report"}),
}


@pytest.mark.parametrize("what", SETTINGS)
def test_configuration(clone, changed, what):
    edits, jobs = SETTINGS[what]
    clone.edit(**edits)
    assert changed() == jobs


def test_an_engine_added_reruns_none_of_ours(original, clone):
    file = clone.place / "config.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config["methods"] = {name: entry for name, entry in config["methods"].items() if name not in ENGINES}
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    found = planning.changed(planning.jobs(clone.place), original[1])
    assert not found.gone
    assert found.now == generate(*ENGINES) | AFTER


EDITS = {
    "an engine's file": ("backends/served/llamacpp.py", generate("llamacpp", "llamacpp-ngram")),
    "another's": ("backends/served/vllm.py", generate("vllm")),
    "how GGUF files are made": ("models/gguf_files.py", generate("llamacpp", "llamacpp-ngram")),
    "our baseline": ("decoding/methods/vanilla.py", generate("vanilla") | gate("chain", "wide", "llamacpp", "vllm")),
    "how an engine's outputs are compared": ("verify/served_divergence.py", gate("chain", "wide", *ENGINES)),
}


SOON = ("an engine's file", "our baseline")
"""The others are slow only by their number."""


@pytest.mark.parametrize("what", [w if w in SOON else pytest.param(w, marks=pytest.mark.slow) for w in EDITS])
def test_code(clone, changed, what):
    file, jobs = EDITS[what]
    clone.append(f"workflow/longspec/{file}", "NEW = 1\n")
    assert changed(own_code=True) == jobs


@pytest.mark.parametrize(
    ("label", "other"),
    [
        ("chain", "vanilla"),
        ("llamacpp@4", "vanilla"),
        ("llamacpp-ngram@4", "llamacpp@4"),
    ],
)
def test_a_gate_reads_what_the_output_must_be(clone, label, other):
    clone.edit(concurrency=[1, 4])
    found = planning.inputs(clone.place, f"results/tiny/a/{label}/gate.jsonl")
    assert found["samples"] == f"results/tiny/a/{label}/samples.jsonl"
    assert found["baseline"] == f"results/tiny/a/{other}/samples.jsonl"
    assert found["baseline_run"] == f"results/tiny/a/{other}/run.json"


def test_engines_in_turn_share_the_job_with_all_loads(clone):
    clone.edit(schedule="interleaved", concurrency=[1, 4])
    spec = planning.jobs(clone.place)["generate:tiny/a"]["spec"]
    named = [json.loads(one)["method"]["name"] for one in spec]
    assert sorted(named) == sorted([*OURS, *ENGINES, *(f"{name}@4" for name in ENGINES)])


@pytest.fixture
def plan(clone, monkeypatch):
    """Plan the clone, from inside it."""

    def made(**edits):
        clone.edit(**edits)
        monkeypatch.chdir(clone.place)
        with planning.planned_with(clone.place, None):
            return planning.plan()

    return made


def measured(planned):
    """Note all generations as done."""
    for model, dataset, label in planned._jobs(planned.methods):
        file = Path(planned.results, model, dataset, label, "run.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"spec": json.loads(planned.generate_spec(model, dataset, label))}))


MISSING = {"methods__llamacpp__program": "no-such-server", "methods__llamacpp-ngram__program": "no-such-server"}


def test_an_engine_that_is_not_found_is_refused_unless_all_that_it_was_asked_for_is_there(plan):
    plan().require_engines()
    with refused("methods.llamacpp.program", "'no-such-server'"):
        plan(**MISSING).require_engines()
    measured(plan())
    plan().require_engines()
    with refused("methods.llamacpp.program", "'no-such-server'"):
        plan(concurrency=[1, 4]).require_engines()
    with refused("methods.llamacpp-ngram.program", "'no-such-server'"):
        plan(concurrency=[1], **{"methods__llamacpp-ngram__speculation": {"spec-type": "none"}}).require_engines()


def test_more_gpus_than_there_are_are_refused_where_an_engine_would_use_them(plan):
    planned = plan(models__tiny__resources={"gpus": 4})
    planned.require_gpus(4)
    with refused("models.tiny.resources.gpus", 4, (1, "gpu=4")):
        planned.require_gpus(1)
    planned.config.methods = {name: planned.config.methods[name] for name in OURS}
    planned.require_gpus(1)


def test_one_gpu_is_asked_for_where_there_is_none(plan):
    plan().require_gpus(0)


def test_a_group_without_a_second_plain_entry_measures_no_noise(plan):
    assert plan(concurrency=[4]).without_noise() == ["llamacpp", "vanilla"], "nothing is compared with vllm"
    assert plan(methods__again=PLAIN, methods__vanilla_again={"method": "vanilla"}).without_noise() == []


def snakemake(clone, *arguments):
    """As a user starts it: with profiles/default, which has one GPU."""
    command = [sys.executable, "-m", "snakemake", "-n", "--configfile", "config.yaml", *arguments]
    done = subprocess.run(command, cwd=clone.place, capture_output=True, text=True, timeout=280, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_run_here_is_refused_for_what_this_machine_lacks(clone):
    clone.edit(models__tiny__resources={"gpus": 4})
    failed, text = snakemake(clone, "--cores", "1")
    assert failed
    assert says(text, "models.tiny.resources.gpus", 4)
    assert "Traceback" not in text
    clone.edit(**MISSING)
    failed, text = snakemake(clone, "--cores", "1", "--resources", "gpu=4")
    assert failed
    assert says(text, "methods.llamacpp.program", "no-such-server")
    assert "Traceback" not in text


def test_on_a_cluster_a_job_asks_for_all_its_gpus_and_a_gate_waits_for_its_own_baseline(clone):
    clone.edit(models__tiny__resources={"gpus": 4}, concurrency=[1, 4])
    failed, text = snakemake(clone, "--profile", "profiles/slurm")
    assert not failed, text
    asked = re.findall(r"rule (?:generate|gate):\n(?:    .*\n)*?    resources: (.*)", text)
    assert len(asked) == len([*OURS, *ENGINES, *ENGINES]) * 4 - 2
    assert all("gpu=4" in one.split(", ") for one in asked)
    gates = re.findall(r"rule gate:\n    input: (.*)\n    output: (.*)\n", text)
    read = {made: given.split(", ") for given, made in gates}
    assert "results/tiny/a/llamacpp@4/run.json" in read["results/tiny/a/llamacpp-ngram@4/gate.jsonl"]
