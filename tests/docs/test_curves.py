"""The figures of `how-it-works.md` show what was read and judged in a run, and the example still comes out so."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import make_curves as curves
import pytest

from leakcheck import units
from leakcheck.meters import LEDGER, of
from leakcheck.records import Sample
from leakcheck.verdict.doublings import Series

DOCS = Path(__file__).parents[2] / "docs"


def figure(verdict):
    return (DOCS / "images" / f"how-{verdict}.svg").read_text("utf-8")


@pytest.mark.parametrize("verdict", curves.FIGURES)
def test_a_figure_is_what_its_readings_make(verdict):
    told = curves.kept(figure(verdict))
    assert told["verdict"] == verdict
    assert curves.draw(told) == figure(verdict), "drawn by hand, or by another version: make screenshots"


@pytest.mark.parametrize("verdict", ["clean", "bounded", "leak", "inconclusive"])
def test_the_judge_says_of_the_readings_what_the_figure_says(verdict):
    judgement = curves.judged(curves.kept(figure(verdict)))
    assert judgement.verdict == verdict
    assert f"{judgement.rule}: {judgement.reason}" in figure(verdict)


@pytest.mark.parametrize("verdict", ["clean", "bounded", "leak", "inconclusive"])
def test_the_bars_are_the_growth_of_the_last_three_doublings(verdict):
    samples = [Sample(*pair) for pair in curves.kept(figure(verdict))["samples"]]
    rates = Series(samples, of(LEDGER, "B").thresholds).rates
    texts = [text.text for text in ET.fromstring(figure(verdict)).iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text in {units.size(rate) for rate in rates}][-3:] == [*map(units.size, rates)]


def test_the_page_shows_each_figure_under_its_verdict():
    page = (DOCS / "how-it-works.md").read_text("utf-8")
    for verdict in curves.FIGURES:
        assert f"](images/how-{verdict}.svg)" in page.partition(f"\n## {verdict}\n")[2].partition("\n## ")[0]


def test_the_figures_load_nothing_tell_no_path_and_are_read_in_both_themes():
    for verdict in curves.FIGURES:
        assert re.findall(r"url\(|@font-face|<image|/(?:home|root|tmp|work|usr)/", figure(verdict)) == []
        assert "prefers-color-scheme: dark" in figure(verdict)
        assert len(figure(verdict)) < 20_000


@pytest.mark.slow
def test_the_example_comes_out_as_drawn_today(tmp_path):
    found = {scenario.verdict: curves.readings(scenario) for scenario in curves.measured(tmp_path)}
    assert set(found) == set(curves.FIGURES)
    for verdict, told in found.items():
        before = curves.kept(figure(verdict))
        assert (told["scenario"], told["failure"]) == (before["scenario"], before["failure"])
        assert verdict == "error" or curves.judged(told).verdict == verdict
