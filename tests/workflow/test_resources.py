"""Every job that runs a model asks a cluster for what its model's `resources:` say, and for more after a failure."""

from __future__ import annotations

import re

from test_train import QUESTIONS, TRAINED

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
    from longspec.config.plan import resources

    config = {"models": {"a": {"resources": {**ASKED, "gpu_model": ""}}, "b": {"resources": {**ASKED, "gpus": 4}}}}
    assert resources.of_model(config, "a", attempt=2) == {**ASKED, "gpu_model": "", "mem_mb": 24690, "runtime": 154}
    assert resources.of_every_model(config)["gpus"] == 4
