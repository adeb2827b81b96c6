"""The HTML report in a real browser: every control, both themes, keyboard, hostile content, sizes."""

from __future__ import annotations

import re

import hostile
import pytest
import sample_run
from axe_playwright_python.sync_playwright import Axe

from leakcheck.records import Control, Node, Sample
from leakcheck.report import anchors, flame, html
from leakcheck.results import history

pytestmark = pytest.mark.needs_chromium

SUBSCRIBE = "scenarios/subscriptions.py::subscribe_twice"


def past(count=8):
    runs = [sample_run.run(started=f"2026-11-{day:02}T10:00:00Z") for day in range(1, count + 1)]
    better = [sample_run.scenario(one.id) if one.id == SUBSCRIBE else one for one in sample_run.suite()]
    runs[-1] = sample_run.replace(sample_run.run(better), started=runs[-1].started)
    return [history.entry(run) for run in runs]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(html.render(sample_run.run(), past()))
    return file


@pytest.fixture
def page(open_page, page_file):
    return open_page(page_file)


def shown(page):
    return page.locator(".scenario:visible").count()


def test_the_first_screen_says_how_many_of_what_and_what_is_wrong(page):
    assert page.locator(".headline").inner_text().startswith("6 of 25 scenarios are not as expected")
    tiles = [tile.replace("\n", " ") for tile in page.locator(".tile").all_inner_texts()]
    assert tiles == ["5 ✗ leak", "1 ! error", "1 ? inconclusive", "1 ◠ bounded", "16 ✓ clean", "1 - skipped"]
    assert page.locator(".wrong li").count() == 6
    assert page.locator(".wrong li").last.bounding_box()["y"] < 900
    assert "3 more" not in page.locator(".trend-panel").inner_text()
    assert "Broken since" in page.locator(".trend-panel").inner_text()


def test_filters_by_verdict_text_tag_and_expectation_work_together(page):
    assert shown(page) == 25
    page.get_by_role("button", name="leak", exact=False).first.click()
    assert shown(page) == 5
    page.get_by_role("button", name="only unexpected").click()
    assert shown(page) == 3
    page.get_by_label("Search scenarios").fill("hub.py")
    assert shown(page) == 1
    assert page.locator("#shown").inner_text() == "1 of 25"
    page.get_by_label("Tag").select_option("client")
    assert shown(page) == 0
    page.get_by_role("button", name="show all").click()
    assert shown(page) == 25


def test_scenarios_are_put_in_the_order_that_is_wished_and_back(page):
    def names():
        return page.locator(".scenario .name").all_inner_texts()

    as_they_ran = names()
    page.get_by_label("Order").select_option("name")
    assert names() != as_they_ran
    assert names() == page.evaluate("names => names.sort((a, b) => a.localeCompare(b))", names())
    for order in ("growth", "time"):
        page.get_by_label("Order").select_option(order)
        values = [float(one.get_attribute(f"data-{order}")) for one in page.locator(".scenario").all()]
        assert values == sorted(values, reverse=True)
    page.get_by_label("Order").select_option("")
    assert names() == as_they_ran


def test_one_leak_in_several_scenarios_is_told_once(open_page, tmp_path):
    three = [sample_run.leaking(f"a.py::{name}", [sample_run.LISTENER]) for name in ("one", "two", "three")]
    (tmp_path / "index.html").write_text(html.render(sample_run.run(three)))
    page = open_page(tmp_path / "index.html")
    assert page.locator(".wrong li").count() == 1
    assert "also in a.py::two, a.py::three" in page.locator(".wrong li").inner_text()
    page.get_by_role("link", name="a.py::three").click()
    assert page.locator(".scenario").nth(2).locator("summary").first.evaluate("one => one === document.activeElement")


