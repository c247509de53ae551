"""Results to plant faults in. Faults in the verifiers are planted by the tests of losslessness."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import made_up
import pytest

sys.path.append(str(Path(__file__).parents[1] / "lossless"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_up.make(tmp_path_factory.mktemp("results"))


@pytest.fixture
def results(made, tmp_path):
    return shutil.copytree(made, tmp_path / "results")
