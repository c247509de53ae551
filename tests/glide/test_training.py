"""Training: batched answers are the target's own, batches hold what drafting sees, and a drafter learns.

All on a tiny model in float32; one slow test trains on the real one until a document is known by heart.
"""

from __future__ import annotations

import csv
import json
import os

import pytest
import torch
from refusals import refused
from tiny import hf_model
from tiny_folder import WORDS, make

from longspec.cli import answer, train
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import vanilla
from longspec.drafters.glide.model import rotate
from longspec.models import model_files
from longspec.models.target import CausalLM
from longspec.models.target_parts import TargetParts
from longspec.training import answers, collect, questions, shards
from longspec.training import texts as plain_texts
from longspec.training.batches import collate
from longspec.training.train import train as train_from_answers

SEEDS = """
topics: {place: [Rome, Oslo, Lima]}
values: {number: [2, 3]}
tasks: ["Where is {place}?", "Name {number} facts about {place}.", "Go on: …"]
"""


@pytest.fixture
def seeds(tmp_path):
    file = tmp_path / "seeds.yaml"
    file.write_text(SEEDS, encoding="utf-8")
    return file


def test_questions_are_the_same_for_the_same_seed_and_never_twice(seeds):
    def drawn(seed, count=200):
        return [question for _, question in zip(range(count), questions.draw(seeds, seed), strict=False)]

    assert drawn(1, 9) == drawn(1, 9) != drawn(2, 9)
    asked = [question for question in drawn(2) if not question.endswith(questions.OPEN)]
    assert len(asked) == len(set(asked)) == 9


def test_a_task_that_names_an_unknown_slot_is_refused(tmp_path):
    (tmp_path / "bad.yaml").write_text("tasks: ['Where is {plaec}?']\ntopics: {place: [Rome]}\n")
    with refused("bad.yaml", "'plaec'", "place"):
        questions.read(tmp_path / "bad.yaml")


def test_loops_are_cut():
    assert answers.looped([1, 2, 3]) == 3
    assert answers.looped([5, 6, *[7, 8, 9] * 6]) < 12
    assert answers.looped(list(range(50))) == 50


LAYERS = [0, 1, 2]
QUESTIONS = ["why", "where is it?", "who are you and what is this about?", "how …", "a", "b c d", "tell me …"]


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "model")


def load(folder):
    return CausalLM.from_folder(folder, torch.device("cpu"), torch.float32)


@pytest.fixture
def answered(folder):
    """More questions than slots, so that slots are taken again."""
    target = load(folder)
    batch = answers.Answering(target, model_files.tokenizer(folder), LAYERS, 3, 40, 256, seed=0)
    return list(batch.run(iter(QUESTIONS * 2)))


def test_answers_side_by_side_are_the_targets_own_one_by_one(folder, answered):
    target = load(folder)
    assert len(answered) > 8
    for one in answered:
        ids = one.ids.tolist()
        alone = generate(target, vanilla.Method(), None, ids[: one.prompt], Limits(target.stop_ids, 40)).output_ids
        assert alone[: len(ids) - one.prompt] == ids[one.prompt :]


def test_what_is_kept_is_what_the_target_computes_for_that_text(folder, answered):
    target = load(folder)
    target.watch(LAYERS)
    for one in answered[:6]:
        n = len(one.ids) - 1
        with torch.inference_mode():
            target.reset(n)
            logits = target.extend(one.ids[:-1].tolist(), list(range(-1, n - 1)))
            target.commit(list(range(n)))
        keys, values = target.last_layer()
        torch.testing.assert_close(one.keys, keys.transpose(0, 1), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one.values, values.transpose(0, 1), atol=1e-4, rtol=1e-4)
        features = torch.stack([target.features(LAYERS, node) for node in range(n)])
        torch.testing.assert_close(one.features, features, atol=1e-4, rtol=1e-4)
        answer_rows = slice(one.prompt - 1, n)
        log_p = logits[answer_rows].log_softmax(-1).gather(1, one.top_ids[answer_rows].long())
        torch.testing.assert_close(one.top_log_p[answer_rows].float(), log_p, atol=2e-3, rtol=2e-3)


def test_shards_give_back_what_was_written(tmp_path, answered):
    shards.write(tmp_path / "0.safetensors", answered)
    again = shards.read(tmp_path / "0.safetensors")
    kept = [one for one in answered if len(one.ids) - 1 > one.prompt]
    assert len(again) == len(kept)
    for one, sequence in zip(kept, again, strict=True):
        assert torch.equal(one.ids, sequence.ids)
        assert torch.equal(one.keys, sequence.keys)
        assert torch.equal(one.features[sequence.features_from :], sequence.features)