def test_the_timeline_says_run_by_run_where_a_finding_was(page):
    timeline = page.get_by_role("region", name="Findings over the last 9 runs")
    rows = timeline.locator("li")
    assert rows.count() == 4
    listener = rows.filter(has_text="1 Listener")
    assert "in 8 of 9 runs, in this one too" in listener.inner_text()
    strip = listener.get_by_role("img")
    assert strip.get_attribute("data-states") == "111111101"
    strip.focus()
    for key, says in (
        ("Home", "2026-11-01 10:00 (f768417d0c8b): there"),
        ("ArrowRight", "2026-11-02"),
        ("End", "11-23"),
    ):
        page.keyboard.press(key)
        assert says in page.locator("#tip").inner_text()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#tip").inner_text() == "2026-11-08 10:00 (f768417d0c8b): not there"
    box = strip.bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    assert page.locator("#tip").inner_text().startswith("2026-11-01")
    listener.get_by_role("link").click()
    assert page.locator(":focus").get_attribute("id") == sample_run.LISTENER.fingerprint


def test_without_a_history_there_is_no_empty_trend(open_page, tmp_path):
    (tmp_path / "index.html").write_text(html.render(sample_run.run()))
    page = open_page(tmp_path / "index.html")
    assert page.locator(".trend-panel, .timeline").count() == 0
    assert page.locator(".summary .panel").bounding_box()["width"] > 1000


@pytest.mark.parametrize("width", [1440, 390])
def test_the_nodes_of_a_run_are_listed_with_why_one_was_not_used(open_page, tmp_path, width):
    nodes = [
        Node(name="node-1", status="ok", cores=4, scenarios=25, control=Control(status="ok")),
        Node(name=hostile.TEXT, status="refused", reason="has numpy 1.26 (here 2.0)", cores=2),
    ]
    (tmp_path / "index.html").write_text(html.render(sample_run.run(nodes=nodes)))
    page = open_page(tmp_path / "index.html", viewport={"width": width, "height": 900})
    rows = page.get_by_role("region", name="Nodes").locator("tbody tr")
    assert rows.nth(0).locator("td").all_inner_texts() == ["node-1", "4", "25", "ok"]
    assert "refused: it has numpy 1.26 (here 2.0)" in rows.nth(1).inner_text()
    assert page.evaluate("window.owned") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_first_chart_is_the_meter_of_the_leak_and_the_others_are_folded(open_page, tmp_path):
    grown = [sample_run.meter(name, unit, 1.0, verdict="leak") for name, unit in (("heap.bytes", "B"), ("fds", "fds"))]
    leak = sample_run.leaking("a.py::b", [sample_run.replace(sample_run.LISTENER, meter="fds")], meters=grown)
    (tmp_path / "index.html").write_text(html.render(sample_run.run([leak])))
    page = open_page(tmp_path / "index.html")
    scenario = page.locator(".scenario[open]")
    assert scenario.locator(".charts figcaption b").first.inner_text() == "fds"
    assert scenario.locator(".charts").nth(1).is_hidden()
    scenario.get_by_text("beside it").click()
    assert scenario.locator(".charts").nth(1).is_visible()


def test_a_box_of_the_flame_graph_is_made_as_wide_as_the_graph(page):
    flame = page.locator(".scenario .flame:visible")
    box, width = flame.locator("button").last, flame.bounding_box()["width"]
    assert box.bounding_box()["width"] < 0.9 * width
    box.click()
    assert box.bounding_box()["width"] > 0.98 * width
    flame.locator("button").first.click()
    assert box.bounding_box()["width"] < 0.9 * width


def test_the_flame_graph_is_walked_and_zoomed_with_the_keyboard(page):
    flame = page.locator(".scenario .flame:visible")
    assert flame.locator("button[tabindex='-1']").count() == flame.locator("button").count() - 1, "one stop for Tab"
    flame.locator("button").first.focus()

    def goes(key):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.ariaLabel") == page.locator("#tip").inner_text()
        return page.locator("#tip").inner_text().partition(" at ")[0]

    assert [goes("ArrowDown") for _ in range(3)] == ["step", "handle", "parse"]
    assert goes("ArrowRight") == "remember"
    page.keyboard.press("Enter")
    focused = page.locator(":focus")
    assert focused.bounding_box()["width"] > 0.98 * flame.bounding_box()["width"]
    assert goes("ArrowUp") == "handle"


