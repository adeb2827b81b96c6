"""The page of two sides in a real browser: what changed first, both curves and findings next to each other."""

from __future__ import annotations

import hostile
import pytest
import sample_run
from axe_playwright_python.sync_playwright import Axe

from leakcheck.gate import compare
from leakcheck.records import Control
from leakcheck.report import chart, side_by_side

pytestmark = pytest.mark.needs_chromium

FASTER = sample_run.replace(sample_run.HEADER, bytes_per_iteration=900.0)
BASE = [
    sample_run.scenario("a.py::begins"),
    sample_run.scenario("a.py::begins_too"),
    sample_run.leaking("a.py::mended", [sample_run.SOCKET]),
    sample_run.leaking("b.py::both", [sample_run.BUFFER, sample_run.HEADER]),
    sample_run.scenario("b.py::slow"),
    sample_run.scenario("b.py::blunt"),
    sample_run.scenario("b.py::open", "error", meters=[]),
    sample_run.scenario("b.py::gone"),
    sample_run.scenario("b.py::as_before"),
]
HEAD = [
    sample_run.leaking("a.py::begins", [sample_run.LISTENER]),
    sample_run.leaking("a.py::begins_too", [sample_run.LISTENER]),
    sample_run.scenario("a.py::mended"),
    sample_run.leaking("b.py::both", [sample_run.BUFFER, FASTER]),
    sample_run.scenario("b.py::slow", duration_s=44.0),
    sample_run.scenario("b.py::blunt", detectable={"heap.bytes": 4000.0}),
    sample_run.scenario("b.py::open", "error", meters=[]),
    sample_run.scenario("b.py::comes"),
    sample_run.scenario("b.py::as_before"),
]


def render(base, head, **more):
    bases, heads = [sample_run.run(base)], [sample_run.run(head, **more)]
    return side_by_side.render(bases, heads, compare.compare(bases, heads))


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "changes.html"
    file.write_text(render(BASE, HEAD, environment={**sample_run.run().environment, "python": "3.12.1"}))
    return file


@pytest.fixture
def page(open_page, page_file):
    return open_page(page_file)


def test_what_changed_stands_first_a_leak_of_several_scenarios_once(page):
    assert page.locator(".headline").inner_text() == (
        "3 of 10 scenarios got worse, 1 better, 1 slower, 1 less sensitive, 1 undecided."
    )
    badges = page.locator(".changed .badge").all_inner_texts()
    assert [badge[1:].strip() for badge in badges] == [
        "new leak", "fixed", "worse", "slower", "less sensitive", "undecided", "new", "gone",
    ]  # fmt: skip
    assert "also in a.py::begins_too" in page.locator(".changed li").first.inner_text()
    assert page.locator(".changed li").first.bounding_box()["y"] < 900
    assert "3.11.7 → 3.12.1" in page.locator(".panel", has_text="What else differs").inner_text()


