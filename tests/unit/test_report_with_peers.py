"""The report of an experiment that has a peer, a tree and several data sets: nothing passes for what it is not."""

from __future__ import annotations

import re

import made_up
import pytest
from refusals import figures, says
from report_page import card, chart, section, shown


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    place = made_up.make(tmp_path_factory.mktemp("results"))
    made_up.publish(place)
    return place


@pytest.fixture(scope="module")
def page(results):
    return (results / "reports" / "index.html").read_text(encoding="utf-8")


def test_a_peers_loop_and_attention_stand_beside_ours(page):
    """They differ between methods, and not between data sets."""
    for key, values in {"loop": "longspec | transformers 5 generate", "attention": "tree | sdpa"}.items():
        assert f'<th scope="row">{key}</th><td class="wrap">{values}</td>' in page
    *_, differing = section(page, "conditions").split("<table>")
    assert re.findall(r'<th scope="col"[^>]*>(.*?)</th>', differing) == ["model", "dataset", "prompts sha256"]


def test_a_method_has_one_colour_in_all_charts(page):
    """wide is the third of three methods; the second, a peer, has no shape."""
    for name in ("speedup", "shapes", "positions", "output_position", "context_tokens"):
        assert "#009e73" in chart(page, name).lower(), name
    assert "#e69f00" not in chart(page, "shapes").lower()


def test_peers_are_named_as_such_in_both_charts_of_speed(page):
    for name in ("speedup", "times"):
        assert ">hf-generate (peer)</text>" in chart(page, name)


def test_a_claim_that_stands_is_large_and_says_of_how_many_it_is_the_best(page):
    top = card(page)
    assert 'class="withheld"' not in top
    (figure,) = figures(re.search(r'<span class="figure">(.*?)</span>', top)[1])
    assert figure > 1
    assert says(shown(top), "chain: the best of 3")


def test_the_commands_that_make_it_again_begin_with_the_commit(results, page):
    assert "<pre>git checkout 0123abc\nsnakemake --cores 1 --resources gpu=1 --configfile experiment.yaml</pre>" in page
    assert 'href="#conditions"' not in section(page, "again")
    for method in made_up.GRID["methods"]:
        for dataset in "de":
            made_up.edit_run(
                results, method, lambda facts: facts["environment"].update(git_commit="0123abc-dirty"), dataset
            )
    made_up.publish(results)
    page = (results / "reports" / "index.html").read_text(encoding="utf-8")
    assert "git checkout" not in page
    assert 'href="#conditions"' in section(page, "again"), "it says where the commit stands"
