"""The same fault keeps its name after lines moved, elsewhere, under another Python; another fault has another."""

from __future__ import annotations

from leakcheck.diagnosis import fingerprint
from leakcheck.diagnosis.suspects import judge_path
from leakcheck.records import Frame


def frame(file: str, line: int, function: str, source: str, *, user: bool = True, native: bool = False) -> Frame:
    return Frame(file=file, line=line, function=function, source=source, user=user, native=native)


def test_lines_that_moved_do_not_matter() -> None:
    before = [frame("/a/app/hub.py", 41, "Hub.on", "self.listeners.append(listener)")]
    after = [frame("/a/app/hub.py", 97, "Hub.on", "self.listeners.append(listener)")]
    assert fingerprint.of_frames("allocation", before) == fingerprint.of_frames("allocation", after)


def test_a_checkout_that_moved_does_not_matter() -> None:
    here = [frame("/home/me/app/hub.py", 41, "Hub.on", "x = []")]
    there = [frame("/builds/17/app/hub.py", 41, "Hub.on", "x = []")]
    assert fingerprint.of_frames("allocation", here) == fingerprint.of_frames("allocation", there)


def test_another_python_does_not_matter() -> None:
    def stack(python: str) -> list[Frame]:
        library = f"/usr/lib/{python}"
        return [
            frame(f"{library}/threading.py", 900, "Thread.__init__", "a", user=False),
            frame("/src/app.py", 4, "step", "Thread()"),
        ]

    assert fingerprint.of_frames("allocation", stack("python3.11")) == fingerprint.of_frames(
        "allocation", stack("python3.13")
    )


def test_two_faults_of_one_function_are_told_apart() -> None:
    first = [frame("/src/app.py", 4, "step", "first.append(1)")]
    second = [frame("/src/app.py", 5, "step", "second.append(1)")]
    assert fingerprint.of_frames("allocation", first) != fingerprint.of_frames("allocation", second)


def test_two_native_functions_below_one_line_are_told_apart() -> None:
    python = frame("/src/app.py", 4, "step", "parse()")
    first = [frame("a.c", 1, "make_key", "", native=True), python]
    second = [frame("a.c", 9, "make_value", "", native=True), python]
    assert fingerprint.of_frames("allocation", first) != fingerprint.of_frames("allocation", second)


def test_a_path_is_named_by_its_suspect_stretch() -> None:
    one = judge_path([("app", "module"), (".hub", "app.Hub"), (".listeners", "list")], "Listener", "wider")
    moved = judge_path([("new.place", "module"), (".hub", "app.Hub"), (".listeners", "list")], "Listener", "wider")
    other = judge_path([("app", "module"), (".hub", "app.Hub"), (".errors", "list")], "Listener", "wider")
    assert fingerprint.of_path(one) == fingerprint.of_path(moved)
    assert fingerprint.of_path(one) != fingerprint.of_path(other)


def test_numbers_and_addresses_in_names_do_not_matter() -> None:
    one = judge_path([("app", "module"), ("['worker-1']", "list")], "Job", "wider")
    other = judge_path([("app", "module"), ("['worker-23']", "list")], "Job", "wider")
    assert fingerprint.of_path(one) == fingerprint.of_path(other)


def test_the_suspect_stretch_begins_after_the_last_innocent_node() -> None:
    path = judge_path([("app", "module"), (".Hub", "type"), (".listeners", "list")], "Listener", "wider")
    assert [(node.name, node.suspect) for node in path] == [
        ("app", False),
        (".Hub", False),
        (".listeners", True),
        ("[*]", True),
    ]
    assert path[0].status == "innocent"
    assert path[-1].status == "guilty"
