"""The contract of every plug-in file, tested on each file there is, and so on a new one.

Options are read as text, as planning does.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import jsonschema
import pydantic
import pytest
from tiny import CONTEXT, VOCAB, ours

from longspec.config.options import option_type
from longspec.core import registry
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, vanilla

EVERY = [(kind, name) for kind in registry.KINDS for name in registry.names(kind)]
INTERFACE = {
    "methods": {"Method"},
    "peers": {"make"},
    "served": {"make"},
    "drafters": {"make"},
    "sources": {"fingerprint", "read"},
}
"""What a file of each kind defines at module level, beside OPTIONS."""

every_plugin = pytest.mark.parametrize(("kind", "name"), EVERY, ids=lambda value: str(value))


def tree(kind: str, name: str) -> ast.Module:
    return ast.parse(registry.file(kind, name).read_text(encoding="utf-8"))


def test_there_are_plugins_of_each_kind() -> None:
    assert {kind for kind, _ in EVERY} == set(registry.KINDS)


@every_plugin
def test_it_says_what_it_is(kind: str, name: str) -> None:
    assert len(ast.get_docstring(tree(kind, name)) or "") > 20


@every_plugin
def test_each_option_is_a_described_schema(kind: str, name: str) -> None:
    for option, schema in registry.options(kind, name).items():
        assert option.isidentifier()
        jsonschema.Draft202012Validator.check_schema(schema)
        option_type(schema)  # every keyword of it is one that is checked
        assert schema.keys() & {"type", "enum"}, f"{option}: any type would pass"
        assert schema["description"].endswith("."), f"{option}: describe it in a sentence"


@every_plugin
def test_each_default_is_valid(kind: str, name: str) -> None:
    for option, schema in registry.options(kind, name).items():
        if "default" in schema:
            pydantic.TypeAdapter(option_type(schema)).validate_python(schema["default"], strict=True)
        assert schema.get("default") is not None or "null" in schema["type"] or "default" not in schema, option


@every_plugin
def test_it_defines_its_kinds_interface(kind: str, name: str) -> None:
    kinds = ast.FunctionDef | ast.ClassDef
    defined = {node.name for node in tree(kind, name).body if isinstance(node, kinds)}
    assert INTERFACE[kind] <= defined


@pytest.mark.parametrize(("kind", "name"), [pair for pair in EVERY if pair[0] != "sources"])
def test_methods_and_drafters_do_not_know_each_other(kind: str, name: str) -> None:
    """m + d files, never m x d. A drafter may be made of drafters, and a server that runs
    already is read as the engine that it is."""
    others = [(k, n) for k, n in EVERY if k != "sources" and not kind == k in ("drafters", "served")]
    files = {f"longspec.{registry.module(*other)}" for other in others}
    for node in ast.walk(tree(kind, name)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [str(node.module)]
        assert not files & set(names)


@pytest.mark.parametrize("name", registry.names("methods"))
def test_a_method_says_whether_it_drafts_and_branches_and_how_wide(name: str) -> None:
    assert registry.literal("methods", name, "WIDTHS") in (None, *registry.options("methods", name))
    assert isinstance(registry.literal("methods", name, "DRAFTS"), bool)
    assert isinstance(registry.literal("methods", name, "BRANCHES"), bool)


@pytest.mark.parametrize("name", registry.names("methods"))
def test_a_methods_widths_are_all_that_it_proposes(name: str) -> None:
    """The literal, read as text, against what the method makes of its options."""
    make = registry.load("methods", name).Method
    default = {option: schema["default"] for option, schema in registry.options("methods", name).items()}
    assert make(**default).max_nodes == 1 + sum(registry.widths({"method": name, **default}))
    assert bool(registry.widths({"method": name, **default})) == registry.drafts(name)
    for option in default:
        tuned = make(**{**default, option: "auto"})
        for candidate in tuned.candidates([[0.8, 0.4]] * 4):
            assert registry.widths({"method": name, **default, **candidate.options}) == candidate.widths


@pytest.mark.parametrize("name", registry.names("methods"))
def test_a_methods_constructor_takes_exactly_its_options(name: str) -> None:
    (method,) = [n for n in tree("methods", name).body if isinstance(n, ast.ClassDef) and n.name == "Method"]
    inits = [n for n in method.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    taken = {a.arg for i in inits for a in (*i.args.args, *i.args.kwonlyargs)} - {"self"}
    assert taken == set(registry.options("methods", name))


@pytest.mark.parametrize("name", registry.names("drafters"))
def test_a_drafters_make_takes_the_target_and_exactly_its_options(name: str) -> None:
    (make,) = [n for n in tree("drafters", name).body if isinstance(n, ast.FunctionDef) and n.name == "make"]
    first, *rest = [a.arg for a in (*make.args.args, *make.args.kwonlyargs)]
    assert first == "target"
    assert set(rest) == set(registry.options("drafters", name))


def test_options_of_a_method_and_a_drafter_never_share_a_name() -> None:
    """A `methods:` entry is one flat mapping of both."""
    reserved = {"method", "drafter", "name"}
    for method in registry.names("methods"):
        for drafter in registry.names("drafters"):
            ours, theirs = set(registry.options("methods", method)), set(registry.options("drafters", drafter))
            assert not ours & theirs
            assert not (ours | theirs) & reserved


@pytest.mark.parametrize(
    "source",
    ["X = 1", "OPTIONS = dict(gamma={})", "OPTIONS = {'gamma': make()}"],
    ids=["none", "a call", "a call inside"],
)
def test_options_that_are_not_a_literal_are_refused(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drafters").mkdir()
    (tmp_path / "drafters" / "unlike_any_other.py").write_text(source)
    monkeypatch.setattr(registry, "PACKAGE", tmp_path)
    with pytest.raises((LookupError, ValueError)):
        registry.options("drafters", "unlike_any_other")


def test_the_interface_files_are_no_plugins() -> None:
    assert all(not name.startswith("_") for _, name in EVERY)


def test_the_readmes_drafter_works_and_changes_no_output() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    plugin: dict[str, Any] = {}
    exec(block, plugin)
    assert plugin["OPTIONS"] == {}
    target, limits = ours("llama"), Limits(frozenset({2}), 40, CONTEXT)
    accepted = 0
    for prompt in ([3], [5, 9, 9, 9], list(range(3, VOCAB))):
        expected = generate(target, vanilla.Method(), None, prompt, limits).output_ids
        turn = generate(target, sequential.Method(2), plugin["make"](target), prompt, limits)
        assert turn.output_ids == expected
        accepted += sum(a for _, _, a in turn.steps)
    assert accepted > 0
