"""Markdown: what is wrong first, nothing in it is read as markup."""

from __future__ import annotations

import pytest
import sample_run
from markdown_it import MarkdownIt

from leakcheck.report import markdown


def html(run):
    return MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").render(markdown.render(run))


def test_the_first_line_says_how_the_run_stands():
    first = markdown.render(sample_run.run()).splitlines()[0]
    assert first == (
        "## ❌ Leak check: 6 of 25 scenarios are not as expected: 3 leaks, 1 error, 1 missed leak, 1 over budget."
    )


def test_a_good_run_is_short_and_good():
    text = markdown.render(sample_run.run([sample_run.scenario("a.py::one"), sample_run.scenario("a.py::two")]))
    assert text.startswith("## ✅ Leak check: All 2 scenarios are as expected.")
    assert "###" not in text


def test_each_leak_names_its_line_and_fingerprint():
    text = markdown.render(sample_run.run())
    assert "`app/hub.py:41`" in text
    assert f"`{sample_run.LISTENER.fingerprint}`" in text


def test_the_table_has_a_row_for_every_scenario():
    assert html(sample_run.run()).count("<tr>") == 26


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", "a|b|c", "**bold** [x](http://x) @team", "``` `x` ~~~", "# h"]
)
def test_hostile_text_stays_text(hostile):
    scenario = sample_run.leaking(
        f"a.py::{hostile}", [sample_run.replace(sample_run.LISTENER, title=hostile)], reason=hostile, command=hostile
    )
    page = html(sample_run.run([scenario]))
    for forbidden in ("<script", "<strong>", "<a ", "<h1"):
        assert forbidden not in page
    assert page.count("<tr>") == 2


def test_a_huge_run_is_cut_with_a_word_and_whole_blocks():
    scenarios = [sample_run.leaking(f"a.py::number_{n}", [sample_run.LISTENER] * 5) for n in range(200)]
    text = markdown.render(sample_run.run(scenarios))
    assert len(text) < 65_536
    assert text.endswith("see the HTML report.*\n")
    assert text.count("```") % 2 == 0
