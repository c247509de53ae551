"""What a served engine's counts come to: exactly what its tokens bear out, else nothing, and never another number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspec.backends import accounting
from longspec.backends.served._interface import Drafting, Said
from longspec.decoding.loop import Limits

STOP = 9
PROMPT = [1, 2, 3]


def answered(chunks: list[list[int]], drafting: Drafting | None = None, ended: str = "length", **more):
    """The turn of an answer whose chunks arrive a second apart, the first after two."""
    whole = [token for ids in chunks for token in ids]
    said = Said([*chunks, []], ended, **{"prompt_tokens": 3, "output_tokens": len(whole), "drafting": drafting, **more})
    limits = Limits({STOP}, len(whole))
    return accounting.turn(said, [102.0 + n for n in range(len(chunks) + 1)], 100.0, 90.0, PROMPT, limits)


def test_the_clock_runs_from_the_first_chunk_to_the_last_with_tokens():
    turn = answered([[5], [6, 7], [8]])
    assert (turn.prefill_seconds, turn.decode_seconds, turn.prefill_tokens) == (2.0, 2.0, 1)
    assert turn.output_ids == [5, 6, 7, 8]
    assert (turn.served.sent_seconds, turn.served.chunk_tokens, turn.served.chunk_seconds) == (
        10.0,
        [1, 2, 1],
        [2, 3, 4],
    )


def test_an_engine_without_drafts_takes_a_step_a_token():
    assert answered([[5], [6, 7], [8]], Drafting(0, 0)).counts == (3, 0, 0)


def test_an_engine_that_says_nothing_of_drafts_leaves_them_unknown():
    assert answered([[5], [6, 7]]).counts is None


def test_totals_give_the_steps_where_no_draft_can_lie_past_the_end():
    assert answered([[5], [6], [7], [8], [4]], Drafting(6, 2)).counts == (2, 6, 2)
    assert answered([[5], [6], [STOP]], Drafting(6, 0), "stop").counts == (2, 6, 0)
    assert answered([[5], [6], [STOP]], Drafting(6, 2), "stop").counts is None


def test_more_accepted_drafts_than_tokens_are_no_answer():
    with pytest.raises(ValueError, match="accepts 5"):
        answered([[5], [6], [7]], Drafting(6, 5))


def test_each_step_is_told_and_the_last_is_cut_where_the_text_ends():
    """As vLLM 0.32 counted on a real answer: 20 accepted, of which two lie past the end."""
    per_step = [(4, 4)] * 5
    turn = answered([[1], [1] * 5, [2] * 5, [3] * 5, [4] * 5, [5] * 3], Drafting(20, 20, 5, per_step))
    assert turn.steps == [(4, 4, 4)] * 4 + [(4, 3, 3)]
    assert turn.counts == (5, 20, 19)


def test_steps_without_a_draft_stand_where_a_chunk_has_one_token():
    turn = answered([[1], [2], [3, 4], [5], [6]], Drafting(8, 1, 2, [(4, 1), (4, 0)]))
    assert turn.steps == [(0, 0, 0), (4, 2, 1), (4, 1, 0), (0, 0, 0)]


@pytest.mark.parametrize("chunks", [[[1], [2, 3, 4, 5]], [[1, 2], [3, 4, 5]], [[1], [2, 3, 4], [5]]])
def test_chunks_that_hold_two_steps_leave_the_steps_unknown(chunks):
    assert answered(chunks, Drafting(4, 2, 2, [(2, 1), (2, 1)])).counts is None


@given(
    st.lists(st.one_of(st.none(), st.tuples(st.integers(1, 4), st.integers(0, 4))), min_size=1, max_size=12), st.data()
)
def test_whatever_an_engine_does_its_steps_are_found_or_unknown(plan, data):
    """Steps as an engine takes them (None: without a draft), its output cut anywhere in the last one."""
    steps = [(0, 0) if one is None else (one[0], min(one)) for one in plan]
    sizes = [accepted + 1 for _, accepted in steps]
    sizes[-1] = data.draw(st.integers(1, sizes[-1]))
    told = [step for step in steps if step[0]]
    drafting = Drafting(sum(d for d, _ in told), sum(a for _, a in told), len(told), told)
    turn = answered([[1], *([2] * size for size in sizes)], drafting)
    emitted = [*steps[:-1], (steps[-1][0], min(steps[-1][1], sizes[-1]))]
    expected = (len(steps), drafting.drafted, sum(accepted for _, accepted in emitted))
    assert turn.counts in (expected, None)
    assert turn.counts == expected or steps[-1][1] >= sizes[-1]  # only where the end cuts a step may it stay unknown


@pytest.mark.parametrize(
    ("more", "said"),
    [({"output_tokens": 4}, "counts 4"), ({"prompt_tokens": 2}, "counts 2"), ({"ended": "stop"}, "ends no text here")],
)
def test_an_answer_that_contradicts_itself_is_refused(more, said):
    with pytest.raises(ValueError, match=said):
        answered([[5], [6, 7]], **more)


def test_an_answer_that_goes_on_after_the_end_of_a_text_is_cut_there_and_its_counts_are_unknown():
    turn = answered([[5], [6], [STOP], [7], [8]], Drafting(4, 1))
    assert (turn.output_ids, turn.stop_reason, turn.counts) == ([5, 6, STOP], "eos", None)
    assert turn.decode_seconds == 2.0


def test_events_that_arrive_at_once_are_one_chunk():
    said = Said([[5], [6, 7], [8], []], "length", 3, 4, drafting=Drafting(4, 1, 2, [(2, 1), (2, 0)]))
    turn = accounting.turn(said, [102.0, 102.0, 103.0, 103.0], 100.0, 100.0, PROMPT, Limits({STOP}, 4))
    assert (turn.prefill_tokens, turn.decode_seconds, turn.steps) == (3, 1.0, [(2, 1, 0)])