def test_a_batch_shows_each_query_what_drafting_at_its_lag_sees(tmp_path, answered):
    shards.write(tmp_path / "0.safetensors", answered)
    sequences = shards.read(tmp_path / "0.safetensors")[:3]
    lags = [torch.full((s.queries,), 1 + number) for number, s in enumerate(sequences)]
    batch = collate(sequences, lags)
    for row, sequence in enumerate(sequences):
        for query in range(sequence.queries):
            at = sequence.prompt + query
            assert batch.at[row, query] == at
            expected = sequence.features[at - (1 + row) - sequence.features_from]
            assert torch.equal(batch.features[row, query], expected)
            assert batch.top_ids[row, query, 0] == sequence.ids[at + 1]  # greedy
        assert batch.real[row].sum() == sequence.queries


def test_moving_a_sequence_along_changes_no_distance_but_those_to_the_anchors(folder, tmp_path, answered):
    target = load(folder)
    cos, sin = (table.clone() for table in TargetParts(target).rotary(250))
    shards.write(tmp_path / "0.safetensors", answered)
    (sequence, *_) = shards.read(tmp_path / "0.safetensors")
    lags = [torch.ones(sequence.queries, dtype=torch.long)]
    plain = collate([sequence], lags)
    moved = collate([sequence], lags, 100, 2, lambda positions: (cos[positions], sin[positions]))
    query = torch.randn(1, 2, 1, 8)
    at = int(plain.positions[0, -1])
    scores = (rotate(query, cos[at], sin[at]) * plain.keys).sum(-1)
    scores_moved = (rotate(query, cos[at + 100], sin[at + 100]) * moved.keys).sum(-1)
    torch.testing.assert_close(scores_moved[..., 2:], scores[..., 2:], atol=1e-4, rtol=1e-4)
    assert torch.equal(moved.keys[:, :, :2], plain.keys[:, :, :2])
    assert not torch.allclose(scores_moved[..., :2], scores[..., :2], atol=1e-2)


def specs(folder, seeds, **changed):
    model = {"name": "tiny", "path": str(folder)}
    machine = {"device": "cpu", "threads": 1}
    answers_spec = {
        "questions": str(seeds), "texts": None, "train_tokens": 1500, "answer_tokens": 24, "slots": 8, "seed": 0,
        "model": model, "dtype": "float32", "engine": "auto", "numerics": "fast", **machine,
    }  # fmt: skip
    trained = {
        "name": "d", "kind": "hybrid", "epochs": 3, "batch_tokens": 64, "learning_rate": 0.01, "shifted": 0.2,
        "draft_vocabulary": 30, "window": 16, "report_steps": 20, "seed": 0, "model": model, **machine,
    }  # fmt: skip
    return {**answers_spec, **{k: v for k, v in changed.items() if k in answers_spec}}, {**trained, **changed}


def run_both(folder, seeds, place, **changed):
    answers_spec, trained = specs(folder, seeds, **changed)
    listed, weights = place / "answers.json", place / "model.safetensors"
    place.mkdir(exist_ok=True)
    answer.main(["--spec", json.dumps(answers_spec), "--version", "1", "--output", str(listed)])
    flags = ["--answers", str(listed), "--weights", str(weights)]
    train.main(["--spec", json.dumps(trained), "--version", "1", *flags])
    with (place / "training.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_a_repeated_document_is_learnt_by_heart(folder, seeds, tmp_path):
    """Positive control: what the target says after each of its tokens, held-out copies included."""
    file = tmp_path / "texts.jsonl"
    text = json.dumps({"text": "the quick brown fox jumps over the lazy dog."})
    file.write_text(f"{text}\n" * 60)
    given = {"questions": None, "texts": str(file), "answer_tokens": 64, "epochs": 40, "draft_vocabulary": None}
    rows = run_both(folder, seeds, tmp_path / "d", **given)
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[-1]["agreement_lag_1"]) > 0.95
    assert json.loads((tmp_path / "d" / "config.json").read_text())["tokens"] == int(float(rows[-1]["tokens"]))


def test_an_interrupted_training_goes_on_to_the_same_weights(folder, seeds, tmp_path, monkeypatch):
    run_both(folder, seeds, tmp_path / "whole")

    class Stopped(Exception):
        pass

    save = torch.save

    def save_once(state, file):
        save(state, file)
        if state["step"] == 40:
            os.replace(file, file.with_suffix(".pt"))
            raise Stopped

    monkeypatch.setattr(torch, "save", save_once)
    with pytest.raises(Stopped):
        run_both(folder, seeds, tmp_path / "cut")
    monkeypatch.setattr(torch, "save", save)
    run_both(folder, seeds, tmp_path / "cut")
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut
    assert (tmp_path / "whole" / "training.csv").read_text() == (tmp_path / "cut" / "training.csv").read_text()


