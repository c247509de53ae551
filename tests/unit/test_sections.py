"""Sections of the configuration: faults are told in words, specs hold what was given, the README is made of them."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Literal

import pytest
from refusals import refused
from test_config import SMALL, changed

from longspec.config import reference, specs
from longspec.config.load import load
from longspec.config.options import option_type
from longspec.config.refusals import checked
from longspec.config.sections.base import Positive, Section
from longspec.core import registry

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("methods.chain.gamma", "four", ("an integer", "1", "1024", "auto")),
        ("methods.chain.gamma", "auto\n", "auto"),
        ("methods.wide.tree_shape", "wide", ("a list", "1", "64", "auto")),
        ("threads", "many", ("auto", "an integer", "1")),
        ("sampling.top_p", 0, ("a number", "0", "1")),
        ("models.m.trust_remote_code", "yes", ("true", "false")),
        ("models.m.resources.partition", "a b", "letters"),
        ("datasets.d.path", "", "empty"),
    ],
)
def test_what_would_be_right_is_said_in_words(path, value, expected):
    """For whoever knows neither JSON Schema nor regular expressions."""
    raw = copy.deepcopy(SMALL)
    raw["sampling"], raw["models"]["m"]["resources"] = {}, {}
    *parents, last = path.split(".")
    functools.reduce(dict.__getitem__, parents, raw)[last] = value
    with refused(path, repr(value), expected) as caught:
        load(raw)
    assert not set(caught.value.expected) & set("^$[]\\"), caught.value


@pytest.mark.parametrize("name", ["a b", "x" * 65])
def test_what_a_name_may_be_is_said_in_words(name):
    raw = {**SMALL, "models": {name: {"path": "model"}}}
    with refused("models", repr(name), ("64", "letters")) as caught:
        load(raw)
    assert not set(caught.value.expected) & set("^$[]\\"), caught.value


def test_a_misspelt_key_is_told_before_the_one_that_is_missing_for_it():
    raw = {key: value for key, value in SMALL.items() if key != "methods"}
    with refused("metods", (), "methods"):
        load({**raw, "metods": SMALL["methods"]})


def test_a_number_stays_as_it_is_written():
    """1 and 1.0 are one number and two texts: a spec that is written anew would run every job again."""
    complete = load({**SMALL, "sampling": {"temperature": 1}, "timeout": 5})
    assert repr([complete.model_dump()["sampling"]["temperature"], complete.timeout]) == "[1, 5]"


def test_what_is_not_given_is_not_told_to_a_job():
    raw = copy.deepcopy(SMALL)
    raw["models"]["m"] = {"path": "model", "context": None, "drafter": {"path": "drafter"}}
    raw["methods"]["glide"] = {"method": "sequential", "drafter": "glide"}
    complete = load(raw)
    assert specs.model_spec(complete, "m") == {"name": "m", "path": "model", "trust_remote_code": False}
    assert specs.generate_spec(complete, "m", "d", "glide")["method"]["weights"] == {"path": "drafter"}


@pytest.mark.parametrize("key", ["drafter", "datasets", "resources"])
def test_a_drafters_model_has_no_data_sets_and_no_drafter(key):
    raw = changed("models.m.drafter", {"path": "x", key: {"path": "y"}})
    with refused(f"models.m.drafter.{key}"):
        load(raw)


def test_of_several_types_the_one_that_was_meant_is_told():
    """Whichever of them comes first: [1, 0] is no text, but nobody meant one."""

    class Either(Section):
        value: Literal["auto"] | list[Positive]

    with refused("here.value.1", 0, "1"):
        checked(Either, {"value": [1, 0]}, "here")


def test_a_schema_that_nothing_would_check_is_a_bug_of_its_plugin():
    with pytest.raises(ValueError, match="multipleOf"):
        option_type({"type": "integer", "multipleOf": 2, "description": "Even."})


def test_the_readmes_tables_are_what_the_code_does():
    """`make config-tables` puts them right."""
    readme = (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8")
    marked = reference.MARKED.findall(readme)
    assert sorted(marked) == sorted([*reference.SECTIONS, *registry.KINDS])
    assert reference.rewritten(readme) == readme


@pytest.mark.parametrize("section", reference.SECTIONS.values(), ids=reference.SECTIONS)
def test_every_key_is_described_in_sentences(section):
    assert [key for key, field in section.model_fields.items() if not (field.description or "").endswith(".")] == []
