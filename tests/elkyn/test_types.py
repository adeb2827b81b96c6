"""The types that a user's code is checked against: mypy --strict takes what is right and refuses what is wrong."""

import os
import re
import subprocess
import sys
import textwrap
from collections import defaultdict
from pathlib import Path

import pytest

import elkyn

PRELUDE = """
from typing import Any, assert_type
import elkyn
def check(store: elkyn.Store) -> None:
"""

ACCEPTED = {
    "a_handler_of_events_and_overflows": """
        def handle(item: elkyn.Event | elkyn.Overflow) -> None: ...
        store.watch("/n").subscribe(handle)
        store.watch("/n").subscribe(handle, overflow="block", timeout=1)
    """,
    "a_handler_of_anything": """
        store.watch("/n").subscribe(print)
        store.watch("/n").subscribe(lambda item: None)
    """,
    "a_handler_of_events_alone_where_a_loss_is_an_error": """
        def handle(event: elkyn.Event) -> None: ...
        store.watch("/n").subscribe(handle, overflow="error")
        store.watch("/n").subscribe(lambda event: event.value, overflow="error")
    """,
    "a_handler_that_asks_which_of_the_two_it_has": """
        def handle(item: elkyn.Event | elkyn.Overflow) -> int:
            return item.lost if isinstance(item, elkyn.Overflow) else item.rev
        store.watch("/n").subscribe(handle)
    """,
    "an_async_handler": """
        async def handle(item: elkyn.Event | elkyn.Overflow) -> None: ...
        store.watch("/n").subscribe(handle)
    """,
    "a_handler_of_what_operators_make_of_events": """
        def handle(item: str | elkyn.Overflow) -> None: ...
        def handle_several(item: list[int] | elkyn.Overflow) -> None: ...
        store.watch("/n").map(lambda event: event.path).filter(str.isascii).subscribe(handle)
        store.watch("/n").map(lambda event: event.rev).buffer(count=3).subscribe(handle_several)
    """,
    "the_types_of_operators": """
        revs = store.watch("/n").map(lambda event: event.rev)
        assert_type(revs, elkyn.Observable[int])
        assert_type(revs.take(1).skip(1).distinct().debounce(1).throttle(1), elkyn.Observable[int])
        assert_type(revs.merge(store.watch("/m")), elkyn.Observable[int | elkyn.Event])
        assert_type(revs.scan(lambda total, rev: f"{total}{rev}", ""), elkyn.Observable[str])
    """,
    "an_iteration": """
        async def read() -> None:
            async for item in store.watch("/n").map(lambda event: event.rev):
                assert_type(item, int | elkyn.Overflow)
    """,
    "two_ways_to_open": """
        assert_type(elkyn.open("data"), elkyn.Store)
        assert_type(elkyn.open("data", durability="async", readonly=False), elkyn.Store)
        assert_type(elkyn.open("data", readonly=True), elkyn.ReadOnlyStore)
    """,
    "what_happens_to_children": """
        assert_type(store.watch_children("/n"), elkyn.Observable[elkyn.ChildEvent])
    """,
    "a_transaction": """
        with store.transaction() as tx:
            assert_type(tx, elkyn.Transaction)
            assert_type(tx.push("/n", 1), str)
    """,
}
REFUSED = {
    "a_handler_of_another_type": (
        """
        def handle(item: int) -> None: ...
        store.watch("/n").subscribe(handle)
        """,
        "arg-type",
    ),
    "a_handler_of_another_type_where_a_loss_is_an_error": (
        """
        def handle(item: elkyn.Overflow) -> None: ...
        store.watch("/n").subscribe(handle, overflow="error")
        """,
        "call-overload",
    ),
    "a_handler_of_events_that_an_overflow_would_surprise": (
        """
        def handle(event: elkyn.Event) -> None: ...
        store.watch("/n").subscribe(handle)
        """,
        "arg-type",
    ),
    "a_lambda_that_an_overflow_would_surprise": (
        """
        store.watch("/n").subscribe(lambda item: item.value)
        """,
        "union-attr",
    ),
    "a_handler_of_events_behind_a_map": (
        """
        def handle(item: elkyn.Event | elkyn.Overflow) -> None: ...
        store.watch("/n").map(lambda event: event.rev).subscribe(handle)
        """,
        "arg-type",
    ),
    "a_handler_without_an_argument": (
        """
        def handle() -> None: ...
        store.watch("/n").subscribe(handle)
        """,
        "arg-type",
    ),
    "a_predicate_of_another_type": (
        """
        def even(number: int) -> bool: return number % 2 == 0
        store.watch("/n").filter(even)
        """,
        "arg-type",
    ),
    "a_policy_that_there_is_not": (
        """
        store.watch("/n", overflow="wait")
        """,
        "arg-type",
    ),
    "a_durability_that_there_is_not": (
        """
        elkyn.open("data", durability="maybe")
        """,
        "call-overload",
    ),
}


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The error codes of each piece of code, all of them from one run of mypy."""
    directory = tmp_path_factory.mktemp("types")
    for name, code in (ACCEPTED | {name: code for name, (code, _) in REFUSED.items()}).items():
        (directory / f"{name}.py").write_text(PRELUDE + textwrap.indent(textwrap.dedent(code), "    "))
    root = Path(elkyn.__file__).parents[1]
    done = subprocess.run(  # in-process, mypy would leave the collector of the tests all but off
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            "--follow-imports=silent",
            f"--cache-dir={directory / 'cache'}",
            str(directory),
        ],
        env=os.environ | {"MYPYPATH": str(root)},  # mypy does not see through an editable install
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert not done.stderr
    found: dict[str, list[str]] = defaultdict(list)
    for line in done.stdout.splitlines():
        if match := re.match(r".*?([a-z_]+)\.py:\d+: error: .*\[(\S+)\]$", line):
            found[match[1]].append(match[2])
    return found


@pytest.mark.parametrize("name", ACCEPTED)
def test_it_is_accepted(codes: dict[str, list[str]], name: str) -> None:
    assert codes.get(name, []) == []


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(codes: dict[str, list[str]], name: str) -> None:
    assert codes.get(name, []) == [REFUSED[name][1]]
