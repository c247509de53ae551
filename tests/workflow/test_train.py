"""Training as a part of the workflow: it runs before what needs it. test_plans.py tests when it runs again."""

from __future__ import annotations

import pytest
from test_plans import QUESTIONS, TRAINED

from longspec.config.load import load
from longspec.core.errors import UserError

DRAFTED = "results/tiny/a/glide/samples.jsonl"


def test_a_drafter_is_trained_before_the_job_that_needs_it_and_once(clone):
    clone.append("questions.yaml", QUESTIONS)
    clone.edit(
        drafters={"mine": TRAINED},
        models__tiny__drafter={"path": "results/drafters/mine"},
        methods__glide={"method": "sequential", "drafter": "glide", "gamma": 2},
    )
    jobs = {"answer:mine", "train_drafter:mine", "generate:tiny/a/glide"}
    assert clone.planned(DRAFTED) == jobs
    done = clone.snakemake(DRAFTED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert clone.planned(DRAFTED) == set()
    folder = clone.place / "results" / "drafters" / "mine"
    assert {"model.safetensors", "config.json", "training.csv"} <= {file.name for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("drafter", "key", "value"), [({"model": "tinny"}, "model", "tinny"), ({"model": "m"}, "questions", "")]
)
def test_an_unknown_target_and_a_training_without_data_are_refused(drafter, key, value):
    rows = {"source": "jsonl", "path": "d.jsonl", "template": "{q}", "max_new_tokens": 4}
    raw = {"models": {"m": {"path": "model"}}, "datasets": {"d": rows}, "methods": {"vanilla": {"method": "vanilla"}}}
    load(raw)
    with pytest.raises(UserError) as refused:
        load({**raw, "drafters": {"mine": {"questions": None, **drafter}}})
    assert f"drafters.mine.{key}" in str(refused.value)
    assert value in str(refused.value)
