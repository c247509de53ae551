"""Each engine's file reads what its engine answered when it was recorded (record.py), and asks as it did then."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest
import tiny_folder
from refusals import refused

from longspec.backends import accounting
from longspec.backends.served import llamacpp, openai, sglang, vllm
from longspec.backends.served._interface import Launch, Question
from longspec.decoding.loop import Limits

RECORDED = Path(__file__).parent / "recorded"
HERE = sys.executable
GREEDY = {"temperature": 0.0, "top_k": None, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}


def made(name: str, speculation=None):
    engine = name.partition("-")[0].replace("llama.cpp", "llamacpp")
    return openai.make(None, speculation, [], {}, url="http://127.0.0.1:1", engine=engine)


def rows(file: Path):
    """Of each answer of a file: (its engine, case, question, row)."""
    first, *others = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    engine = made(file.parent.name, first["speculation"])
    return [(engine, row["case"], Question(**row["question"]), row) for row in others]


FILES = sorted(RECORDED.glob("*/*.jsonl"))
ANSWERS = [pytest.param(*row, id=f"{file.parent.name}/{file.stem}/{row[1]}") for file in FILES for row in rows(file)]
PAIRS = [(file.with_stem("plain"), file) for file in FILES if file.stem == "speculating"]


def test_every_engine_is_recorded():
    assert {file.parent.name.partition("-")[0] for file in FILES} == {"llama.cpp", "sglang", "vllm"}


@pytest.mark.parametrize(("engine", "case", "question", "row"), ANSWERS)
def test_an_answer_is_read_as_it_is_counted(engine, case, question, row):
    said = engine.said(row["events"])
    ids = [token for some in said.ids for token in some]
    assert len(said.ids) == len(row["events"])
    assert len(ids) == said.output_tokens <= question.room
    assert said.prompt_tokens == len(question.ids)
    assert said.cached_tokens == 0
    assert said.ended == ("stop" if case == "end" else "length")
    assert (ids[-1] in question.stop_ids) == (case == "end")
    assert said.seconds
    assert all(seconds >= 0 for seconds in said.seconds.values())
    assert len(said.scores) == (len(ids) if question.scores else 0)
    for token, scores in zip(ids, said.scores, strict=False):
        assert len(scores) >= question.scores
        assert max(scores, key=scores.__getitem__) == token
        assert max(scores.values()) <= 0


@pytest.mark.parametrize(("engine", "case", "question", "row"), ANSWERS)
def test_counts_of_drafts_fit_each_other_and_the_tokens(engine, case, question, row):
    said = engine.said(row["events"])
    if (drafts := said.drafting) is not None:
        assert 0 <= drafts.accepted <= drafts.drafted
        if drafts.histogram is not None:
            assert sum(drafts.histogram) == drafts.steps
            assert sum(n * steps for n, steps in enumerate(drafts.histogram)) == drafts.accepted
        if drafts.per_step is not None:
            assert len(drafts.per_step) == drafts.steps
            assert [sum(counts) for counts in zip(*drafts.per_step, strict=True)] == [drafts.drafted, drafts.accepted]
    limits = Limits(frozenset(question.stop_ids), question.room)
    times = [float(number) for number in range(1, len(said.ids) + 1)]
    turn = accounting.turn(said, times, 0.0, 0.0, list(question.ids), limits)
    if turn.counts is not None:
        steps, _, accepted = turn.counts
        assert len(turn.output_ids) - turn.prefill_tokens - steps - accepted in (0, -1)


@pytest.mark.parametrize(("engine", "case", "question", "row"), ANSWERS)
def test_a_question_is_asked_as_it_was(engine, case, question, row):
    assert engine.question(question) == row["body"]


@pytest.mark.parametrize(("plain", "speculating"), PAIRS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_drafts_changed_no_token_and_some_were_accepted(plain, speculating):
    accepted = 0
    for (one, case, _, its), (other, same, _, theirs) in zip(rows(plain), rows(speculating), strict=True):
        assert case == same
        said = other.said(theirs["events"])
        assert [*itertools.chain(*one.said(its["events"]).ids)] == [*itertools.chain(*said.ids)]
        accepted += said.drafting.accepted if said.drafting else 0
    assert accepted > 0


@pytest.mark.parametrize(("engine", "case", "question", "row"), ANSWERS)
def test_a_stream_that_breaks_off_is_no_answer(engine, case, question, row):
    with pytest.raises((ValueError, LookupError)):
        engine.said(row["events"][:-1])


def test_accepted_drafts_past_the_end_are_not_taken_for_the_answers():
    """What SGLang counts for an answer that its limit cut: 1 + 2 steps + 6 accepted is more than its 8 tokens."""
    (file,) = RECORDED.glob("sglang-*/speculating.jsonl")
    (row,) = [row for row in rows(file) if row[1] == "limit"]
    assert row[0].said(row[3]["events"]).drafting is None


def test_llama_servers_ids_that_do_not_arrive_are_missed():
    """It streams no id for a token that ends within a character (tools/server, process_token)."""
    (file,) = RECORDED.glob("llama.cpp-*/plain.jsonl")
    engine, _, _, row = rows(file)[0]
    *some, last = row["events"]
    with pytest.raises(ValueError, match="ids arrived"):
        engine.said([*some[1:], last])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder.make(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("engine", ["llamacpp", "sglang", "vllm"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_drafting_is_the_only_difference_between_a_server_and_its_baseline(folder, engine, device):
    module = {"llamacpp": llamacpp, "sglang": sglang, "vllm": vllm}[engine]
    own = {"gguf": str(folder / "config.json"), "converter": None} if engine == "llamacpp" else {}
    known = {"llamacpp": "spec-type", "sglang": "algorithm", "vllm": "method"}[engine]

    def started(speculation, port):
        launch = Launch({"path": str(folder)}, port, device, "bfloat16", 3, 2, 4, 128, 7)
        return module.make(HERE, speculation, ["--mine"], {"MINE": "1"}, **own).start(launch)

    plain, drafting = started(None, 9001), started({known: "ngram-x"}, 9002)
    assert (plain.flags, plain.environment) == (drafting.flags, drafting.environment)
    assert "--mine" in plain.flags
    assert plain.environment["MINE"] == "1"
    assert not any(word in " ".join(plain.flags) for word in ("9001", "ngram-x", str(folder.parent)))
    assert "ngram-x" in " ".join(set(drafting.command) - set(plain.command))
    apart = (set(plain.command) ^ set(drafting.command)) - {"detailed"}
    assert all("900" in word or "spec" in word or "ngram-x" in word for word in apart), apart
    on_a_cpu = {"OMP_NUM_THREADS", "VLLM_CPU_KVCACHE_SPACE"} & plain.environment.keys()
    assert bool(on_a_cpu) == (device == "cpu" and engine != "llamacpp")


REFUSED = [
    ("llamacpp", {"spec-type": "draft-simple,ngram-mod"}, "speculation.spec-type"),
    ("llamacpp", {"spec-type": ["ngram-simple"]}, "speculation.spec-type"),
    ("sglang", {"algorithm": "NGRAM"}, "speculation.algorithm"),
    ("sglang", {"num-steps": 3}, "speculation"),
    ("sglang", {"algorithm": "EAGLE3", "num-steps": [3]}, "speculation.num-steps"),
    ("vllm", {"num_speculative_tokens": 3}, "speculation"),
    ("vllm", {"method": "suffix"}, "speculation.suffix_decoding_max_cached_requests"),
]


@pytest.mark.parametrize(("engine", "speculation", "where"), REFUSED)
def test_drafts_that_it_does_not_know_or_that_remember_other_texts_are_refused(engine, speculation, where):
    with refused(where=where):
        made(engine, speculation)


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_a_setting_that_drafts_pass_over_is_refused(engine):
    question = Question([1], 1, [], {**GREEDY, "temperature": 1.0, "min_p": 0.1}, 1)
    assert made(engine).question(question)
    with refused(where="sampling.min_p"):
        made(engine, {"method": "x", "algorithm": "x"}).question(question)


@pytest.mark.parametrize("given", [{"program": "x"}, {"arguments": ["-x"]}, {"environment": {"X": "1"}}])
def test_a_server_that_runs_already_is_not_told_how_to_start(given):
    options = {"program": None, "speculation": None, "arguments": [], "environment": {}, **given}
    with refused(where=next(iter(given))):
        openai.make(**options, url="http://127.0.0.1:1", engine="vllm")


def test_a_server_that_runs_already_keeps_its_address():
    assert made("vllm").url == "http://127.0.0.1:1"
    assert vllm.make(HERE, None, [], {}).url is None