def test_a_flame_graph_has_what_a_container_holds_and_a_box_however_narrow():
    thin = sample_run.replace(
        sample_run.HEADER, bytes_per_iteration=0.3, stack=[sample_run.frame("a.py", 9, "thin", user=True)]
    )
    placed = flame.boxes([sample_run.LISTENER, thin, sample_run.SOCKET])
    assert [box.label for box in placed if box.depth == 1] == ["run", "thin"]
    assert placed[0].title == "all surviving memory: 432 B/iteration, 100 %"
    assert flame.boxes([sample_run.LISTENER, sample_run.LISTENER]) == [], "one way is what the stack says already"
    many = [
        sample_run.replace(thin, bytes_per_iteration=float(n), stack=[sample_run.frame("a.py", n, f"f{n}")])
        for n in range(1, 2000)
    ]
    assert {box.label for box in flame.boxes(many)} == {"all surviving memory", *(f"f{n}" for n in range(1601, 2000))}


def test_every_tile_filters_its_own_verdict(page):
    for verdict, count in (("leak", 5), ("error", 1), ("inconclusive", 1), ("bounded", 1), ("clean", 16)):
        tile = page.locator(f".tile[data-verdict={verdict}]")
        tile.click()
        assert shown(page) == count
        assert tile.get_attribute("aria-pressed") == "true"
        tile.click()
    assert shown(page) == 25


def test_all_can_be_opened_and_closed(page):
    page.get_by_role("button", name="open all").click()
    assert page.locator(".scenario[open]").count() == 25
    page.get_by_role("button", name="close all").click()
    assert page.locator(".scenario[open]").count() == 0


def test_a_link_to_a_finding_opens_it_even_when_it_is_filtered_away(page):
    page.get_by_role("button", name="clean").click()
    page.evaluate("location.hash = '#" + sample_run.NATIVE.fingerprint + "'")
    finding = page.locator(f"[id='{sample_run.NATIVE.fingerprint}']")
    finding.wait_for(state="visible")
    assert finding.evaluate("one => one === document.activeElement")
    assert shown(page) == 25


def test_a_link_to_a_finding_works_from_outside_and_in_the_next_run(open_page, tmp_path):
    moved = [sample_run.replace(frame, line=frame.line + 100, context=[]) for frame in sample_run.LISTENER.stack]
    later = sample_run.leaking("elsewhere.py::other", [sample_run.replace(sample_run.LISTENER, stack=moved)])
    file = tmp_path / "index.html"
    file.write_text(html.render(sample_run.run([sample_run.scenario("a.py::one"), later])))
    page = open_page(file, f"#{sample_run.LISTENER.fingerprint}")
    assert page.locator(f"[id='{sample_run.LISTENER.fingerprint}']").is_visible()


def test_each_wrong_thing_links_to_its_place(page):
    for link in page.locator(".wrong a").all():
        target = link.get_attribute("href")[1:]
        link.click()
        assert page.locator(f"[id='{target}']").is_visible()


def test_anchors_are_unique(page):
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))


def test_charts_tell_their_values_on_hover_and_with_arrow_keys(page):
    chart = page.locator("svg.chart").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] / 2)
    assert re.fullmatch(r"6,656 iterations: 3\.9\d MiB \(\+2\.7\d MiB\)", page.locator("#tip").inner_text())
    chart.focus()
    page.keyboard.press("Home")
    assert page.locator("#tip").inner_text().startswith("0 iterations: 1.17 MiB")
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith("13 iterations")
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_small_charts_and_the_flame_graph_tell_theirs(page):
    page.locator(".scenario summary svg.mini").first.hover()
    assert "iterations" in page.locator("#tip").inner_text()
    page.locator(".scenario[open] .flame button.user").last.hover()
    assert "app/headers.py:8: 310 B/iteration" in page.locator("#tip").inner_text()


def test_the_suspect_part_of_a_path_is_underlined_and_named(page):
    suspects = page.locator(".path").first.locator(".suspect")
    assert [one.split("\n")[0] for one in suspects.all_inner_texts()] == [".listeners", "[*]"]
    decoration = suspects.first.locator("code").evaluate("one => getComputedStyle(one).textDecorationLine")
    assert decoration == "underline"


