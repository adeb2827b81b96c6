"""Runs of ten thousand scenarios: a page that opens, a result file that is made piece by piece, time that is told."""

from __future__ import annotations

import json

import msgspec
import sample_run
from lxml import etree

from leakcheck import records, results
from leakcheck.report import html, timeline
from leakcheck.report.durations import phases, slowest
from leakcheck.results import history
from leakcheck.results.file import parts
from leakcheck.verdict.result import without_curves

MANY = 10_000
MB = 1_000_000


def large_run():
    clean = sample_run.scenario("clean", duration_s=0.1)
    leaking = sample_run.leaking("leaking", (sample_run.BUFFER,))
    return sample_run.run(
        [
            msgspec.structs.replace(
                leaking if number % 1000 == 7 else clean, id=f"tests/test_file_{number % 97}.py::test_{number}"
            )
            for number in range(MANY)
        ]
    )


def test_a_page_of_ten_thousand_scenarios_stays_small_and_has_each_of_them():
    run = large_run()
    text = html.render(run)
    assert len(text.encode()) < 2 * MB
    tree = etree.HTML(text)
    rows = tree.xpath("//div[@class='rows']//tr")
    cards = tree.xpath("//details[starts-with(@class, 'scenario')]")
    assert (len(rows), len(cards)) == (MANY - 10, 10)
    links = {link.removeprefix("#") for link in tree.xpath("//ul[@class='wrong']//a/@href")}
    assert links <= set(tree.xpath("//@id"))
    assert "Their readings stand in" in text


def test_a_page_of_five_hundred_a_quarter_of_them_leaking_stays_small_with_thirty_runs_before_it():
    fault, other = (
        [msgspec.structs.replace(finding, fingerprint=f"{name}{number}") for number in range(500)]
        for name, finding in (("a", sample_run.BUFFER), ("b", sample_run.HEADER))
    )
    scenarios = [
        sample_run.leaking(f"t_{number}", (fault[number], other[number]))
        if number % 4 == 0
        else sample_run.scenario(f"t_{number}")
        for number in range(500)
    ]
    past = [history.entry(sample_run.run(scenarios, started=f"2026-10-{day:02}")) for day in range(1, 31)]
    text = html.render(sample_run.run(scenarios), past)
    assert len(text.encode()) < 2 * MB
    tree = etree.HTML(text)
    assert len(tree.xpath("//section[contains(@class, 'timeline')]//li")) == timeline.ROWS
    assert len(tree.xpath("//tr[starts-with(@class, 'scenario')] | //details[starts-with(@class, 'scenario')]")) == 500


def test_ten_thousand_that_are_wrong_are_a_page_too():
    faults = [msgspec.structs.replace(sample_run.BUFFER, fingerprint=f"f{number}") for number in range(MANY)]
    run = sample_run.run([sample_run.leaking(f"test_{number}", (fault,)) for number, fault in enumerate(faults)])
    text = html.render(run)
    tree = etree.HTML(text)
    assert len(tree.xpath("//details[starts-with(@class, 'scenario')]")) == html.CARDS
    links = {link.removeprefix("#") for link in tree.xpath("//ul[@class='wrong']//a/@href")}
    assert links <= set(tree.xpath("//@id"))
    assert f"and {MANY - html.WRONG} more" in text


def test_the_pieces_of_a_result_file_are_the_file():
    run = sample_run.run()
    assert b"".join(parts(run)) == records.encode(run)
    empty = sample_run.run([])
    assert records.decode(b"".join(parts(empty))) == empty


def test_of_many_scenarios_each_is_a_line_of_the_file():
    run = large_run()
    pieces = list(parts(run))
    assert max(map(len, pieces)) < 100_000
    content = b"".join(pieces)
    assert records.decode(content) == run
    lines = [line for line in content.splitlines() if line.startswith(b"  {")]
    assert len(lines) == MANY
    assert json.loads(lines[0].rstrip(b","))["id"] == "tests/test_file_0.py::test_0"


def test_what_is_as_expected_keeps_the_ends_of_its_readings_only():
    clean = sample_run.scenario("clean")
    slim = without_curves(clean)
    assert {meter.name for meter in slim.meters} == {meter.name for meter in clean.meters if meter.decisive}
    assert all(len(meter.samples) <= 2 for meter in slim.meters)
    leaking = sample_run.leaking("leaking", (sample_run.BUFFER,))
    assert without_curves(leaking) == leaking


def test_the_slowest_are_told_with_what_took_their_time(tmp_path):
    told = {"start": 0.5, "rounds": 2.0, "memray": 65.0}
    slow = sample_run.scenario("slow", duration_s=67.5, phases=told)
    run = sample_run.run([sample_run.scenario("quick", duration_s=0.2), slow])
    assert list(slowest(run, 1)) == [
        "The slowest 1 of 2 scenarios:",
        "  68 s  slow: start 0.5 s, rounds 2.0 s, memray 65 s",
    ]
    assert list(slowest(run, 0)) == []
    assert phases(run.scenarios[0]) == "not known"
    (tmp_path / "results.json").write_bytes(results.encode(run))
    assert results.read(tmp_path).scenarios[1].phases == told
