"""run.json: what it says is kept, what is damaged is refused by its key, and what is written can be read."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pydantic
import pytest
import results_folder
from refusals import refused

from longspec.core import run_record
from longspec.core.records import SCHEMA_VERSION

FACTS = results_folder.facts_of("chain")


def changed(*path: str | int, to: object = None) -> dict:
    """A run.json with another value at one place; without one, the place is not there."""
    facts = copy.deepcopy(FACTS)
    place = facts
    for key in path[:-1]:
        place = place[key]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return facts


def written(folder: Path, facts: object) -> Path:
    file = folder / "run.json"
    file.write_text(json.dumps(facts), encoding="utf-8")
    return file


def test_all_that_the_file_says_is_kept_and_nothing_more(tmp_path):
    facts = {**FACTS, "of_tomorrow": {"a": [1]}, "profile": [{"steps": 3, "draft_seconds": 0.5}]}
    facts["conditions"] = {**facts["conditions"], "cuda_graphs": "yes"}
    facts["tuning"] = {"options": {"gamma": 3}, "also": 1}
    record = run_record.read(written(tmp_path, facts))
    assert record.stated() == facts
    assert isinstance(record.profile[0]["steps"], int), "a count is no float"
    assert record.conditions.stated() == facts["conditions"]


@pytest.mark.parametrize(
    ("facts", "key"),
    [
        (changed("conditions", "seed"), "conditions.seed"),
        (changed("conditions", "threads", to="2"), "conditions.threads"),
        (changed("pieces", 0, "engine_checks", "target", "distance", to="far"), "target.distance"),
        (changed("pieces", 0, "host"), "pieces.0.host"),
        (changed("spec", "method"), "spec"),
        (changed("spec", to=[1]), "spec"),
        (changed("peak_memory_bytes", to=1.5), "peak_memory_bytes"),
        (changed("schema_version", to=SCHEMA_VERSION - 1), f"{SCHEMA_VERSION - 1}"),
        ([FACTS], "None"),
    ],
)
def test_what_is_damaged_or_of_another_version_is_refused_by_its_key(tmp_path, facts, key):
    with refused("run.json", key):
        run_record.read(written(tmp_path, facts))


def test_what_is_no_json_is_refused(tmp_path):
    file = tmp_path / "run.json"
    for text in ("{", None):
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        with refused("run.json", "cannot be read"):
            run_record.read(file)


def test_what_is_written_can_be_read_and_keeps_its_order(tmp_path):
    facts = {key: value for key, value in FACTS.items() if key != "schema_version"}
    text = run_record.text(facts)
    assert list(json.loads(text)) == ["schema_version", *facts]
    file = tmp_path / "run.json"
    file.write_text(text)
    assert run_record.read(file) == results_folder.record("chain")
    with pytest.raises(pydantic.ValidationError):
        run_record.text({**facts, "pieces": None})


def test_widths_are_those_of_the_method_and_where_it_was_tuned_of_the_choice():
    tree = {"spec": {"method": {"name": "wide", "method": "tree", "tree_shape": "auto"}}}
    assert results_folder.record(fields=tree).widths == []
    tuned = {**tree, "tuning": {"options": {"tree_shape": [3, 1]}}}
    assert results_folder.record(fields=tuned).widths == [3, 1]
    fixed = {"spec": {"method": {"name": "chain", "method": "sequential", "gamma": 2}}}
    assert results_folder.record(fields=fixed).widths == [1, 1]
