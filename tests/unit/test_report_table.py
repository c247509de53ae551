"""A table of the page: no value is not 0, an interval stands beside its figure, what is left out is counted."""

from __future__ import annotations

import pandas as pd
import pytest
from refusals import figures, says

from longspec.report import table as module
from longspec.report.table import table

FRAME = pd.DataFrame(
    {
        "method": ["chain", None],
        "speedup": [1.5, None],
        "speedup_low": [1.2, None],
        "speedup_high": [1.9, None],
        "samples": [1000, 0],
        "peak_memory_bytes": [2**21, None],
    }
)


def test_a_figure_and_its_interval_are_one_cell_and_what_is_missing_is_a_dash():
    made = table(FRAME, "caption")
    assert [head.text for head in made.heads] == ["method", "speedup [95% interval]", "samples", "peak memory"]
    assert [[cell.text for cell in row] for row in made.rows] == [
        ["chain", "1.500 [1.200, 1.900]", "1,000", "2 MiB"],
        ["–", "–", "0", "–"],
    ]
    assert [cell.kind for cell in made.rows[1]] == ["", "number", "number", "number"], "as the rest of the column"


@pytest.mark.parametrize(("file", "names"), [("", []), ("timings.csv", ["timings.csv"])])
def test_a_table_that_is_cut_says_so_and_where_the_rest_is(monkeypatch, file, names):
    monkeypatch.setattr(module, "MOST_ROWS", 1)
    made = table(FRAME, "caption", file=file)
    assert len(made.rows) == 1
    assert figures(made.caption) == [1, 2]
    assert says(made.caption, *names)
    monkeypatch.undo()
    assert table(FRAME, "caption", file=file).caption == "caption"
