"""The report: complete, readable without colour or sight, safe with any text, the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import analysis_steps
import pytest
import yaml
from refusals import figures, refused, says
from report_page import Page, card, chart, described, section, shown, svgs
from results_folder import CHAIN, CONDITIONS, GRID, VANILLA, turn, write_all, write_run, write_verdicts

from longspec.cli import report
from longspec.core.records import Sample
from longspec.report import browser, table
from longspec.report import page as report_page
from longspec.report.charts import data as charted

CONFIG = {"seed": 0, "methods": {"chain": {"method": "sequential"}, "vanilla": {"method": "vanilla"}}}


def render(results: Path, grid: dict = GRID, verdict: str = "ties only", unpinned: tuple[str, ...] = ()) -> str:
    write_verdicts(results, verdict, grid)
    analysis_steps.run(results, grid, "metrics", "speedup", "audit", "summary", reports=results / "made")
    arguments = ["--grid", json.dumps(grid), "--results", str(results)]
    report.main(
        [*arguments, "--config", json.dumps(CONFIG), "--unpinned", *unpinned, "--reports", str(results / "made")]
    )
    return (results / "made" / "index.html").read_text(encoding="utf-8")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_all(tmp_path)


@pytest.fixture
def page(results: Path) -> str:
    return render(results)


def test_what_a_model_or_a_machine_says_shows_as_text(page):
    parsed = Page(page)
    assert "b" not in {tag for tag, _ in parsed.tags}
    assert "alert(1)" not in "".join(re.findall(r"<script>(.*?)</script>", page, re.DOTALL))
    assert "a CPU <script>alert(1)</script>" in "".join(parsed.text)
    data = json.loads(re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[0])
    assert data["samples"][0]["outputs"][0]["parts"] == ["<script>alert(1)</script> & <b>bold</b>"]


HOSTILE = ["</script>", "<!--<script>", "\u2028 \u2029 & < >", '"];alert(1);["', "\\u003c", "\U0001f600"]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_can_end_the_data_that_holds_it(text):
    safe = browser.embedded({"a": [text]})
    assert not set(safe) & set("<>&\u2028\u2029")
    assert json.loads(safe) == {"a": [text]}


def test_only_the_pages_own_script_may_run(page):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" == policy


def test_the_page_needs_no_network(page):
    loading = ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
    links = [value or "" for _, attributes in Page(page).tags for name, value in attributes.items() if name in loading]
    assert links
    assert not [link for link in links if not link.startswith(("#", "data:,"))]
    assert "@import" not in page
    assert "fetch(" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


def test_ids_are_unique_and_links_lead_somewhere(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)
    assert set(re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', page)) <= set(ids)


def test_each_chart_is_xml_with_its_title_and_its_numbers_in_words(page):
    assert len(svgs(page)) == 5
    for svg in svgs(page):
        title, words = list(ET.fromstring(svg))[:2]
        assert title.tag.endswith("title")
        assert words.tag.endswith("desc")
        assert title.text
    assert says(described(chart(page, "speedup")), "d", "chain 2.50×")
    assert says(described(chart(page, "positions")), "d", "chain 0.75")
    assert says(described(chart(page, "output_position")), "d", "chain 2.00")
    assert says(described(chart(page, "times")), "chain", "vanilla")
    assert figures(described(chart(page, "times"))) == [0, 2], "slower, of all"


def test_texts_of_charts_stay_text_in_the_colour_of_the_page(page):
    bars = svgs(page)[0]
    assert ">2.50×, to 104.64</text>" in bars
    assert "currentColor" in bars
    assert "#123456" not in page


def test_slower_samples_have_hollow_marks(results):
    assert _marks(chart(render(results), "times")) == {"filled": 2, "hollow": 0}
    slow = [Sample(s.sample_id, 0, [turn(t.output_ids, t.steps, 1, 0, 9) for t in s.turns]) for s in VANILLA]
    write_run(results, "chain", slow)
    assert _marks(chart(render(results), "times")) == {"filled": 0, "hollow": 2}


def _marks(svg: str) -> dict[str, int]:
    """Marks in the panels, the legend's aside."""
    styles = re.findall(r'<use [^>]*style="([^"]*)"', svg)
    styles = [style for style in styles if "#0072b2" in style.lower()]
    hollow = sum("fill: none" in style for style in styles)
    return {"filled": len(styles) - hollow - 1, "hollow": hollow}


