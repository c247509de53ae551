"""The processors that this machine lets a process use."""

from __future__ import annotations

import math

import pytest

from longspec.models import machine


def write(root, path, **files):
    place = root / path
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name.replace("_", ".", 1)).write_text(text + "\n")


@pytest.mark.parametrize(
    ("groups", "own", "expected"),
    [
        ({"": "200000 100000"}, "0::/", 2),
        ({"": "max 100000", "a": "150000 100000", "a/b": "max 100000"}, "0::/a/b", 1.5),  # the least on the way up
        ({"": "max 100000"}, "0::/", math.inf),
        ({}, "0::/gone", math.inf),
        ({"other": "50000 100000"}, "0::/a", math.inf),
    ],
)
def test_a_quota_of_version_2_is_known(tmp_path, groups, own, expected):
    for path, text in groups.items():
        write(tmp_path / "cgroup", path, cpu_max=text)
    (tmp_path / "own").write_text(own + "\n")
    assert machine.processor_quota(tmp_path / "cgroup", tmp_path / "own") == expected


@pytest.mark.parametrize(("quota", "expected"), [("50000", 0.5), ("-1", math.inf), ("none", math.inf)])
def test_a_quota_of_version_1_is_known(tmp_path, quota, expected):
    write(tmp_path / "cgroup", "cpu,cpuacct/job", **{"cpu_cfs_quota_us": quota, "cpu_cfs_period_us": "100000"})
    (tmp_path / "own").write_text("4:memory:/other\n3:cpu,cpuacct:/job\n")
    assert machine.processor_quota(tmp_path / "cgroup", tmp_path / "own") == expected


def test_threads_are_no_more_than_the_quota_and_one_at_least(monkeypatch):
    for quota, least in ((0.5, 1), (1.9, 1), (math.inf, machine.resolve_threads("auto"))):
        monkeypatch.setattr(machine, "processor_quota", lambda quota=quota: quota)
        assert machine.resolve_threads("auto") == least
    assert machine.resolve_threads(7) == 7
