"""Only what a change can touch is made again: the exact jobs whose parameters it changes, as the rules give them.

What follows from a changed job is Snakemake's own work: test_reruns.py.
"""

from __future__ import annotations

import json
import shutil

import planning
import pytest
import tiny_folder
from experiments import Clone, prepare
from refusals import refused
from test_reruns import AFTER, ALL_METHODS, gate, generate
from yaml import safe_load


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The experiment, and its jobs before any change."""
    place = prepare(tmp_path_factory.mktemp("original")).place
    return place, planning.jobs(place)


@pytest.fixture
def clone(original, tmp_path):
    """A copy that may be changed."""
    return Clone(shutil.copytree(original[0], tmp_path / "clone"))


@pytest.fixture
def changed(original, clone):
    """The jobs that are new or have other parameters than before; no job may be gone, but those that are named."""

    def compare(own_code=False, gone=(), before=None):
        found = planning.changed(before or original[1], planning.jobs(clone.place, own_code))
        assert found.gone == set(gone)
        return found.now

    return compare


def test_every_rule_but_the_one_asked_for_by_name_has_its_jobs(original):
    expected = {"vocabulary:tiny", "prepare:tiny/a", "prepare:tiny/b", *generate(*ALL_METHODS), *AFTER}
    assert set(original[1]) == expected


def test_a_copy_elsewhere_changes_nothing(changed):
    assert changed() == changed(own_code=True) == set()


EDITS = {
    "the report's template": ("report/templates/report.html.j2", "<!-- new -->\n", {"report"}),
    "its style": ("report/templates/style.css", "p { margin: 0 }\n", {"report"}),
    "its script": ("report/templates/report.js", "// new\n", {"report"}),
    "the published figures": ("report/templates/longspec.csv", "new\n", {"report"}),
    "the summary's schema": ("analysis/summary.schema.json", "\n", {"summary"}),
    "the audit's rules": ("verify/audit_rules.py", "NEW = 1\n", {"audit"}),
    "the metrics": ("analysis/sample_tables.py", "NEW = 1\n", {"metrics"}),
    "the costs": ("analysis/costs_table.py", "NEW = 1\n", {"speedup"}),
    "what the metrics compute": ("analysis/timings.py", "NEW = 1\n", {"metrics", "speedup", "audit", "report"}),
    "the gate": ("verify/gate.py", "NEW = 1\n", gate("chain", "wide")),
    "a drafter": ("drafters/ngram.py", "NEW = 1\n", generate("chain")),
    "a method": ("decoding/methods/tree.py", "NEW = 1\n", generate("wide")),
    "the loop": ("decoding/loop.py", "NEW = 1\n", generate(*ALL_METHODS)),
    "the rule of verification": ("decoding/verifiers/keyed.py", "NEW = 1\n", generate(*ALL_METHODS)),
    "another rule of verification": ("decoding/verifiers/residual.py", "NEW = 1\n", set()),
    "training": ("training/fit.py", "NEW = 1\n", set()),
    "a comment": ("decoding/loop.py", "# new\n", set()),
    "a docstring": ("core/io.py", '"""New."""\n', set()),
}


@pytest.mark.parametrize("what", EDITS)
def test_code(clone, changed, what):
    file, text, jobs = EDITS[what]
    clone.append(f"workflow/longspec/{file}", text)
    assert changed(own_code=True) == jobs


def test_a_rules_command(clone, changed):
    file = clone.place / "workflow/rules/analyse.smk"
    text = file.read_text(encoding="utf-8")
    assert text.count("analyse speedup --grid") == 1
    file.write_text(text.replace("analyse speedup --grid", "analyse speedup  --grid"), encoding="utf-8")
    assert changed() == {"speedup"}


SETTINGS = {
    "what is done about a lossy method": ({"lossless": "require"}, {"speedup", "report"}),
    "the temperature": ({"sampling": {"temperature": 0.5}}, generate(*ALL_METHODS) | {"report"}),
    "the seed": ({"seed": 3}, generate(*ALL_METHODS) | {"report"}),
    "gamma of one variant": ({"methods__chain__gamma": 2}, generate("chain") | {"report"}),
    "a length left to auto": ({"methods__chain__gamma": "auto"}, generate("chain") | {"report"}),
    "a method added": (
        {"methods__short": {"method": "sequential", "drafter": "ngram", "gamma": 1}},
        generate("short") | AFTER,
    ),
    "a data set added": (
        {"datasets__c": {"source": "jsonl", "path": "b.jsonl", "template": "{q} again", "max_new_tokens": 6}},
        {"prepare:tiny/c"} | generate(*ALL_METHODS, datasets=("c",)) | AFTER,
    ),
    "the number of samples": (
        {"datasets__a__samples": 3},
        {"prepare:tiny/a"} | generate(*ALL_METHODS, datasets=("a",)) | {"report"},
    ),
    "what is done about a failure": ({"timeout": 7, "on_error": "stop"}, {"report"}),
    "resources of a model": ({"models__tiny__resources": {"mem_mb": 5, "runtime": 7}}, {"report"}),
}


@pytest.mark.parametrize("what", SETTINGS)
def test_configuration(clone, changed, what):
    edits, jobs = SETTINGS[what]
    clone.edit(**edits)
    assert changed() == jobs


def test_a_method_removed(clone, changed):
    file = clone.place / "config.yaml"
    file.write_text(file.read_text(encoding="utf-8").split("  wide:")[0], encoding="utf-8")
    assert changed(gone=generate("wide")) == AFTER


def test_comments_and_order_change_nothing(clone, changed):
    file = clone.place / "config.yaml"
    text = file.read_text(encoding="utf-8")
    head, methods = text.split("methods:\n")
    vanilla, rest = methods.split("  chain:")
    file.write_text(f"# a comment\nmethods:\n  chain:{rest}{vanilla}{head}", encoding="utf-8")
    assert safe_load(file.read_text(encoding="utf-8")) == safe_load(text)
    assert changed() == set()


def test_a_row_of_local_data(clone, changed):
    clone.append("b.jsonl", json.dumps({"id": "s9", "q": "new"}) + "\n")
    assert changed() == {"prepare:tiny/b"} | generate(*ALL_METHODS, datasets=("b",))


def test_local_data_that_is_only_touched(clone, changed):
    (clone.place / "b.jsonl").touch()
    assert changed() == set()


def test_the_weights_of_a_drafter_model(clone, changed):
    """Moved first, so that the drafter is not the target."""
    tiny_folder.make(clone.place / "draft", seed=1)
    clone.edit(methods__wide__model={"path": "draft"})
    before = planning.jobs(clone.place)
    tiny_folder.make(clone.place / "draft", seed=2)
    assert changed(before=before) == generate("wide")


def test_the_weights_of_the_target(clone, changed):
    tiny_folder.make(clone.place / "model", seed=2)
    prepared = {"vocabulary:tiny", "prepare:tiny/a", "prepare:tiny/b"}
    assert changed() == prepared | generate(*ALL_METHODS)


def test_methods_in_turn_are_one_job_of_a_data_set(clone, changed):
    clone.edit(schedule="interleaved")
    together = {"generate:tiny/a", "generate:tiny/b"}
    gone = generate(*ALL_METHODS) - gate("chain", "wide")
    assert changed(gone=gone) == together | gate("chain", "wide") | {"report"}
    before = planning.jobs(clone.place)
    clone.edit(timeout=7, on_error="stop")
    assert changed(before=before) == {"report"}
    clone.edit(methods__chain__gamma=2)
    assert changed(before=before) == together | gate("chain") | {"report"}


QUESTIONS = """tasks: ["what is {thing}?", "{thing} …"]
values: {thing: [a, b, c, one, two]}
"""
TRAINED = {"model": "tiny", "questions": "questions.yaml", "train_tokens": 1000, "answer_tokens": 16, "slots": 4,
           "epochs": 1, "draft_vocabulary": 20}  # fmt: skip


@pytest.fixture
def training(clone):
    """The jobs of the experiment with a drafter that it trains."""
    clone.append("questions.yaml", QUESTIONS)
    clone.edit(
        drafters={"mine": TRAINED},
        models__tiny__drafter={"path": "results/drafters/mine"},
        methods__glide={"method": "sequential", "drafter": "glide", "gamma": 2},
    )
    return planning.jobs(clone.place)


TRAINS = {"train_drafter:mine"} | generate("glide")


def test_a_drafter_is_trained_before_what_needs_it(training, changed):
    assert changed() == {"answer:mine"} | TRAINS | AFTER
    assert changed(before=training) == set()


def test_a_drafter_is_trained_again_when_its_training_changes(training, clone, changed):
    clone.edit(drafters__mine__epochs=2)
    assert changed(before=training) == TRAINS | {"report"}
    clone.edit(drafters__mine__epochs=1)
    clone.append("workflow/longspec/training/fit.py", "# new\n")
    assert changed(own_code=True, before=training) == set()
    clone.append("workflow/longspec/training/fit.py", "NEW = 1\n")
    assert changed(own_code=True, before=training) == TRAINS


def test_a_drafter_is_trained_again_when_its_questions_change(training, clone, changed):
    clone.append("questions.yaml", "# new\n")
    assert changed(before=training) == {"answer:mine"} | TRAINS


ROWS = {"source": "huggingface", "template": "{q}", "max_new_tokens": 4}
KNOWN = {
    "a model": ({"models__tiny__path": "nowhere"}, "nowhere", "config.json"),
    "a drafter's model": ({"methods__wide__model": {"path": "nowhere"}}, "nowhere", "config.json"),
    "a chat template": ({"models__tiny__chat_template": "broken.jinja"}, "chat_template", "'broken.jinja'"),
    "a template's name": ({"prompt_templates": "t.json", "datasets__a__template_name": "b"}, "prompt_templates", "'b'"),
    "a template": ({"prompt_templates": "t.json", "datasets__a__template_name": "a"}, "prompt_templates, 'a'", "{q.x}"),
    "a folder of rows": (
        {"datasets__a": {"source": "huggingface", "repository": "./no", **ROWS}},
        "repository",
        "'./no'",
    ),
    "room for prompts": ({"models__tiny__context": 6}, "dataset a", ("max_new_tokens", 6)),
    "questions": ({"drafters": {"d": {"model": "tiny", "questions": "no.yaml"}}}, "no.yaml", "No such file"),
    "texts": ({"drafters": {"d": {"model": "tiny", "texts": "no.jsonl"}}}, "no.jsonl", "No such file"),
}


@pytest.mark.parametrize("what", KNOWN)
def test_what_can_be_known_while_planning_is_refused_there(clone, what):
    (clone.place / "broken.jinja").write_text("{% for")
    (clone.place / "t.json").write_text('{"a": "{q.x}"}')
    changes, where, found = KNOWN[what]
    clone.edit(**changes)
    with refused(where, found):
        planning.jobs(clone.place)


def test_what_only_transformers_knows_of_a_chat_template_is_none_of_its_faults(original, clone):
    marked = "{% for m in messages %}{% generation %}{{ m['content'] }}{%- endgeneration -%}{% break %}{% endfor %}"
    (clone.place / "marked.jinja").write_text(marked)
    clone.edit(models__tiny__chat_template="marked.jinja")
    assert set(planning.jobs(clone.place)) == set(original[1])


def test_a_drafter_that_starts_from_another_is_trained_after_it(clone):
    clone.append("questions.yaml", QUESTIONS)
    first, then = TRAINED, {**TRAINED, "start": {"path": "results/drafters/first"}}
    clone.edit(drafters={"first": first, "then": then})
    assert "train_drafter:first" in clone.planned("results/drafters/then/model.safetensors")
    clone.edit(drafters={"first": {**first, "start": {"path": "results/drafters/then"}}, "then": then})
    with refused("drafters.first.start", "starts"):
        planning.jobs(clone.place)
