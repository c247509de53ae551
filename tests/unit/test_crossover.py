"""The load at which speculation no longer pays: by intervals, never by the figures alone."""

from __future__ import annotations

import pytest
from refusals import figures, says

from longspec.analysis.crossover import AtLoad, gone, measured, sentence


def loads(*figures: tuple[int, float, float | None, float | None]) -> list[AtLoad]:
    return [AtLoad(n, value, low, high, "identical") for n, value, low, high in figures]


ABOVE, ACROSS, BELOW = (1.4, 1.2, 1.6), (1.1, 0.9, 1.3), (0.7, 0.6, 0.8)
UNKNOWN = (1.4, None, None)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(1, *ABOVE), (4, *ABOVE)], None),
        ([(1, *ABOVE), (4, *ACROSS), (16, *BELOW)], 4),
        ([(1, *ABOVE), (4, *BELOW), (16, *ABOVE)], 4),
        ([(16, *BELOW), (4, *ABOVE), (1, *ABOVE)], 16),
        ([(1, *ACROSS), (4, *ABOVE)], 1),
        ([(1, *ABOVE), (4, *UNKNOWN), (16, *ACROSS)], 16),
        ([(1, *ABOVE), (4, 1.4, 1.0, 1.6)], 4),
        ([(1, *UNKNOWN)], None),
        ([], None),
    ],
)
def test_it_is_the_least_load_whose_interval_does_not_lie_above_1(found, expected):
    end = gone(loads(*found))
    assert (end and end.concurrency) == expected


def test_loads_without_an_interval_are_left_out_and_the_rest_are_in_order():
    assert [load.concurrency for load in measured(loads((16, *ABOVE), (4, *UNKNOWN), (1, *BELOW)))] == [1, 16]


@pytest.mark.parametrize(
    ("found", "numbers"),
    [
        ([(1, *ABOVE), (4, *ABOVE)], [4, 1.4, 95, 1.2, 1.6]),
        ([(1, *ABOVE), (4, *ACROSS)], [1, 1.4, 95, 1.2, 1.6, 4, 1.1, 95, 0.9, 1.3]),
        ([(4, *BELOW), (16, *BELOW)], [4, 0.7, 95, 0.6, 0.8]),
        ([(4, *UNKNOWN)], []),
    ],
)
def test_a_sentence_names_the_load_with_its_figure_and_both_variants(found, numbers):
    said = sentence("v-ngram", "v", loads(*found))
    assert says(said, "v-ngram", "v")
    assert figures(said.replace("×", " ").replace("%", " ")) == numbers


def test_it_says_at_which_load_the_output_is_not_known_to_be_the_models():
    said = sentence("v-ngram", "v", [*loads((1, *ABOVE)), AtLoad(4, *ABOVE, "not lossless")])
    assert figures(said)[-1] == 4
    assert says(said, "not lossless")
    assert not says(sentence("v-ngram", "v", loads((1, *ABOVE))), "identical")