def test_a_method_keeps_its_colour_when_another_has_nothing_to_show(results):
    write_run(results, "idle", VANILLA)
    grid = {**GRID, "methods": ["vanilla", "idle", "chain"]}
    write_run(results, "chain-too", CHAIN)
    grid["methods"].append("chain-too")
    bars, positions, *_ = svgs(render(results, grid))
    assert "idle" not in bars  # vanilla over again is the noise floor, and no method
    for svg in (bars, positions):
        assert {"#0072b2", "#e69f00"} <= set(re.findall(r"#[0-9a-f]{6}", svg.lower()))


def test_figures_are_those_of_the_tables(page):
    for figure in ("2.50×", "ties only", "0.333", "5.000", "1 MiB", "0.06", "104.64"):
        assert says(shown(page), figure)
    assert figures(shown(card(page)))[-7:] == [2.5, 95, 0.06, 104.64, 2, 1, 2], "interval, n, identical outputs, of all"


@pytest.mark.parametrize("verdict", ["ties only", "not lossless"])
def test_what_may_not_be_claimed_is_small_print_on_its_card(results, verdict):
    """Two prompts are too few; and a ratio that is none of this model is not even called withheld."""
    top = card(render(results, verdict=verdict))
    assert 'class="figure"' not in top
    headline = re.search(r'<span class="withheld">(.*?)</span>', top)[1]
    assert figures(headline) == []
    assert (headline.lower() == verdict) == (verdict == "not lossless")
    assert says(shown(top), "2.50×", json.loads((results / "summary.json").read_text())["claims"][0]["reason"])


def test_what_is_not_drawn_is_counted(results, monkeypatch):
    write_all(results, "e")
    grid = {**GRID, "cells": {"m": ["d", "e"]}}
    whole = render(results, grid)
    monkeypatch.setattr(charted, "MOST_CELLS", 1)
    page = render(results, grid)
    assert (whole.count('<li class="card">'), page.count('<li class="card">')) == (2, 1)
    note = r'<p class="note">([^<]*)</p>\s*</header>'
    assert re.search(note, whole) is None
    assert figures(re.search(note, page)[1]) == [2, 1]
    monkeypatch.setattr(report_page, "MOST_CLAIMS", 1)
    assert section(render(results, grid), "claims").count("<li>") == 1
    assert figures(shown(section(render(results, grid), "claims").split("</ul>")[1]))[:2] == [1, 2]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("summary.json", "{", "cannot be read"),
        ("summary.json", '{"baseline": "vanilla"}', "started"),
        ("m/tokens.json", "[1]", "0"),
        ("m/d/prompts_summary.json", '{"kept": "many"}', "kept"),
    ],
)
def test_a_damaged_file_is_named_with_its_key(results, page, name, text, found):
    (results / name).write_text(text, encoding="utf-8")
    arguments = ["--grid", json.dumps(GRID), "--results", str(results)]
    with refused(name, found):
        report.main([*arguments, "--config", json.dumps(CONFIG), "--reports", str(results / "made")])


def test_a_speedup_that_is_not_lossless_says_so_wherever_it_stands(results):
    page = render(results, verdict="not lossless")
    made = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    assert says(shown(card(page)), "not lossless", made["claims"][0]["reason"])
    assert figures(shown(card(page)))[-2:] == [1, 2]
    assert says(shown(section(page, "claims")), "chain", "d", "m", made["claims"][0]["reason"])
    assert figures(made["verdict"]["lossless"]) == [1, 1], "lossy methods, of all"
    assert says(shown(re.search(r'<p class="verdict">(.*?)</p>', page)[1]), made["verdict"]["lossless"])
    assert ">2.50× (not lossless), to 104.64</text>" in chart(page, "speedup")
    assert says(described(chart(page, "speedup")), "chain 2.50× (not lossless)")


def test_the_baselines_acceptance_is_a_dash(page):
    row = re.search(r"<td>vanilla</td>((?:<td[^>]*>–</td>){9})</tr>", page)
    assert row


