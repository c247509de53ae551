"""The report of served engines: each group by itself, loads apart, nothing over our own loop but where it says so."""

from __future__ import annotations

import json
import re

import pytest
import served_results
from refusals import figures, says
from report_page import chart, described, section, shown
from results_folder import write_all
from test_report import render

from longspec.analysis import tables
from longspec.report import publication
from longspec.report.charts.svg import PALETTE


def rendered(place, grid) -> str:
    return (served_results.publish(place, grid) / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return served_results.make(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def page(results):
    return rendered(results, served_results.GRID)


@pytest.fixture(scope="module")
def at_one_load(results, tmp_path_factory):
    """The page of the same results, had only one load been asked for."""
    place = served_results.at_one_load(results, tmp_path_factory.mktemp("fewer") / "results")
    methods = [label for label in served_results.GRID["methods"] if "@" not in label]
    baselines = {label: name for label, name in served_results.BASELINES.items() if "@" not in label}
    return rendered(place, {**served_results.GRID, "methods": methods, "baselines": baselines})


def table_of(html: str, caption: str) -> list[list[str]]:
    """The cells of the table whose caption begins so."""
    found = re.search(rf"<caption><span>{re.escape(caption)}.*?</table>", html, re.DOTALL)[0]
    rows = re.findall(r"<tr>(.*?)</tr>", found, re.DOTALL)
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]


def test_without_an_engine_there_is_no_section_and_no_word_of_one(tmp_path):
    page = render(write_all(tmp_path))
    assert 'id="engines"' not in page
    assert "#engines" not in page
    assert "in flight" not in page


def test_each_group_has_its_table_with_its_baseline_first(page):
    part = section(page, "speedup")
    groups = re.findall(r"<caption><span>Speedup over ([\w@.-]+)", part)
    assert groups == ["vanilla", "vllm", "vllm@4", "llamacpp", "llamacpp@4"]
    for name in groups[1:]:
        rows = table_of(part, f"Speedup over {name}: {served_results.VERSIONS[name.partition('@')[0]]}")
        methods = [row[2] for row in rows[1:]]
        first, _, load = name.partition("@")
        assert methods == [f"{name} (baseline)", f"{first}-ngram" + f"@{load}" * bool(load)] * 2
        assert all(row[3] == "–" for row in rows[1::2]), "a baseline has no speedup"
        assert all(row[3] != "–" for row in rows[2::2])
    assert {row[2] for row in table_of(part, "Speedup over vanilla")[1:]} == {
        *served_results.GRID["methods"][1:5],
    }


def test_a_card_stands_for_each_group_and_names_its_baseline(page, at_one_load):
    for html, groups in ((page, 5), (at_one_load, 3)):
        cards = re.findall(r'<li class="card">(.*?)</li>', html, re.DOTALL)
        assert len(cards) == 2 * groups, "models and data sets, times groups"
        assert {"over vanilla", "over vllm"} <= set(re.findall(r"over [\w@.-]+", shown(" ".join(cards))))


def test_the_chart_of_load_says_each_variants_figures_by_load(page):
    said = described(chart(page, "load"))
    assert says(
        said, "m / d: vllm-ngram 1.62× with 1, 0.96× with 4", "m / e: llamacpp-ngram 1.20× with 1, 1.15× with 4"
    )
    svg = chart(page, "load")
    assert ">1</text>" in svg
    assert ">4</text>" in svg
    assert ">vllm-ngram</text>" in svg


def test_a_sentence_for_each_variant_says_where_its_speedup_is_gone(page):
    said = [shown(item) for item in re.findall(r"<li>(.*?)</li>", section(page, "engines"), re.DOTALL)]
    assert len(said) == 4, "two variants on two data sets"
    gone, holds = said[:2]
    assert says(gone, "m · d", "vllm-ngram", "vllm")
    assert figures(gone.replace("×", "").replace("%", " "))[::5] == [1, 4]
    assert says(holds, "llamacpp-ngram", "llamacpp")
    assert figures(holds.replace("×", ""))[:2] == [4, 1.15]


def test_at_one_load_there_is_neither_chart_nor_sentence_of_load(at_one_load):
    assert 'id="chart-load"' not in at_one_load
    assert 'id="engines"' in at_one_load
    assert "<li>" not in section(at_one_load, "engines")


def test_the_fastest_stands_first_at_each_load_and_all_are_over_our_baseline(page):
    head, *rows = table_of(section(page, "engines"), "Which engine is fastest?")
    assert head[2:4] == ["method", "requests in flight"]
    of_d = [row for row in rows if row[1] == "d"]
    assert [row[3] for row in of_d] == ["1"] * 9 + ["4"] * 4
    for load in "14":
        rates = [float(row[4].replace(",", "")) for row in of_d if row[3] == load]
        assert rates == sorted(rates, reverse=True)
    by_name = {row[2]: row[-1] for row in of_d}
    assert by_name["vllm"] == by_name["vllm-ngram@4"] == "2.500 [2.400, 2.600]"
    assert by_name["vanilla"] == "1.000"
    assert "[" in by_name["chain"]


def test_servers_are_shown_with_version_weights_speculation_and_command(page):
    part = section(page, "engines")
    rows = {row[1]: row for row in table_of(part, "Servers")[1:]}
    assert list(rows) == list(served_results.ENGINES), "one for all loads and data sets"
    assert rows["vllm"][2:] == ["vLLM 0.32.0", "org/m@0123", "–", "–"]
    assert "num_speculative_tokens" in rows["vllm-ngram"][4]
    assert rows["llamacpp-ngram"][5] == "gguf models/own &amp; &lt;b&gt;.gguf", "an own file is named"
    assert "<pre>vllm serve &#39;/models/&lt;m&gt; x&#39; --port 1234</pre>" in part


def test_bars_stand_with_their_baseline_and_a_variant_has_one_colour_at_all_loads(page):
    svg = chart(page, "speedup")
    for baseline in ("vanilla", "vllm", "vllm@4", "llamacpp@4"):
        assert svg.count(f">over {baseline}</text>") == 2, "once a data set"
    assert svg.count(">vllm-ngram</text>") == 1
    assert ">vllm-ngram@4</text>" not in svg
    assert says(described(svg), "vllm-ngram@4", "llamacpp-ngram")
    colours = dict.fromkeys(re.findall(r"#[0-9a-f]{6}", svg.lower()))
    assert len(set(colours) & {colour.lower() for colour in PALETTE}) == 5, "chain, the peer, wide, and one an engine"


def test_other_charts_draw_a_variant_once_against_its_own_baseline(page):
    said = described(chart(page, "times"))
    assert says(said, "slower than vllm", "slower than vanilla", "vllm-ngram")
    assert "@4" not in said


def test_samples_stand_beside_their_own_baseline(page):
    data = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    names = data["methods"]
    beside = {name: names[data["beside"][number]] for number, name in enumerate(names)}
    timed = dict(zip(names, data["timed"], strict=True))
    assert beside["vllm-ngram@4"] == "vllm@4"
    assert beside["vllm@4"] == beside["chain"] == "vanilla"
    assert timed["vllm-ngram@4"]
    assert timed["chain"]
    assert not timed["vllm@4"], "two engines' seconds are not divided"


def test_the_configuration_keeps_each_variant_once_in_the_order_of_the_grid(page):
    text = section(page, "again")
    places = [text.index(f"\n  {name}:") for name in ("vanilla", "vllm", "vllm-ngram", "llamacpp-ngram")]
    assert places == sorted(places)
    assert "@4:" not in text


def test_papers_tables_name_the_baseline_and_keep_the_engines_own(results):
    made = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    printed = [tables.read(results / f"{name}.csv") for name in ("acceptance", "speedup")]
    markdown = publication.markdown(made, *printed)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines() if line.startswith("|")]
    head, cells = rows[0], {(row[1], row[2]): dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
    assert {"baseline", "throughput"} <= set(head)
    assert cells["d", "vllm@4"]["speedup"] == "baseline of its group"
    assert cells["d", "vllm@4"]["over reference"] == "2.50 [2.40, 2.60]"
    assert cells["d", "vllm-ngram@4"]["baseline"] == "vllm@4"
    assert cells["d", "vllm-ngram@4"]["throughput"] == "0.96 [0.90, 1.03]"
    assert cells["d", "chain"]["baseline"] == "vanilla"
    assert "baseline of its group" in publication.latex(made, *printed)


def test_papers_tables_without_engines_have_no_column_for_them(results):
    made = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    made["claims"] = [claim for claim in made["claims"] if "ngram" not in claim["method"]]
    printed = [tables.read(results / f"{name}.csv") for name in ("acceptance", "speedup")]
    ours = printed[1][~printed[1]["method"].isin(served_results.LABELS)]
    head = publication.markdown(made, printed[0], ours).splitlines()[2]
    assert "baseline" not in head
    assert "throughput" not in head


def test_the_page_beside_longspecs_figures_leaves_engines_out(results, page):
    assert "vllm" not in (results / "reports" / "paper.html").read_text(encoding="utf-8")
