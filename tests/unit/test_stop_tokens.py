"""A model's `stop_tokens` end its answers, whoever's loop decodes them, and stand in the run's conditions."""

from __future__ import annotations

import pytest
import tiny_folder

from longspec.core.records import Prompt
from longspec.measure.session import Runner
from longspec.models import model_files

SPEC = {
    "dataset": {"name": "d", "max_new_tokens": 12},
    "sampling": {"temperature": 0.0, "top_k": None, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0},
    **{"seed": 0, "verification": "keyed", "device": "cpu", "dtype": "float32", "engine": "eager", "numerics": "auto"},
    **{"threads": 1, "repeats": 1, "warmup": 1, "schedule": "blocked"},
}


@pytest.mark.parametrize("method", ["vanilla", "hf_generate"])
def test_an_answer_ends_at_a_stop_token(tmp_path, method):
    folder = tiny_folder.make(tmp_path / "model")
    prompt = Prompt("x", ["abc"], [3, 4, 5], False)

    def answered(**model):
        entry = {"method": method, "dtype": None} if method == "hf_generate" else {"method": method}
        runner = Runner({**SPEC, "model": {"path": str(folder), **model}, "method": {"name": "m", **entry}})
        return runner.answer(prompt, 0).turns[0], runner.conditions([prompt])["stop_ids"]

    whole, stops = answered()
    assert (stops, len(whole.output_ids)) == ([2], 12)
    token = whole.output_ids[-1]
    (text,) = model_files.tokenizer(folder).convert_ids_to_tokens([token])
    cut, stops = answered(stop_tokens=[text])
    assert cut.output_ids == whole.output_ids[: whole.output_ids.index(token) + 1]
    assert (cut.stop_reason, stops) == ("eos", [2, token])