def test_prompts_dropped_and_truncated_are_shown(results, page):
    assert re.search(rf">31</td>.*?>41</td>.*?>1</td>.*?>owner/d@{'0' * 40}</td>", page)
    (results / "m" / "d" / "prompts_summary.json").unlink()
    assert "<table" in section(page, "prompts")
    assert "<table" not in section(render(results), "prompts")


def test_what_no_commit_pins_is_named(results, page):
    assert 'class="warn"' not in section(page, "again")
    again = section(render(results, unpinned=("models.m (<a/b)",)), "again")
    assert says(shown(re.search(r'<p class="warn">(.*?)</p>', again, re.DOTALL)[1]), "models.m (<a/b)")


def test_conditions_are_shown_and_those_of_one_data_set_apart(results, page):
    for key in CONDITIONS:
        assert f'<th scope="row">{key.replace("_", " ")}</th>' in page
    assert section(page, "conditions").count("<table>") == 2
    write_all(results, "e", max_new_tokens=99)
    page = render(results, {**GRID, "cells": {"m": ["d", "e"]}})
    *_, differing = section(page, "conditions").split("<table>")
    assert re.search(r"<td>e</td><td>99</td>", differing)
    assert '<th scope="row">max new tokens</th>' not in page


def test_the_configuration_on_the_page_makes_the_same_results_again(page):
    text = "".join(Page(section(page, "again")).text)
    assert "snakemake --cores 1 --resources gpu=1 --configfile experiment.yaml" in text
    printed = yaml.safe_load(text[text.index("seed: 0") :])
    assert printed == CONFIG
    # The first method that drafts nothing is the baseline, so order matters.
    assert list(printed["methods"]) == GRID["methods"]


def test_the_baseline_goes_by_its_own_name(results):
    write_run(results, "plain", VANILLA)
    page = render(results, {"cells": {"m": ["d"]}, "methods": ["plain", "chain"], "baseline": "plain"})
    assert "vanilla" not in page[: page.index('id="again"')]
    assert says(described(chart(page, "times")), "plain")


def test_names_that_look_like_formulas_are_drawn_as_they_are(results):
    write_all(results, "$a_b$")
    page = render(results, {**GRID, "cells": {"m": ["d", "$a_b$"]}})
    assert all(">$a_b$</text>" in svg for svg in svgs(page))


def test_a_baseline_alone_gives_a_page_without_charts(results):
    page = render(results, {**GRID, "methods": ["vanilla"]})
    assert svgs(page) == []
    assert "<td>vanilla</td>" in section(page, "throughput")


def test_the_same_results_give_the_same_bytes(results, page):
    assert render(results) == page


def test_steps_show_what_was_drafted(results):
    """Tokens 1 2 3 | 4 | 5: the first is prefill's, 2 and 3 were accepted, 4 and 5 are the target's own."""
    (results / "m" / "tokens.json").write_text(json.dumps(["", *"abcdefghi"]))
    page = render(results)
    data = json.loads(re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[0])
    first, second = (sample["outputs"][1] for sample in data["samples"])
    assert first["parts"] == ["a", "bc", "d", "", "e", ""]
    assert second["parts"] == ["a", "b", "i", "", "\n\na", "b", "c", ""]
    assert (first["parts_at"], second["parts_at"]) == (None, 2)


def test_a_drafters_training_is_drawn_where_its_numbers_are(results, page, monkeypatch):
    assert 'id="training"' not in page
    (results / "drafters" / "mine").mkdir(parents=True)
    (results / "drafters" / "mine" / "training.csv").write_text("step,loss,accuracy\n1,9.5,0.1\n2,4.25,0.3\n")
    assert 'href="#training"' not in render(results), "no drafter of this experiment"
    monkeypatch.setitem(CONFIG, "drafters", {"mine": {}})
    page = render(results)
    assert 'href="#training"' in page
    (svg,) = svgs(section(page, "training"))
    assert says(described(svg), "loss 4.25", "accuracy 0.3")


def test_long_tables_say_that_they_are_cut(results, monkeypatch):
    monkeypatch.setattr(table, "MOST_ROWS", 2)
    caption = re.search(r'<details class="long">.*?<caption>(.*?)</caption>', render(results), re.DOTALL)[1]
    assert says(caption, "timings.csv")
    assert figures(caption) == [2, 4]
