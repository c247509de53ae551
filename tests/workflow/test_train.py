"""Training as a part of the workflow: before what needs it, and again only when data, target or settings change."""

from __future__ import annotations

from test_reruns import AFTER, generate

QUESTIONS = """tasks: ["what is {thing}?", "{thing} …"]
values: {thing: [a, b, c, one, two]}
"""
TRAINED = {
    "model": "tiny",
    "questions": "questions.yaml",
    "train_tokens": 1000,
    "answer_tokens": 16,
    "slots": 4,
    "epochs": 1,
    "draft_vocabulary": 20,
}
ALL = {"answer:mine", "train_drafter:mine"} | generate("glide") | AFTER


def test_a_drafter_is_trained_once_and_again_when_what_it_depends_on_changes(clone):
    clone.append("questions.yaml", QUESTIONS)
    clone.edit(
        drafters={"mine": TRAINED},
        models__tiny__drafter={"path": "results/drafters/mine"},
        methods__glide={"method": "sequential", "drafter": "glide", "gamma": 2},
    )
    assert clone.planned() == ALL
    clone.run()
    assert clone.planned() == set()
    folder = clone.place / "results" / "drafters" / "mine"
    assert {"model.safetensors", "config.json", "training.csv"} <= {file.name for file in folder.iterdir()}

    clone.edit(drafters__mine__epochs=2)
    assert clone.planned() == ALL - {"answer:mine"}
    clone.edit(drafters__mine__epochs=1)
    clone.append("workflow/longspec/training/fit.py", "# new\n")
    assert clone.planned() == ALL - {"answer:mine"}
    clone.append("questions.yaml", "# new\n")
    assert clone.planned() == ALL


def test_an_unknown_target_and_a_training_without_data_are_refused(clone):
    clone.edit(drafters={"mine": {"model": "tinny"}})
    assert "drafters.mine.model: 'tinny' is not known; did you mean tiny?" in clone.snakemake("-n").stdout
    clone.edit(drafters={"mine": {"model": "tiny", "questions": None}})
    assert "drafters.mine.questions" in clone.snakemake("-n").stdout
