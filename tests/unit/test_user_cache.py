"""A folder of the user's cache is there whole, made once, or not there."""

from __future__ import annotations

import os

import pytest
from refusals import refused

from longspec.core.errors import UserError
from longspec.models import user_cache


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LONGSPEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fill(source, place):
    (place / "made").write_text(source.name)


def refuse(source, place):
    (place / "half").touch()
    raise UserError(str(source), "bad", "good")


def vanish(source, place):
    (place / "half").touch()
    os._exit(9)


def test_a_folder_is_made_once(tmp_path, cache):
    assert user_cache.made_once("a", fill, tmp_path / "first") == cache / "a"
    assert (user_cache.made_once("a", fill, tmp_path / "second") / "made").read_text() == "first"


def test_what_was_left_half_made_is_made_again(tmp_path, cache):
    (cache / "a.unfinished").mkdir(parents=True)
    (cache / "a.unfinished" / "half").touch()
    assert [file.name for file in user_cache.made_once("a", fill, tmp_path).iterdir()] == ["made"]


@pytest.mark.parametrize(("make", "found"), [(refuse, "bad"), (vanish, "killed")])
def test_a_failure_is_one_message_and_leaves_nothing(tmp_path, cache, make, found):
    with refused(str(tmp_path), found):
        user_cache.made_once("a", make, tmp_path)
    assert not [left for left in cache.iterdir() if left.is_dir()]
