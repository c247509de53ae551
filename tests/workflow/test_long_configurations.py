"""A configuration may be longer than what one argument of a program can hold (128 KB on Linux)."""

from __future__ import annotations

import experiments

TEMPLATE = "{q}" + "\n\"'x" * 36_000


def test_templates_and_methods_of_any_length_reach_their_jobs(tmp_path):
    clone = experiments.prepare(tmp_path)
    chains = {f"chain-{n}": {"method": "sequential", "drafter": "ngram", "gamma": n} for n in range(1, 7)}
    clone.edit(
        schedule="interleaved",
        methods={"vanilla": {"method": "vanilla"}, **chains},
        datasets__a__template=TEMPLATE,
        datasets__a__max_prompt_tokens=20,
        datasets__a__chat=False,
        datasets__a__max_new_tokens=2,
        datasets__a__samples=1,
    )
    done = clone.snakemake("results/tiny/a/chain-6/samples.jsonl")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