@pytest.mark.parametrize("width", [1440, 768, 390])
def test_both_sides_stand_next_to_each_other_and_on_a_phone_one_under_the_other(open_page, page_file, width):
    page = open_page(page_file, viewport={"width": width, "height": 900})
    both = page.locator(".scenario", has_text="b.py::both")
    base, head = (both.get_by_role("group", name=name, exact=True).bounding_box() for name in ("Base", "Head"))
    if width > 700:
        assert base["y"] == head["y"]
        assert head["x"] > base["x"] + base["width"]
    else:
        assert head["y"] > base["y"] + base["height"]
        assert base["x"] == head["x"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_each_side_has_its_curve_and_findings_and_says_which_are_new(page):
    begins = page.locator(".scenario").first
    base, head = (begins.get_by_role("group", name=name, exact=True) for name in ("Base", "Head"))
    assert "clean" in base.locator("h4").first.inner_text()
    assert [side.locator("svg.chart").count() for side in (base, head)] == [1, 1]
    assert (base.locator(".finding").count(), head.locator(".finding").count()) == (0, 1)
    assert head.locator(".standing").all_inner_texts() == ["new"]
    both = page.locator(".scenario", has_text="b.py::both")
    assert both.locator(".standing").all_inner_texts() == ["in both"] * 4
    mended = page.locator(".scenario", has_text="a.py::mended").locator(".standing")
    assert mended.all_inner_texts() == ["only here"]


def test_curves_of_both_sides_have_one_scale():
    slow, fast = sample_run.meter("heap.bytes", "B", 100.0), sample_run.meter("heap.bytes", "B", 400.0)
    steepest = max(map(chart.steepness, (slow, fast)))
    assert steepest == pytest.approx(400.0)

    def rise(meter):
        line = chart.chart(meter, steepest).partition('class="series" d="M')[2].partition('"')[0].split("L")
        (x0, y0), (x1, y1) = ([float(part) for part in point.split()] for point in (line[0], line[-1]))
        return (y0 - y1) / (x1 - x0)

    assert rise(fast) == pytest.approx(4 * rise(slow), rel=0.02)


def test_a_side_that_was_not_run_or_has_no_readings_says_so(page):
    assert "It was not run." in page.locator(".scenario", has_text="b.py::comes").inner_text()
    assert page.locator(".scenario", has_text="b.py::open").get_by_text("There are no readings").count() == 2


def test_it_is_filtered_by_what_changed_and_found_by_name(page):
    assert page.locator("#shown").inner_text() == "10 of 10"
    page.get_by_role("button", name="new leak").click()
    assert page.locator(".scenario:visible").count() == 2
    page.get_by_role("button", name="new leak").click()
    page.get_by_label("Search scenarios").fill("as_before")
    assert page.locator(".scenario:visible").count() == 1
    page.keyboard.press("Escape")
    page.get_by_role("link", name="leaks no more").click()
    assert "mended" in page.locator(":focus").inner_text()


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1440), ("dark", 1440), ("dark", 768), ("light", 390), ("dark", 390)]
)
def test_axe_finds_nothing(open_page, page_file, scheme, width):
    page = open_page(page_file, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"], [node["html"][:160] for node in one["nodes"][:3]]) for one in found] == []


def test_it_prints_in_light_and_without_what_is_clicked(open_page, page_file):
    page = open_page(page_file, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".tools").is_hidden()
    assert len(page.pdf()) > 20_000


def test_a_few_rows_reserve_no_room_for_many(page):
    rows, end = page.locator(".rows").bounding_box(), page.evaluate("document.documentElement.scrollHeight")
    assert end - rows["y"] < 200


def test_hostile_text_stays_text(open_page, tmp_path):
    bad = hostile.run(hostile.TEXT)
    clean = sample_run.run([sample_run.scenario(hostile.TEXT)])
    (tmp_path / "changes.html").write_text(side_by_side.render([clean], [bad], compare.compare([clean], [bad])))
    page = open_page(tmp_path / "changes.html")
    assert page.evaluate("window.owned") is None
    assert (page.locator("img").count(), page.locator("script").count()) == (0, 1)
    for hidden in "\u202e\u2066\x1b\x00":
        assert hidden not in page.content()


def test_anchors_are_unique_and_each_link_has_one(page):
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    links = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(one => one.getAttribute('href').slice(1))"
    )
    assert len(ids) == len(set(ids))
    assert set(links) <= set(ids)


def test_nothing_that_changed_is_said_and_a_failed_control_comes_first():
    assert "Nothing changed" in render(BASE[:2], BASE[:2])
    assert "None of 2 scenarios got worse." in render(BASE[:2], BASE[:2])
    failed = render(BASE[:2], HEAD[:2], control=Control(status="failed", reason="the planted leak was not seen"))
    assert "A control failed, so nothing here can be relied on: the planted leak was not seen" in failed


def test_five_hundred_that_changed_stay_below_two_megabytes():
    base = [sample_run.leaking(f"test_{number}", [sample_run.BUFFER, sample_run.HEADER]) for number in range(500)]
    head = [sample_run.leaking(f"test_{number}", [sample_run.LISTENER, sample_run.NATIVE]) for number in range(500)]
    text = render(base, head)
    assert len(text.encode()) < 2_000_000
    assert all(f"test_{number}<" in text for number in range(500))
