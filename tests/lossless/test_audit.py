"""The audit finds a token that is not the model's in somebody's results, and passes results that are right."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import tiny_folder
from refusals import refused
from stage import work_here

from longspec.cli import audit_tokens
from longspec.cli import generate as generate_stage
from longspec.config import specs
from longspec.config.load import load
from longspec.core.records import Prompt, Sample, ids_sha256, read_records, to_line
from longspec.measure import supervisor
from longspec.models import model_files
from longspec.verify.audit_tokens import Scorer

WORDS = ["abc abc", "one two one", "xyz", "0 1 2 0 1"]
CASES = {
    "greedy": {},
    "penalised": {"sampling": {"repetition_penalty": 1.3}},
    "keyed": {"sampling": {"temperature": 0.8, "top_k": 9, "top_p": 0.9}},
    "residual": {"sampling": {"temperature": 0.8, "top_k": 4}, "verification": "residual"},
    "bfloat16": {"sampling": {"temperature": 1.0}, "dtype": "bfloat16"},
    "repeated": {"repeats": 2},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A results folder for each case, made by the real stage, but without a process a job."""
    place = tmp_path_factory.mktemp("audit")
    model = tiny_folder.make(place / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor, "watch", work_here)
        return {name: make(place / name, model, CASES[name]) for name in CASES}


def make(place: Path, model: Path, changes: dict) -> Path:
    raw = {
        "models": {"m": {"path": str(model)}},
        "datasets": {"d": {"source": "pydocs", "template": "{text}", "max_new_tokens": 24}},
        "methods": {
            "vanilla": {"method": "vanilla"},
            "wide": {"method": "tree", "drafter": "ngram", "tree_shape": [3, 2], "min_ngram": 1},
        },
        **{"dtype": "float32", "device": "cpu", "threads": 1, **changes},
    }
    complete = load(raw)
    tokenizer = model_files.tokenizer(model)
    (place / "m" / "d").mkdir(parents=True)
    prompts = [Prompt(f"s{n}", [w, "abc"][: 1 + n % 2], tokenizer(w)["input_ids"], False) for n, w in enumerate(WORDS)]
    (place / "m" / "d" / "prompts.jsonl").write_text("".join(map(to_line, prompts)), encoding="utf-8")
    for method in raw["methods"]:
        job = place / "m" / "d" / method
        job.mkdir()
        files = {"prompts": job.parent / "prompts.jsonl", "samples": job / "samples.jsonl", "run": job / "run.json"}
        arguments = [part for name, path in files.items() for part in (f"--{name}", str(path))]
        spec = json.dumps(specs.generate_spec(complete, "m", "d", method))
        generate_stage.main(["--spec", spec, *arguments, "--log", str(job / "generate.log")])
    return place


def run(place: Path) -> pd.DataFrame:
    audit_tokens.main(["--results", str(place)])
    return pd.read_csv(place / "audit_tokens.csv")


@pytest.mark.parametrize("case", CASES)
def test_our_results_pass(folders, case):
    table = run(folders[case])
    assert len(table) == 2
    assert set(table["verdict"]) <= ({"agrees", "ties only"} if case == "bfloat16" else {"agrees"})
    for method, tokens in zip(table["method"], table["tokens"], strict=True):
        samples = read_records(folders[case] / "m" / "d" / method / "samples.jsonl", Sample)
        assert tokens == sum(len(turn.output_ids) for sample in samples for turn in sample.turns) > 40


def edit(place: Path, change, numbers=(0,)) -> None:
    file = place / "m" / "d" / "wide" / "samples.jsonl"
    samples = read_records(file, Sample)
    for number in numbers:
        first, *others = samples[number].turns
        ids = change(list(first.output_ids))
        samples[number] = replace(samples[number], turns=[replace(first, output_ids=ids), *others])
    file.write_text("".join(map(to_line, samples)), encoding="utf-8")


def test_every_repeat_counts(folders, tmp_path):
    """The first sample, whose token is changed in one repeat, and in both."""
    wrong = []
    for numbers in ((0,), (0, len(WORDS))):
        place = shutil.copytree(folders["repeated"], tmp_path / f"{len(numbers)}")
        edit(place, lambda ids: [*ids[:5], (ids[5] + 7) % 40, *ids[6:]], numbers)
        with pytest.raises(SystemExit):
            run(place)
        row = pd.read_csv(place / "audit_tokens.csv").set_index("method").loc["wide"]
        wrong.append(row["tokens"] - row["agreeing"])
    assert wrong[1] == 2 * wrong[0] > 0


def test_no_rounding_excuses_more_than_the_number_format_explains(folders, tmp_path, monkeypatch):
    """As of a model whose scores depend on how the text is cut."""
    place = shutil.copytree(folders["greedy"], tmp_path / "copy")
    edit(place, lambda ids: [*ids[:5], (ids[5] + 7) % 40, *ids[6:]])
    monkeypatch.setattr(Scorer, "logits_again", lambda self, *texts: 50 * self.logits(*texts))
    with pytest.raises(SystemExit):
        run(place)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("position", [0, 5, -1])
def test_one_token_changed_is_found(folders, case, position, tmp_path):
    place = shutil.copytree(folders[case], tmp_path / "copy")

    # Under the residual verifier only an id that cannot be sampled is proof; id 1 opens texts and is never likely.
    def changed(ids):
        at = position % len(ids)
        return [*ids[:at], 1 if case == "residual" else (ids[at] + 7) % 40, *ids[at + 1 :]]

    edit(place, changed)
    with pytest.raises(SystemExit) as ended:
        run(place)
    assert ended.value.code == 1
    table = pd.read_csv(place / "audit_tokens.csv").set_index("method")
    assert table.loc["wide", "verdict"] == "disagrees"
    assert table.loc["wide", "worst_sample"] == "s0"
    assert table.loc["vanilla", "verdict"] != "disagrees"


def test_another_seed_is_found(folders, tmp_path):
    place = shutil.copytree(folders["keyed"], tmp_path / "copy")
    file = place / "m" / "d" / "wide" / "run.json"
    facts = json.loads(file.read_text())
    facts["spec"]["seed"] = 5
    file.write_text(json.dumps(facts))
    with pytest.raises(SystemExit):
        run(place)


def test_other_prompts_are_refused(folders, tmp_path):
    place = shutil.copytree(folders["greedy"], tmp_path / "copy")
    file = place / "m" / "d" / "prompts.jsonl"
    prompts = read_records(file, Prompt)
    file.write_text("".join(to_line(replace(p, prompt_ids=[5, *p.prompt_ids])) for p in prompts), encoding="utf-8")
    answered = read_records(place / "m" / "d" / "wide" / "samples.jsonl", Sample)[0].turns[0].prompt_sha256
    with refused("sample 's0', turn 0", ids_sha256([5, *prompts[0].prompt_ids]), answered):
        run(place)


def test_a_folder_without_results_is_refused(tmp_path):
    with refused(str(tmp_path), "run.json"):
        run(tmp_path)
