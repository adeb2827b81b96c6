"""The types of the public interface, as a user's type checker sees them: right code passes, wrong code is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

RIGHT_AND_WRONG = """
from collections.abc import Iterator, Callable
from pathlib import Path
import leakcheck
from leakcheck import Context, Result, scenario
from leakcheck.unittest import LeakTestCase, does_not_leak

@scenario
def plain() -> None: ...

@scenario(tags={"fast"}, params={"size": [1, 2]}, budget={"heap.bytes": 64}, max_growth="64MiB", raises=ValueError)
def with_context(ctx: Context, size: int) -> Iterator[Callable[[], None]]:
    ctx.meter("queue", lambda: 3, unit="events")
    path: Path = ctx.tmp_path
    yield lambda: None

plain()
with_context(1)  # error: arg-type call-arg
result: Result = leakcheck.check(plain, time_budget=2.0, max_growth="1GiB", tools="growth")
verdict: int = result.verdict  # error: assignment
leakcheck.check(plain, expect="maybe")  # error: arg-type
leakcheck.check(plain, gc="sometimes")  # error: arg-type
leakcheck.check(3)  # error: arg-type
scenario(expect="maybe")  # error: call-overload
scenario(max_iterations="many")  # error: call-overload

class Tests(LeakTestCase):
    @does_not_leak(max_growth="1MiB", tools="growth")
    def test_whole(self) -> None:
        self.assertDoesNotLeak(plain, budget={"fds": 1}, max_growth=1000)
        self.assertDoesNotLeak(plain, time_budget="long")  # error: typeddict-item arg-type

    @does_not_leak(raises=ValueError)  # error: call-overload
    def test_wrong(self) -> None: ...
"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> dict[int, set[str]]:
    """The codes of the errors that mypy reports, by line."""
    file = tmp_path_factory.mktemp("types") / "users_code.py"
    file.write_text(RIGHT_AND_WRONG)
    config = file.with_name("mypy.ini")
    config.write_text("[mypy]\nstrict = true\n[mypy-cloudpickle.*,memray.*,psutil.*]\nignore_missing_imports = true\n")
    command = [sys.executable, "-m", "mypy", str(file), "--config-file", str(config), "--no-error-summary"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    found: dict[int, set[str]] = {}
    for name, line, code in re.findall(r"^(\S+?):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE):
        if Path(name).name == file.name:
            found.setdefault(int(line), set()).add(code)
    return found


def test_wrong_uses_are_refused_and_right_ones_are_not(reported):
    wanted = {
        number: set(line.partition("# error: ")[2].split())
        for number, line in enumerate(RIGHT_AND_WRONG.splitlines(), start=1)
        if "# error: " in line
    }
    assert reported.keys() == wanted.keys(), reported
    assert all(codes & wanted[number] for number, codes in reported.items()), reported