def test_the_line_at_fault_is_marked_in_its_source(page):
    hot = page.locator(".finding").first.locator(".hot").first.inner_text()
    assert re.fullmatch(r"41\s+self\.listeners\.append\(Listener\(handler\)\)\s*", hot)
    number = page.locator(".finding .hot b").first.bounding_box()
    block = page.locator(".finding .source").first.bounding_box()
    assert block["x"] <= number["x"] < number["x"] + number["width"] < block["x"] + 80


def test_places_open_in_the_editor_that_the_reader_has_chosen(open_page, tmp_path):
    frame = sample_run.replace(sample_run.run().scenarios[0].findings[0].stack[0], file="/src/a b/main.py", line=7)
    finding = sample_run.replace(sample_run.run().scenarios[0].findings[0], stack=[frame])
    file = tmp_path / "index.html"
    environment = {"repository": "https://github.com/ada/hub", "root": "/src", "commit": "f768417d0c8b"}
    file.write_text(html.render(sample_run.run([sample_run.leaking("a", [finding])], environment=environment)))
    page = open_page(file)
    place = page.locator(".place").first
    assert place.get_attribute("href") is None
    page.select_option("#editor", label="open in VS Code")
    assert place.get_attribute("href") == "vscode://file/src/a%20b/main.py:7"
    page.reload()
    assert page.locator(".place").first.get_attribute("href") == "vscode://file/src/a%20b/main.py:7", "as last time"
    page.select_option("#editor", "")
    assert page.locator(".place").first.get_attribute("href") is None
    link = page.locator(".repository").first
    assert link.get_attribute("href") == "https://github.com/ada/hub/blob/f768417d0c8b/a%20b/main.py#L7"