def test_more_answers_are_added_to_those_that_are_there(folder, seeds, tmp_path):
    run_both(folder, seeds, tmp_path, train_tokens=1000)
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "answers").glob("*.safetensors")}
    run_both(folder, seeds, tmp_path, train_tokens=2000)
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "answers").glob("*.safetensors")}
    assert before.items() < after.items()


def test_texts_as_they_are(folder, tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": "the cat sat on the mat. " * 5 + str(n)}) + "\n" for n in range(20)))
    rows = run_both(folder, file, tmp_path / "d", questions=None, texts=str(file), train_tokens=2000, kind="glide")
    assert rows
    file.write_text('{"text": "a"}\n{"txt": "b"}\n')
    with refused("texts.jsonl, line 2", "'text'", "txt"):
        list(plain_texts.read(file))


@pytest.mark.parametrize("text", [None, ["a"], {"a": 1}, True, 5, "", "\ud800"])
def test_what_is_no_text_is_never_trained_on(tmp_path, text):
    file = tmp_path / "texts.jsonl"
    file.write_text("\ufeff" + json.dumps({"text": "a\u2028b"}, ensure_ascii=False) + "\n\n", encoding="utf-8")
    assert list(plain_texts.read(file)) == ["a\u2028b"]
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"text": text}))
    with refused("texts.jsonl, line 3", "'text'", ()):
        list(plain_texts.read(file))


@pytest.mark.parametrize(
    ("content", "where", "found"),
    [
        ("tasks: [null]", ", tasks", "None"),
        ("tasks: Why?", ", tasks", "'Why?'"),
        ("tasks: ['{a}']\ntopics: {a: [[b]]}", ", topics.a", "['b']"),
        ("tasks: ['{a}']\ntopics: {a: [yes]}", ", topics.a", "True"),
        ("tasks: ['{a}']\ntopics: {a: bc}", ", topics.a", "'bc'"),
        ("tasks: ['{a}']\nvalues: [a]", ", values", "['a']"),
        ("[" * 5000, "", "recursion"),
        ("tasks: [", "", "line 1"),
    ],
)
def test_what_is_no_text_is_never_asked(tmp_path, content, where, found):
    (tmp_path / "bad.yaml").write_text(content)
    with refused(f"bad.yaml{where}", found, () if where else "YAML"):
        questions.read(tmp_path / "bad.yaml")
    (tmp_path / "good.yaml").write_text("tasks: ['{a}']\ntopics: {a: [1, b]}")
    assert questions.read(tmp_path / "good.yaml") == (["{a}"], {"a": ["1", "b"]})


def test_a_disk_that_is_too_small_is_noticed_before_the_start(folder, seeds, tmp_path):
    with refused("train_tokens", (10**15, "GB"), (tmp_path, "GB")):
        run_both(folder, seeds, tmp_path, train_tokens=10**15)


def test_answers_and_texts_end_with_the_context(folder, seeds, tmp_path):
    """Whatever length was asked for; and none are asked for where a question alone would fill it."""
    model = {"name": "tiny", "path": str(folder), "context": 110}
    spec = {**specs(folder, seeds)[0], "model": model, "train_tokens": 300}
    longest = max(len(answer.ids) for answer, _ in zip(collect.produced(spec, 0), range(40), strict=False))
    assert 60 < longest <= 110
    file = tmp_path / "texts.jsonl"
    file.write_text(json.dumps({"text": "abcdefgh " * 40}) + "\n")
    pieces = collect.produced({**spec, "questions": None, "texts": str(file), "answer_tokens": 500}, 0)
    assert max(len(piece.ids) for piece in pieces) == 111, "the last token of a piece is not run"
    with refused("answer_tokens", (64, 110), 46):
        next(collect.produced({**spec, "answer_tokens": 64}, 0))


def test_a_target_without_a_rotary_embedding_is_refused_before_it_answers(folder, seeds, tmp_path):
    hf_model("gpt2", vocab_size=len(WORDS)).save_pretrained(make(tmp_path / "gpt2"))
    answers_spec, trained = specs(tmp_path / "gpt2", seeds)
    with refused("drafter glide", "gpt2"):
        next(collect.produced(answers_spec, 0))
    with refused("drafter glide", "gpt2"):
        train_from_answers(trained, "1", tmp_path / "answers.json", tmp_path / "d" / "model.safetensors")
