"""LongSpec's own experiment, from config/paper.yaml to its report: its models, data sets and methods, scaled down.

Real: Snakemake, config/paper.yaml, the hub's cache as huggingface_hub and datasets read it, and every job. Scaled down:
the sizes of layers, the number of rows and answer tokens, one data set a model. Left out: the network and a GPU.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import paper_hub
import pytest
import yaml
from experiments import PARTS, REPOSITORY
from refusals import says

SMALL = {
    "device": "cpu",
    "models": {
        "vicuna-7b": {"datasets": ["gov_report"]},
        "vicuna-13b": {"datasets": ["qmsum"]},
        "longchat-7b": {"datasets": ["multi_news"]},
        "longchat-13b": {"datasets": ["lcc"]},
        "llama3-8b": {"datasets": ["repobench-p"]},
    },
    "datasets": {"aime24": {"samples": 2}},
}
PAPER = yaml.safe_load((REPOSITORY / "config" / "paper.yaml").read_text(encoding="utf-8"))
MODELS = {name: SMALL["models"].get(name, entry)["datasets"][0] for name, entry in PAPER["models"].items()}
ONE = ["--retries", "0", "--jobs", "1"]
pytestmark = pytest.mark.timeout(3600)


class Checkout:
    """The repository's files in a folder of their own, with what its experiment reads from the hub."""

    def __init__(self, place: Path, **changes) -> None:
        self.place = place
        for part in PARTS:
            source = REPOSITORY / part
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, place / part)
        self.environment = {**os.environ, **paper_hub.make(place / "cache", PAPER)}
        small = json.loads(json.dumps({**SMALL, **changes}))
        for name in PAPER["datasets"]:
            small["datasets"].setdefault(name, {})["max_new_tokens"] = 8
        (place / "small.yaml").write_text(yaml.safe_dump(small), encoding="utf-8")

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
        command += ["--configfile", "config/paper.yaml", "small.yaml"]
        return subprocess.run(
            command, cwd=self.place, env=self.environment, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("paper"))
    done = checkout.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout.place


@pytest.mark.slow
def test_every_job_ran_on_the_commit_that_the_paper_pins(finished):
    for model, dataset in MODELS.items():
        entry = PAPER["models"][model]
        wanted = f"{entry['hub']}@{entry['revision']}"
        if entry.get("convert_pickles"):
            wanted += ", converted from pickles"
        for method in PAPER["methods"]:
            run = json.loads((finished / "results-paper" / model / dataset / method / "run.json").read_text())
            assert run["conditions"]["model"] == wanted
            assert not run["failures"]
            drafters = {option: known.split("@")[0] for option, known in run["pieces"][0]["models"].items()}
            assert drafters == ({} if method.startswith("vanilla") else {"weights": entry["drafter"]["hub"]})


@pytest.mark.slow
def test_every_output_is_the_models(finished):
    verdicts = pd.read_csv(finished / "results-paper" / "lossless.csv")
    assert len(verdicts) == 3 * len(MODELS)
    assert set(verdicts["verdict"]) <= {"identical", "ties only"}


@pytest.mark.slow
def test_the_report_says_which_weights_were_converted(finished):
    page = (finished / "reports-paper" / "index.html").read_text()
    assert page.count("converted from pickles") == sum(bool(e.get("convert_pickles")) for e in PAPER["models"].values())
    assert (finished / "reports-paper" / "paper.html").is_file()
    assert not (finished / "results").exists(), "the default experiment's"


def test_a_model_that_cannot_be_had_stops_its_own_jobs_alone(tmp_path):
    """With a cluster's profile, run here: pickles are refused in the first job that asks for them, of each model."""
    pickled = [name for name, entry in PAPER["models"].items() if entry.get("convert_pickles")]
    refusing = {name: {**SMALL["models"][name], "convert_pickles": False} for name in pickled}
    checkout = Checkout(tmp_path, models={**SMALL["models"], **refusing})
    wanted = [f"results-paper/{name}/tokens.json" for name in pickled]
    done = checkout.snakemake(*wanted, "--profile", "profiles/slurm", "--executor", "local", *ONE)
    assert done.returncode != 0
    assert len(pickled) == 2
    for name in pickled:
        said = (tmp_path / "results-paper" / name / "vocabulary.log").read_text(encoding="utf-8").splitlines()
        assert not any("Traceback" in line for line in said)
        assert says(said[-1], PAPER["models"][name]["revision"], "*.safetensors", "convert_pickles")
