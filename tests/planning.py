"""What each job of an experiment is given, as the rules' own text says, evaluated in this process without Snakemake.

A job's parameters and its command decide whether it runs again, so that a change can be held against the exact jobs
that it changes in the time of one import. test_reruns.py holds what is read here against what the real Snakemake noted.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from snakemake.io import expand

from longspec.config.load import load
from longspec.config.plan import rerun_triggers
from longspec.config.plan.plan import Plan
from longspec.core import fingerprint, registry

SHARED = re.compile(r"^def (?:every|of_job|of_the_other)\(.*?(?=^\S)|^MEASURED = \[.*?^\]", re.MULTILINE | re.DOTALL)
"""Python of the rules' files on which their sections depend."""
RULE = re.compile(r"^rule (\w+):\n((?:(?: .*)?\n)*)", re.MULTILINE)
SECTION = re.compile(r"^ {4}(\w+):(.*\n(?: {5,}.*\n|\s*\n)*)", re.MULTILINE)
CACHES = (rerun_triggers._code, rerun_triggers._data, rerun_triggers._model, rerun_triggers._content)
READ = (fingerprint._tree, fingerprint._imports, fingerprint._code, registry.names, registry.literal)


class Wildcards(dict):
    """As a rule's functions see them."""

    __getattr__ = dict.__getitem__


class Files(list):
    """A rule's inputs or outputs: by number, and by name where they have one."""

    def __init__(self, given: tuple[Any, ...], named: dict[str, Any], wildcards: dict[str, str]) -> None:
        made = {name: self._filled(value, wildcards) for name, value in {**dict(enumerate(given)), **named}.items()}
        super().__init__(file for files in made.values() for file in files)
        self.__dict__ |= {name: files[0] for name, files in made.items() if isinstance(name, str) and files}

    @staticmethod
    def _filled(value: Any, wildcards: dict[str, str]) -> list[str]:
        value = value(wildcards) if callable(value) else value
        return [file.format_map(wildcards) for file in ([value] if isinstance(value, str) else value)]


class Rules:
    """The rules of a checkout, for one plan."""

    def __init__(self, place: Path, plan: Plan) -> None:
        sources = [place / "Snakefile", *sorted((place / "workflow" / "rules").glob("*.smk"))]
        text = "".join(f"{file.read_text(encoding='utf-8')}\n" for file in sources)
        text = text.replace("<results>", plan.results).replace("<reports>", plan.reports)
        self.names: dict[str, Any] = {"plan": plan, "expand": expand, "os": os}
        exec("\n".join(SHARED.findall(text)), self.names)
        self.sections = {name: dict(SECTION.findall(body)) for name, body in RULE.findall(text)}

    def section(self, rule: str, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What stands in one section of a rule: its values without and with a name."""
        taken = textwrap.dedent(self.sections[rule].get(name, ""))
        given: tuple[tuple[Any, ...], dict[str, Any]] = eval(
            f"_take(\n{taken}\n)", self.names, {"_take": lambda *values, **named: (values, named)}
        )
        return given

    def job(self, target: str) -> tuple[str, Wildcards]:
        """The rule that makes a file, and its wildcards."""
        found = []
        for rule in self.sections:
            values, named = self.section(rule, "output")
            for pattern in Files((*values, *named.values()), {}, Kept()):
                parts = re.sub(r"\\{(\w+)\\}", lambda m: f"(?P<{m[1]}>[^/]+)", re.escape(pattern))
                if match := re.fullmatch(parts, target):
                    found.append((rule, Wildcards(match.groupdict())))
        assert found, f"no rule makes {target}"
        assert all(one == found[0] for one in found), f"{target} is made twice: {found}"
        return found[0]

    def given(self, rule: str, wildcards: Wildcards) -> dict[str, Any]:
        """A job's parameters, and its command."""
        _, params = self.section(rule, "params")
        asked = {"wildcards": wildcards}
        for name in ("input", "output"):
            if any(callable(value) and name in inspect.signature(value).parameters for value in params.values()):
                asked[name] = Files(*self.section(rule, name), wildcards)
        made: dict[str, Any] = {"shell": self.sections[rule]["shell"]}
        for name, value in params.items():
            if callable(value):
                value = value(**{key: asked[key] for key in inspect.signature(value).parameters})
            made[name] = value
        return made


class Kept(dict):
    """Leaves each wildcard as it stands."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


@contextlib.contextmanager
def planned_with(place: Path, package: Path | None) -> Iterator[None]:
    """In the working directory of an experiment, with the code of `package` in the place of this checkout's."""
    with contextlib.chdir(place), pytest.MonkeyPatch.context() as patch:
        forgotten = [*CACHES, *(READ if package else ())]
        if package:
            for module in (fingerprint, registry):
                patch.setattr(module, "PACKAGE", package)
        for cached in forgotten:
            cached.cache_clear()
        yield
    for cached in forgotten:
        cached.cache_clear()


def plan() -> Plan:
    """Plan the experiment of the working directory."""
    config = Path("config.yaml")
    return Plan(load(yaml.safe_load(config.read_text(encoding="utf-8")), [config]))


def _rules(place: Path) -> Rules:
    """Those of a checkout, from inside it."""
    return Rules(place, plan())


def _named(rule: str, wildcards: Wildcards) -> str:
    return ":".join([rule, *filter(None, ["/".join(wildcards.values())])])


def job_of(place: Path, *files: str) -> dict[str, str]:
    """Each file's job, by name."""
    with planned_with(place, None):
        rules = _rules(place)
        return {file: _named(*rules.job(file)) for file in files}


def inputs(place: Path, file: str) -> dict[str, str]:
    """The inputs of a file's job that have a name."""
    with planned_with(place, None):
        rules = _rules(place)
        rule, wildcards = rules.job(file)
        found = Files(*rules.section(rule, "input"), wildcards)
        return {name: given for name, given in vars(found).items() if isinstance(given, str)}


def jobs(place: Path, own_code: bool = False) -> dict[str, dict[str, Any]]:
    """The parameters and the command of all jobs of the experiment in a checkout, by rule or rule:wildcards.

    `own_code`: the versions are those of the checkout's code, which may differ from this one's.
    """
    with planned_with(place, place / "workflow" / "longspec" if own_code else None):
        rules = _rules(place)
        values, _ = rules.section("all", "input")
        found = [rules.job(file) for file in Files(values, {}, Wildcards())]
        return {_named(rule, wildcards): rules.given(rule, wildcards) for rule, wildcards in found}


def changed(before: dict[str, Any], after: dict[str, Any]) -> SimpleNamespace:
    """Names of jobs: new or with other parameters (`now`), and no more there (`gone`)."""
    now = {name for name, given in after.items() if before.get(name) != given}
    return SimpleNamespace(now=now, gone=set(before) - set(after))
