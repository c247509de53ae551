"""Every job that runs a model asks a cluster for what its model's `resources:` say, and for more after a failure."""

from __future__ import annotations

import re

from test_train import QUESTIONS, TRAINED

from longspec.config.plan import resources
from longspec.config.sections.dataset import Dataset
from longspec.config.sections.method import Method
from longspec.config.sections.model import Resources, Target
from longspec.config.sections.top_level import Config

ASKED = {"gpus": 1, "mem_mb": 12345, "runtime": 77, "partition": "big"}
RUN_A_MODEL = ("answer", "train_drafter", "generate", "gate")


def test_jobs_that_run_a_model_ask_for_its_resources_and_others_do_not(clone):
    clone.append("questions.yaml", QUESTIONS)
    clone.edit(
        drafters={"mine": TRAINED},
        models__tiny__resources=ASKED,
        methods__glide={
            "method": "sequential",
            "drafter": "glide",
            "gamma": 2,
            "weights": {"path": "results/drafters/mine"},
        },
    )
    done = clone.snakemake("-n", "--profile", "profiles/slurm", "--forcerun", "generate")
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    asked = dict(re.findall(r"rule (\w+):\n(?:    .*\n)*?    resources: (.*)", text))
    wanted = {"mem_mb=12345", "runtime=77", "slurm_partition=big"}
    for rule in RUN_A_MODEL:
        assert wanted <= set(asked[rule].split(", ")), (rule, asked[rule])
    assert not wanted & set(asked["metrics"].split(", ")), asked["metrics"]


def test_a_second_attempt_asks_for_twice_the_memory_and_time():
    asked = {"a": {**ASKED, "gpu_model": "h100"}, "b": {**ASKED, "gpus": 4}}
    config = Config(
        models={name: Target(path="model", resources=Resources(**one)) for name, one in asked.items()},
        datasets={"d": Dataset(source="jsonl", max_new_tokens=1)},
        methods={"vanilla": Method(method="vanilla")},
    )
    twice = {**asked["a"], "mem_mb": 24690, "runtime": 154}
    assert resources.of_model(config, "a", attempt=2).model_dump() == {**Resources().model_dump(), **twice}
    assert resources.of_every_model(config).gpus == 4
