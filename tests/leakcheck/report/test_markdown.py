"""Markdown: what is wrong first, nothing in it is read as markup."""

from __future__ import annotations

import re

import pytest
import sample_run
from markdown_it import MarkdownIt

from leakcheck.report import markdown
from leakcheck.results import history


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


def test_the_table_has_what_is_not_clean_and_counts_the_others():
    text = html(sample_run.run())
    assert text.count("<tr>") == 1 + sum(one.verdict != "clean" or not one.ok for one in sample_run.suite())
    assert re.search(r"<summary>\d+ scenarios, and \d+ clean</summary>", text)


def test_what_changed_since_the_run_before_comes_first():
    before = [sample_run.scenario("a.py::broken"), sample_run.leaking("a.py::mended", [sample_run.LISTENER])]
    now = [sample_run.leaking("a.py::broken", [sample_run.LISTENER]), sample_run.scenario("a.py::mended")]
    past = [history.entry(sample_run.run(before, started="2026-11-01T00:00:00Z"))]
    text = markdown.render(sample_run.run(now), past)
    assert "**Broken since**: `a.py::broken`" in text
    assert "**Mended since**: `a.py::mended`" in text
    assert text.index("Broken since") < text.index("### ")


def test_another_leak_and_a_longer_time_are_changes_too():
    before = [sample_run.leaking("a.py::leaks", [sample_run.BUFFER]), sample_run.scenario("a.py::slow", duration_s=1.0)]
    more = sample_run.leaking("a.py::leaks", [sample_run.BUFFER, sample_run.HEADER])
    past = [history.entry(sample_run.run(before, started="2026-11-01T00:00:00Z"))]
    text = markdown.render(sample_run.run([more, sample_run.scenario("a.py::slow", duration_s=4.0)]), past)
    assert "**Leaks in another place too**: `a.py::leaks`" in text
    assert "**Slower**: `a.py::slow`" in text
    same = markdown.render(sample_run.run(before), past)
    assert "Leaks in another place" not in same
    assert "Slower" not in same
    found = sample_run.leaking("a.py::slow", [sample_run.BUFFER], duration_s=60.0)
    assert "Slower" not in markdown.render(sample_run.run([before[0], found]), past), (
        "to look for a place takes its time"
    )


def test_a_scenario_that_would_notice_less_is_a_change_too():
    def seen(detectable, **when):
        return sample_run.run([sample_run.scenario("a.py::blunt", detectable=detectable)], **when)

    def said(before, now):
        return markdown.render(seen(now), [history.entry(seen(before, started="2026-11-01T00:00:00Z"))])

    assert "**Less sensitive**: `a.py::blunt`" in said({"heap.bytes": 16.0}, {"heap.bytes": 8192.0})
    assert "Less sensitive" not in said({"heap.bytes": 0.1}, {"heap.bytes": 60.0}), (
        "no more than each run should notice"
    )
    assert "Less sensitive" not in said({"heap.bytes": 8192.0}, {"heap.bytes": 9000.0}), "as it was"


def test_500_scenarios_take_fewer_than_60_lines():
    many = [sample_run.scenario(f"a.py::number_{n}") for n in range(498)]
    leaks = [sample_run.leaking(f"a.py::leak_{n}", [sample_run.LISTENER]) for n in range(2)]
    assert len(markdown.render(sample_run.run([*leaks, *many])).splitlines()) < 60


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
    assert "<summary>7 more, and 190 in the HTML report</summary>" in text
    assert "175 more stand in the HTML report" in text
    assert text.count("```") % 2 == 0
