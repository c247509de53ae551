"""Preparing prompts: what is kept, cut and dropped, and that nothing is left behind by a failure."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile

import pytest
from refusals import refused

from longspec.core import program
from longspec.core.records import Prompt, read_records, read_rows
from longspec.data.prepare import TUNING
from longspec.data.sources import huggingface, longbench, pydocs, stdlib_code


def test_ids_are_the_tokenizers(prepared):
    prompts, summary = prepared([{"id": "x", "q": "abc"}])
    assert prompts[0].prompt_ids == [3, 4, 5]
    assert summary.pop("data")
    assert summary == {"kept": 1, "too_short": 0, "too_long": 0, "truncated": 0}


def test_the_chat_template_wraps_messages(prepared):
    prompts, _ = prepared([{"id": "x", "q": "abc"}], chat=True)
    assert prompts[0].prompt_ids[0] == 1
    assert prompts[0].prompt_ids[-1] == 1


def test_long_prompts_are_cut_in_their_middle(prepared):
    prompts, summary = prepared([{"id": "x", "q": "abcdefghij"}], max_prompt_tokens=4)
    assert prompts[0].turns == ["abij"]
    assert prompts[0].truncated_tokens == 6
    assert summary["truncated"] == 1


def test_a_cut_leaves_the_chat_template_whole(prepared):
    whole, _ = prepared([{"id": "x", "q": "abcdefghij" * 3}], chat=True)
    cut, _ = prepared([{"id": "x", "q": "abcdefghij" * 3}], chat=True, max_prompt_tokens=20)
    assert len(cut[0].prompt_ids) == 20
    assert cut[0].prompt_ids[:5] == whole[0].prompt_ids[:5]
    assert cut[0].prompt_ids[-5:] == whole[0].prompt_ids[-5:]


def test_the_answer_has_room_in_the_context(prepared):
    prompts, _ = prepared([{"id": "x", "q": "a" * 600}], max_new_tokens=56)
    assert len(prompts[0].prompt_ids) == 256 - 56
    prompts, _ = prepared([{"id": "x", "q": "a" * 600}], prompt_reserve=100)
    assert len(prompts[0].prompt_ids) == 256 - 100


def test_long_and_short_prompts_are_dropped_and_counted(prepared):
    rows = [{"id": n, "q": "a" * n} for n in (2, 3, 8, 9)]
    prompts, summary = prepared(rows, min_prompt_tokens=3, max_prompt_tokens=8, too_long="drop")
    assert [p.sample_id for p in prompts] == ["3", "8"]
    assert {key: summary[key] for key in summary if key != "data"} == {
        "kept": 2,
        "too_short": 1,
        "too_long": 1,
        "truncated": 0,
    }


def test_a_few_samples_are_spread_over_the_whole(prepared):
    prompts, _ = prepared([{"id": n, "q": "ab"} for n in range(10)], samples=3)
    assert [p.sample_id for p in prompts] == ["0", "3", "6"]


def test_tuning_prompts_are_never_measured_ones(prepared, tmp_path):
    rows = [{"id": n, "q": "ab" if n in (1, 3) else "ab" + "cdefghijkl"[n]} for n in range(10)]
    prompts, _ = prepared(rows, samples=3)
    spare = read_records(tmp_path / "prompts_tuning.jsonl", Prompt)
    assert [p.sample_id for p in prompts] == ["0", "3", "6"]
    assert [p.sample_id for p in spare] == ["2", "4", "5", "7", "8", "9"], "1 is 3 under another name"
    prepared(rows)
    assert read_records(tmp_path / "prompts_tuning.jsonl", Prompt) == []
    prepared([{"id": n, "q": "a" * (n + 1)} for n in range(40)], samples=1)
    assert len(read_records(tmp_path / "prompts_tuning.jsonl", Prompt)) == TUNING


def test_several_turns_stay_one_sample(prepared):
    prompts, _ = prepared([{"id": "x", "turns": ["abc", "de"]}], turns_field="turns", template="")
    assert prompts[0].turns == ["abc", "de"]
    assert prompts[0].prompt_ids == [3, 4, 5]


def test_a_template_file_replaces_the_template(prepared, tmp_path):
    (tmp_path / "t.json").write_text(json.dumps({"task": "{q}{q}"}))
    changes = {"prompt_templates": str(tmp_path / "t.json"), "template_name": "task"}
    prompts, _ = prepared([{"id": "x", "q": "ab"}], **changes)
    assert prompts[0].turns == ["abab"]
    with refused("prompt_templates", (repr(changes["prompt_templates"]), "'other'"), "template_name"):
        prepared([{"id": "x", "q": "ab"}], **{**changes, "template_name": "other"})
    (tmp_path / "t.json").write_text("\ufeff" + json.dumps({"task": "{q}"}), encoding="utf-8")
    assert prepared([{"id": "x", "q": "ab"}], **changes)[0][0].turns == ["ab"]
    (tmp_path / "t.json").write_text("[" * 100_000)
    with refused("prompt_templates", "recursion", "JSON"):
        prepared([{"id": "x", "q": "ab"}], **changes)


@pytest.mark.parametrize(
    ("rows", "changes", "where", "found", "expected"),
    [
        ([], {}, "dataset d", "rows", ()),
        ([{"id": "x", "q": ""}], {}, "dataset d, sample x", "empty", "template"),
        ([{"id": "x", "q": None}], {}, "dataset d, sample x", ("'q'", "None"), "text"),
        ([{"id": "x", "q": ["a"]}], {}, "dataset d, sample x", ("'q'", "['a']"), "text"),
        ([{"id": "x", "q": {"a": 1}}], {}, "dataset d, sample x", ("'q'", "{'a': 1}"), "text"),
        ([{"id": "x", "q": True}], {}, "dataset d, sample x", ("'q'", "True"), "text"),
        ([{"id": "x", "q": float("nan")}], {}, "dataset d, sample x", ("'q'", "nan"), "number"),
        ([{"id": "x", "t": ["a", " "]}], {"turns_field": "t"}, "dataset d, sample x", (1, "'t'", "empty"), "text"),
        ([{"id": "x\ud800", "q": "a"}], {}, "d.jsonl, line 1", "UTF-16", "Unicode"),
        ([{"id": "x", "t": ["a", "b\ud800"]}], {"turns_field": "t"}, "dataset d, sample x", (1, "UTF-16"), "Unicode"),
        ([{"id": "x", "q": "a"}], {"turns_field": "t"}, "dataset d, sample x", "'t'", ("id", "q")),
        ([{"id": "x", "q": "a"}] * 2, {}, "d.jsonl, line 2", ("'x'", "line 1"), ()),
        ([{"id": None, "q": "a"}], {}, "d.jsonl, line 1", ("'id'", "None"), ()),
        ([{"id": "x", "q": "a\ud800"}], {}, "dataset d, sample x", "UTF-16", "Unicode"),
        ([{"id": "x"}], {}, "dataset d, sample x", "'q'", "id"),
        ([{"q": "a"}], {}, "d.jsonl, line 1", "'id'", "q"),
        ([{"id": "x", "q": "a"}], {"min_prompt_tokens": 5}, "dataset d", (1, "'too_short': 1"), "min_prompt_tokens"),
        ([{"id": "x", "q": "a"}], {"template": "{q.x}"}, "template", "{q.x}", "{field}"),
        ([{"id": "x", "q": "a"}], {"template": "{q!r}"}, "template", "'{q!r}'", "{field}"),
        ([{"id": "x", "q": "a"}], {"template": "{q"}, "template", "'{q'", "{field}"),
        ([{"id": "x", "q": "a"}], {"max_new_tokens": 300}, "dataset d", ("max_new_tokens", 300), 256),
        ([{"id": "x", "t": "a"}], {"turns_field": "t"}, "dataset d, sample x", ("'t'", "'a'"), ()),
    ],
)
def test_bad_data_is_named_and_leaves_nothing(prepared, tmp_path, rows, changes, where, found, expected):
    with refused(where, found, expected):
        prepared(rows, **changes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.jsonl"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"id": "x", "q": ' + "9" * 5000 + "}", "digits"),
        ("[" * 100_000, "recursion"),
        ("[1]", "list"),
        ("nul", "JSON"),
    ],
)
def test_a_line_that_python_cannot_read_is_named(tmp_path, line, found):
    (tmp_path / "d.jsonl").write_text('{"id": "a"}\n\n' + line)
    with refused("d.jsonl, line 3", found, "JSON"):
        list(read_rows(tmp_path / "d.jsonl"))


def test_a_byte_order_mark_and_odd_line_ends_are_no_text(tmp_path):
    text = '\ufeff{"q": "a\u2028b\x85c"}\r\n\r\n{"q": 1.5}\n'
    (tmp_path / "d.jsonl").write_bytes(text.encode())
    assert list(read_rows(tmp_path / "d.jsonl")) == [(1, {"q": "a\u2028b\x85c"}), (3, {"q": 1.5})]


def test_an_id_is_a_text_and_never_a_path(prepared, tmp_path):
    ids = ["../../out", "/etc/out", "..", "a/b", "$(touch out)"]
    prompts, _ = prepared([{"id": name, "q": "abc"} for name in ids])
    assert [prompt.sample_id for prompt in prompts] == ids
    made = {"d.jsonl", "prompts.jsonl", "prompts_tuning.jsonl", "prompts_summary.json"}
    assert {path.name for path in tmp_path.iterdir()} == made
    assert not any((tmp_path / name).exists() for name in ids if name != "..")


def test_ids_that_only_their_source_could_tell_apart_are_refused(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.jsonl").write_text('{"id": "x", "q": "a"}\n' * 2)
    changes = {"source": "huggingface", "repository": str(tmp_path / "rows"), "split": "train"}
    with refused("dataset d", "'x'"):
        prepared([], **changes)


def test_a_model_without_a_chat_template_is_told_what_to_do(prepared, model, tmp_path):
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with refused(str(bare), (), ("chat_template:", "chat: false")):
        prepared([{"id": "x", "q": "a"}], model=bare, chat=True)
    assert prepared([{"id": "x", "q": "a"}], model=bare)[1]["kept"] == 1


def test_code_that_a_model_brings_never_runs(prepared, model, tmp_path, monkeypatch):
    # A person at a terminal would be asked, and here says yes.
    monkeypatch.setattr("builtins.input", lambda _: "y")
    folder = shutil.copytree(model, tmp_path / "brings_code")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with refused(str(folder / "config.json"), ("auto_map", "theirs.Config"), "trust_remote_code"):
        prepared([{"id": "x", "q": "a"}], model=folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, the disk that is always full")
@pytest.mark.parametrize("full", ["prompts.jsonl", "prompts_summary.json"])
def test_a_full_disk_is_one_line_and_leaves_nothing(prepared, tmp_path, capsys, full):
    (tmp_path / f"{full}.unfinished").symlink_to("/dev/full")
    with pytest.raises(SystemExit) as end:
        program.run(lambda: prepared([{"id": "x", "q": "a"}]) and None)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.jsonl"]


def test_other_system_errors_keep_their_traceback():
    def fail() -> None:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        program.run(fail)


def test_longbench_reads_its_archive_and_a_plain_file(tmp_path):
    rows = '{"input": "q", "context": "c"}\n{"input": "r", "context": "d"}\n'
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("data/qmsum.jsonl", rows)
    (tmp_path / "qmsum.jsonl").write_text(rows)
    for name in ("data.zip", "qmsum.jsonl"):
        read = list(longbench.read({"task": "qmsum", "path": str(tmp_path / name)}))
        assert read == [("line-1", {"input": "q", "context": "c"}), ("line-2", {"input": "r", "context": "d"})]
    with refused(str(tmp_path / "data.zip"), "lcc.jsonl"):
        list(longbench.read({"task": "lcc", "path": str(tmp_path / "data.zip")}))


def test_a_local_folder_reads_like_a_hub_data_set(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "aime"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps({"id": n, "problem": f"p{n}"}) + "\n" for n in range(5)))
    options = {"repository": str(folder), "split": "train", "id_field": "id", "id_range": [1, 3]}
    assert [name for name, _ in huggingface.read(options)] == ["1", "2", "3"]
    with refused(f"data set {folder}, row 0", "'nr'", ("id", "problem")):
        list(huggingface.read({**options, "id_field": "nr"}))
    with refused(f"data set {folder}", "'test'"):
        list(huggingface.read({**options, "split": "test"}))


def test_pythons_own_texts_are_there():
    topics = list(pydocs.read({"min_characters": 1200, "max_characters": 5000}))
    modules = list(stdlib_code.read({"max_characters": 3000}))
    assert len(topics) >= 16
    assert len(modules) >= 16
    assert all(2000 < len(row["code"]) <= 3000 and row["code"].endswith("\n") for _, row in modules)
