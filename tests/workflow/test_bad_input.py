"""Bad input ends in one message and without a traceback; tests/unit checks what each message says."""

from __future__ import annotations

import json


def refuse(clone, *parts, arguments=()):
    """What it prints, every part of which stands there once it has failed."""
    done = clone.snakemake(*arguments)
    text = done.stdout + done.stderr
    assert done.returncode != 0, text
    assert "Traceback" not in text
    for part in parts:
        assert part in text, text
    return text


def test_an_error_in_the_configuration_is_one_message_before_anything_is_written(experiment):
    experiment.edit(methods__chain__gamma=0)
    text = refuse(experiment, "methods.chain.gamma", "0")
    assert text.count("methods.chain.gamma") == 1
    assert "rule prepare" not in text
    assert not (experiment.place / "results").exists()


def test_an_error_of_a_stage_is_one_message_and_what_no_commit_pins_is_said_once_before_all_else(experiment):
    experiment.edit(models__loose={"hub": "owner/name"})
    text = refuse(experiment, "owner/name@main", arguments=["--force", "results/loose/b/prompts.jsonl"])
    assert text.count("warning: ") == 1
    assert text.index("models.loose (owner/name)") < text.index("rule prepare")
    said = {line for line in text.splitlines() if line.startswith("error: ")}
    assert len(said) == 1, "once by the stage, and again where Snakemake shows its log"
    assert not list((experiment.place / "results").rglob("prompts*.jsonl"))


def test_a_speedup_over_other_conditions_is_refused(clone):
    file = clone.place / "results/tiny/a/vanilla/run.json"
    facts = json.loads(file.read_text())
    assert facts["conditions"]["threads"] == 1
    facts["conditions"]["threads"] = 2
    file.write_text(json.dumps(facts))
    table = clone.place / "results/speedup.csv"
    refuse(clone, "threads", "chain", "vanilla", arguments=["--force", "results/speedup.csv"])
    assert not table.exists()


def test_names_cannot_leave_the_results(experiment):
    experiment.edit(**{"methods__$(touch x)": {"method": "vanilla"}})
    refuse(experiment, "methods")
    assert not (experiment.place / "x").exists()
