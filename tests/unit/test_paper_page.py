"""The page beside LongSpec's figures: its counting rules, and which of our figures stand beside which of its."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from results_folder import GRID, write_all
from test_report import CONFIG, render

from longspec.report import longspec_paper
from longspec.report import results as read_results


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_all(tmp_path)


def paper(results: Path, config: dict) -> str:
    """The page beside LongSpec's figures."""
    return longspec_paper.render(read_results.read(results, GRID, config))


COUNTED = {
    ("sequential", 0.0): ["2.000", "5.000", "2.500", "+0 %"],  # (A + S) / S
    ("sequential", 1.0): ["2.000", "5.000", "2.500", "+0 %"],
    ("tree", 0.0): ["1.571", "6.875", "3.438", "+38 %"],  # (A + S + P) / (S + P): no phantom token
    ("tree", 1.0): ["2.143", "9.375", "4.688", "+88 %"],  # (A + 2S + P) / (S + P)
}
"""A = 4 accepted, S = 4 steps, P = 3 prefills, 1.6 s; LongSpec's rules as measured on its own scripts at 15e4998."""


@pytest.mark.parametrize(("method", "temperature"), COUNTED)
def test_the_paper_page_counts_as_longspec_does(results, method, temperature):
    """8 tokens in 4 steps and 1.6 s, 3 turns; vanilla 2 a second."""
    render(results)
    config = {
        "methods": {"chain": {"method": method}, "vanilla": {"method": "vanilla"}},
        "sampling": {"temperature": temperature},
    }
    page = paper(results, config)
    rows = re.findall(r"<tr><td>m</td><td>d</td><td>chain</td>(.*?)</tr>", page)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    assert [row[1:] for row in cells] == [["2.000", "5.000", "2.500", "+0 %"], COUNTED[method, temperature]]
    assert ("phantom" in cells[1][0]) == ((method, temperature) == ("tree", 1.0))
    assert page.count("<td>V-7B</td><td>gov_report</td>") == 1
    assert "config/paper.yaml" in page, "what runs its models and tasks, of which this experiment has none"


def test_our_figures_stand_beside_longspecs_of_the_same_model_and_task(results):
    render(results)
    config = {
        **CONFIG,
        "models": {"m": {"hub": "lmsys/vicuna-7b-v1.5-16k"}},
        "datasets": {"d": {"source": "longbench", "task": "gov_report"}},
        "sampling": {"temperature": 0},
    }

    row = re.search(r"<tr><td>V-7B</td><td>gov_report</td>(.*?)</tr>", paper(results, config))[1]
    assert re.findall(r"<td[^>]*>(.*?)</td>", row) == [
        "45.760", "102.230", "3.570", "2.230", "chain", "5.000", "2.000", "2.500", "0.06 to 104.64", "ties only",
    ]  # fmt: skip
    for key, other in (("models", {}), ("datasets", {}), ("sampling", {"temperature": 1.0})):
        assert "<td>chain</td>" not in paper(results, {**config, key: other}).split('id="counting"')[0]
