"""A tiny model on the disk, and `prepare` on rows for it, as the command line calls it."""

from __future__ import annotations

import json

import pytest
import tiny_folder

from longspec.cli import prepare
from longspec.core.records import Prompt, read_records

ENTRY = {
    "name": "d",
    "source": "jsonl",
    "id_field": "id",
    "template": "{q}",
    "turns_field": None,
    "chat": False,
    "samples": None,
    "max_new_tokens": 8,
    "min_prompt_tokens": 0,
    "max_prompt_tokens": None,
    "prompt_reserve": None,
    "too_long": "truncate",
    "prompt_templates": None,
    "template_name": None,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_folder.make(tmp_path_factory.mktemp("model"))


@pytest.fixture
def prepared(model, tmp_path):
    def run(rows, model=model, stop_tokens=None, **changes):
        data = tmp_path / "d.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        output = tmp_path / "prompts.jsonl"
        entry = {**ENTRY, "path": str(data), **changes}
        named = {"name": "m", "path": str(model), **({"stop_tokens": stop_tokens} if stop_tokens else {})}
        arguments = ["--model-spec", json.dumps(named)]
        prepare.main([*arguments, "--dataset-spec", json.dumps(entry), "--output", str(output)])
        summary = json.loads((tmp_path / "prompts_summary.json").read_text())
        return read_records(output, Prompt), summary

    return run
