"""Who receives the event of a write: by pattern, in order, remembered and forgotten."""

from typing import Any

import pytest

from elkyn.events.routes import CACHED_PATHS, Receivers, Route, Routes
from elkyn.events.subscriptions import NOBODY, Options, SubscriptionState, Watcher


def watcher(pattern: str, *, children: bool = False, **options: object) -> Watcher:
    state = SubscriptionState(None, pattern, "?", Options(**options))  # type: ignore[arg-type]
    return Watcher(state, pattern, children, NOBODY)


def routed(*watchers: Watcher) -> Routes:
    routes = Routes()
    for one in watchers:
        routes.add(one)
    return routes


def patterns(receivers: Receivers) -> list[str]:
    return [receiver.pattern for receiver in receivers]


def route(routes: Routes, path: str) -> Route:
    found = routes.route(path)
    assert found is not None
    return found


def test_the_receivers_are_those_of_the_path_and_then_those_of_all_below_a_base() -> None:
    routes = routed(*map(watcher, ["/a/**", "/a/b", "/**", "/a/*", "/*/b", "/a", "/a/b/c", "/x"]))
    assert sorted(patterns(route(routes, "/a/b").receivers)) == ["/**", "/*/b", "/a/*", "/a/**", "/a/b"]
    assert set(patterns(route(routes, "/a/b").at)) == {"/a/b", "/a/*", "/*/b"}


def test_a_path_that_nobody_names_has_no_route() -> None:
    routes = routed(watcher("/a/b"))
    assert routes.route("/c") is None
    assert routes.cache == {"/c": None}


def test_those_above_are_named_with_the_node_that_they_watch() -> None:
    routes = routed(watcher("/a", children=True), watcher("/*/b", children=True), watcher("/a/b"))
    above = {path: patterns(receivers) for path, receivers in route(routes, "/a/b/c").above}
    assert above == {"/a": ["/a"], "/a/b": ["/*/b"]}


@pytest.mark.parametrize(
    ("asked", "plain"),
    [
        ([("/a", {})], True),
        ([("/a", {}), ("/**", {})], True),
        ([("/a", {"old": True})], True),
        ([("/a", {"old": True}), ("/a", {})], False),
        ([("/a", {}), ("/", {"children": True})], False),
        ([("/a", {}), ("/a/b", {})], False),
        ([("/a", {"overflow": "block"})], False),
    ],
)
def test_a_route_is_plain_where_one_event_serves_all(asked: list[tuple[str, dict[str, Any]]], plain: bool) -> None:
    watchers = [watcher(pattern, **options) for pattern, options in asked]
    assert route(routed(*watchers), "/a").plain == plain


def test_what_was_remembered_is_worked_out_anew_when_somebody_comes_or_goes() -> None:
    one, other = watcher("/a"), watcher("/a")
    routes = routed(one)
    before = route(routes, "/a")
    routes.add(other)
    assert route(routes, "/a").receivers == (one, other)
    assert before.receivers == (one,)  # what a commit has looked up stays as it was
    assert routes.remove(one)
    assert route(routes, "/a").receivers == (other,)


def test_removing_the_last_one_leaves_no_place_behind() -> None:
    only = watcher("/a/*/c/**")
    routes = routed(only)
    assert routes.remove(only)
    assert routes.empty
    assert routes._root.is_empty()
    assert routes.remove(only)  # again: nothing to do


def test_whoever_is_using_the_table_is_told_to_come_back() -> None:
    only = watcher("/a")
    routes = routed(only)
    with routes._lock:
        assert not routes.remove(only)
    assert routes.watchers() == [only]


def test_remembered_routes_are_bounded() -> None:
    routes = routed(watcher("/*"))
    for n in range(3 * CACHED_PATHS):
        routes.route(f"/{n}")
    assert len(routes.cache) <= CACHED_PATHS


@pytest.mark.parametrize(
    ("pattern", "options", "concerned"),
    [
        ("/a/b", {}, {"/", "/a", "/a/b"}),
        ("/a/b", {"children": True}, {"/", "/a", "/a/b", "/a/b/c"}),
        ("/a/*", {}, {"/", "/a", "/a/b", "/a/x"}),
        ("/*/b", {}, {"/", "/a", "/a/b", "/b", "/b/b"}),
        ("/a/**", {}, {"/", "/a", "/a/b", "/a/b/c", "/a/x"}),
        ("/**", {}, {"/", "/a", "/a/b", "/a/b/c", "/a/x", "/b", "/b/b"}),
        ("/elsewhere/*", {}, {"/"}),
    ],
)
def test_a_subscription_that_comes_or_goes_has_only_the_routes_forgotten_that_it_has_a_part_in(
    pattern: str, options: dict[str, bool], concerned: set[str]
) -> None:
    paths = {"/", "/a", "/a/b", "/a/b/c", "/a/x", "/b", "/b/b"}
    routes = routed(watcher("/unrelated"))
    comes = watcher(pattern, **options)  # type: ignore[arg-type]
    for change in (routes.add, routes.remove):
        for path in paths:
            routes.route(path)
        change(comes)
        assert paths - set(routes.cache) == concerned
        # And what is remembered is what would be found.
        assert all(routes.cache[path] == routes._find(path) for path in routes.cache)


def test_a_full_cache_forgets_the_oldest_path_alone() -> None:
    routes = routed(watcher("/n/*"))
    for n in range(CACHED_PATHS + 10):
        routes.route(f"/n/{n}")
    assert len(routes.cache) == CACHED_PATHS
    assert "/n/9" not in routes.cache
    assert "/n/10" in routes.cache
    routes.add(watcher("/**"))
    assert routes.cache == {}
    assert not routes._written.children


def test_a_write_in_the_middle_of_a_change_remembers_nothing() -> None:
    routes = routed(watcher("/a"))
    with routes._lock:  # as where a signal's handler writes
        assert patterns(route(routes, "/a").receivers) == ["/a"]
    assert not routes.cache


def test_a_removal_that_was_interrupted_can_be_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = watcher("/a/b")
    routes = routed(ours, watcher("/a"))

    def interrupt(_: Watcher) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(routes, "_forget_routes_of", interrupt)
        with pytest.raises(KeyboardInterrupt):
            routes.remove(ours)
    assert routes.remove(ours)
    assert patterns(route(routes, "/a").receivers) == ["/a"]
    assert routes.route("/a/b") is None
