"""The report of an experiment that has a peer, a tree and several data sets: nothing passes for what it is not."""

from __future__ import annotations

import re

import made_up
import pytest


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    place = made_up.make(tmp_path_factory.mktemp("results"))
    made_up.publish(place)
    return place


@pytest.fixture(scope="module")
def page(results):
    return (results / "reports" / "index.html").read_text(encoding="utf-8")


def svg(page: str, title: str) -> str:
    return next(found for found in re.findall(r"<svg.*?</svg>", page, re.DOTALL) if f">{title}" in found)


def test_a_peers_loop_and_attention_stand_beside_ours(page):
    """They differ between methods, and not between data sets."""
    for key, values in {"loop": "longspec | transformers 5 generate", "attention": "tree | sdpa"}.items():
        assert f'<th scope="row">{key}</th><td class="wrap">{values}</td>' in page
    differing = page[page.index("Conditions that differ between data sets</caption>") :]
    assert re.findall(r'<th scope="col"[^>]*>(.*?)</th>', differing) == ["model", "dataset", "prompts sha256"]


def test_a_method_has_one_colour_in_all_charts(page):
    """wide is the third of three methods; the second, a peer, has no shape."""
    for title in ("Speedup over vanilla", "Shape of each draft", "Conditional acceptance", "Acceptance length by"):
        assert "#009e73" in svg(page, title).lower(), title
    assert "#e69f00" not in svg(page, "Shape of each draft").lower()


def test_peers_are_named_as_such_in_both_charts_of_speed(page):
    for title in ("Speedup over vanilla", "Decode seconds of each sample"):
        assert ">hf-generate (peer)</text>" in svg(page, title)


def test_the_commands_that_make_it_again_begin_with_the_commit(results, page):
    assert "<pre>git checkout 0123abc\nsnakemake --cores 1 --resources gpu=1 --configfile experiment.yaml</pre>" in page
    for method in made_up.GRID["methods"]:
        for dataset in "de":
            made_up.edit_run(
                results, method, lambda facts: facts["environment"].update(git_commit="0123abc-dirty"), dataset
            )
    made_up.publish(results)
    page = (results / "reports" / "index.html").read_text(encoding="utf-8")
    assert "git checkout" not in page
    assert "whose working tree had changes" in page