def test_commands_and_findings_can_be_copied(open_page, page_file):
    page = open_page(page_file, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the command that runs this again").first.click()
    page.get_by_role("button", name="Copy").filter(has_text="copied").first.wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"elkyn-leakcheck run '{SUBSCRIBE}'"
    page.get_by_role("button", name="Copy this finding as text").first.click()
    page.wait_for_function("navigator.clipboard.readText().then(text => text.includes('app/hub.py:41 in on'))")


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_colours_follow_the_system_and_the_button(open_page, page_file):
    page = open_page(page_file, color_scheme="dark")
    dark = background(page)
    page.emulate_media(color_scheme="light")
    light = background(page)
    assert dark != light
    button = page.locator("#theme")
    button.click()
    assert button.inner_text().endswith("light")
    page.emulate_media(color_scheme="dark")
    assert background(page) == light
    button.click()
    assert background(page) == dark
    page.reload()
    assert button.inner_text().endswith("dark")
    page.emulate_media(color_scheme="light")
    assert background(page) == dark


def test_it_is_usable_with_the_keyboard_alone(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the scenarios"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("debounce")
    assert shown(page) == 1
    page.keyboard.press("Escape")
    assert shown(page) == 25
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.closest('.scenario').id") == anchors.of_scenario(sample_run.suite()[0])
    page.keyboard.press("Enter")
    assert page.locator(".scenario").first.get_attribute("open") is None


@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("light", 1440),
        ("dark", 360),
        pytest.param("dark", 1440, marks=pytest.mark.slow),
        pytest.param("dark", 768, marks=pytest.mark.slow),
        pytest.param("light", 360, marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing(open_page, page_file, scheme, width):
    page = open_page(page_file, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.get_by_role("button", name="open all").click()
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"], [node["html"][:160] for node in one["nodes"][:3]]) for one in found] == []


@pytest.mark.parametrize("width", [1440, 768, 390, 360])
def test_nothing_is_wider_than_the_screen(open_page, page_file, width):
    page = open_page(page_file, viewport={"width": width, "height": 740})
    page.get_by_role("button", name="open all").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_prints_in_light_with_everything_that_is_wrong_open(open_page, page_file):
    page = open_page(page_file, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert background(page) == "rgb(255, 255, 255)"
    assert page.locator(".tools").is_hidden()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".scenario[data-ok='0'] .meters").first.evaluate("one => one.open")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.locator(".scenario[data-ok='0'] .meters").first.evaluate("one => one.open")
    assert len(page.pdf()) > 20_000


def test_it_says_the_essential_without_scripts(open_page, page_file):
    page = open_page(page_file, java_script_enabled=False)
    assert "added at app/hub.py:41" in page.locator(".scenario[open]").first.inner_text()


def test_25_scenarios_fit_in_300_kb(page_file):
    assert page_file.stat().st_size < 300_000


def test_hostile_text_stays_text_everywhere(open_page, tmp_path):
    file = tmp_path / "index.html"
    before = [history.entry(sample_run.replace(hostile.run(hostile.TEXT), started="2026"))]
    file.write_text(html.render(hostile.run(hostile.TEXT), before))
    page = open_page(file)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.evaluate("window.owned") is None
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    text = page.content()
    assert "49" not in page.locator(".reason").first.inner_text()
    for hidden in "\u202e\u2066\x1b\x00":
        assert hidden not in text
    assert "[U+202E]gnp.exe[U+2066][U+001B]" in page.locator("h3.reason").first.inner_text()
    page.locator(".dot").first.hover()
    assert "<script>" in page.locator(".finding h4").first.inner_text()


def test_even_broken_escaping_would_not_run_a_script(browser, tmp_path):
    file = tmp_path / "index.html"
    file.write_text(html.render(sample_run.run()).replace("<main", "<script>window.owned=1</script><main"))
    page = browser.new_page()
    refusals = []
    page.on("console", lambda message: refusals.append(message.text))
    page.goto(f"file://{file}")
    assert page.evaluate("window.owned") is None
    assert len(refusals) == 1
    assert "Content Security Policy" in refusals[0]
    page.close()


def test_ten_megabytes_of_text_are_cut_with_a_word(open_page, tmp_path):
    file = tmp_path / "index.html"
    file.write_text(html.render(hostile.run("a<b> \u202e" * 1_700_000)))
    assert file.stat().st_size < 1_500_000
    page = open_page(file)
    assert "more characters" in page.locator("h3.reason").inner_text()
    assert "characters left out" in page.locator(".failure pre").first.inner_text()


def test_very_many_of_everything_stay_readable(open_page, tmp_path):
    deep = sample_run.replace(
        sample_run.BUFFER, stack=sample_run.BUFFER.stack * 200, path=sample_run.LISTENER.path * 50
    )
    scenario = sample_run.leaking(
        "a.py::one",
        [deep] * 100,
        meters=[sample_run.meter(f"m{n}", "B", 5.0, verdict="leak") for n in range(300)],
    )
    file = tmp_path / "index.html"
    file.write_text(html.render(sample_run.run([scenario])))
    assert file.stat().st_size < 3_000_000
    page = open_page(file)
    assert "70 more findings stand in results.json" in page.locator(".scenario").inner_text()


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [(0, 1.0)],
        [(0, 5.0), (0, 5.0)],
        [(0, 1e300), (9, -1e300)],
        [(0, 0.0), (10**15, 1e-12)],
        [(n, n % 7) for n in range(5000)],
    ],
    ids=["none", "one", "same iteration", "enormous", "tiny", "very many"],
)
def test_odd_series_are_drawn(open_page, tmp_path, samples):
    odd = sample_run.replace(
        sample_run.meter("heap.bytes", "B", 1.0, verdict="leak"), samples=[Sample(n, float(v)) for n, v in samples]
    )
    file = tmp_path / "index.html"
    file.write_text(html.render(sample_run.run([sample_run.leaking("a.py::one", [], meters=[odd])])))
    page = open_page(file)
    assert "NaN" not in page.content()
    assert page.locator("svg.chart").count() == (len({n for n, _ in samples}) > 1)


def test_an_empty_run_and_a_failed_control_say_so(open_page, tmp_path):
    file = tmp_path / "index.html"
    control = Control(status="failed", reason="the planted leak was not found")
    file.write_text(html.render(sample_run.run([], control=control)))
    page = open_page(file)
    assert "The control failed, no verdict of this run can be relied on" in page.locator(".headline").inner_text()
    assert page.locator(".top.bad").count() == 1
