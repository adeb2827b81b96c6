"""A clock that is put forward, wherever a program reads it from."""

from __future__ import annotations

import pytest

from leakcheck.agent.protocol import LetTimePass, TimePassed
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.worker import Worker

CLOCKS = {
    "time": ("import time", "time.time()"),
    "monotonic, by its own name": ("from time import monotonic", "monotonic()"),
    "nanoseconds": ("import time", "time.perf_counter_ns() / 1e9"),
    "a name of the program's": ("from time import time as now", "now()"),
    "now of a date": ("import datetime", "datetime.datetime.now().timestamp()"),
    "now, by its own name": ("from datetime import datetime, timezone", "datetime.now(timezone.utc).timestamp()"),
    "local time": ("import time", "time.mktime(time.localtime())"),
}


@pytest.fixture
def answers(tmp_path):
    def run(source: str, value: str) -> list[str]:
        wrote = tmp_path / "wrote"
        file = tmp_path / "scenarios_under_test.py"
        file.write_text(
            f"from leakcheck import scenario\n{source}\n@scenario\ndef case():\n"
            f"    out = open({str(wrote)!r}, 'w')\n    yield lambda: print({value}, file=out, flush=True)\n"
        )
        with Worker(Job(scenario=ScenarioInfo(id="case", target=str(file), name="case"), cwd=tmp_path)) as worker:
            worker.open()
            worker.run(1)
            for _ in range(2):
                worker.ask(LetTimePass(3600.0, 1), TimePassed)
        return wrote.read_text().splitlines()

    return run


@pytest.mark.parametrize("clock", CLOCKS)
def test_each_clock_goes_forward(answers, clock):
    true, ahead, further = map(float, answers(*CLOCKS[clock]))
    assert 3600 <= ahead - true < 3660
    assert 3600 <= further - ahead < 3660


def test_dates_stay_dates(answers):
    source = "import datetime\nfrom datetime import datetime as when\nmade = when(2020, 1, 2)"
    value = (
        "isinstance(made, when), type(when.now()) is type(made), when.now() > made, when(2021, 3, 4) - made, "
        "when.fromisoformat('2021-03-04'), datetime.date.today() >= when.now().date() "
    )
    lines = answers(source, value)
    assert lines == [lines[0]] * 3
    assert lines[0].startswith("True True True 427 days")
    assert lines[0].endswith("True")


def test_time_passes_in_small_pieces(tmp_path):
    """A bucket a minute, of which sixty stay."""
    wrote = tmp_path / "wrote"
    file = tmp_path / "scenarios_under_test.py"
    file.write_text(
        "import time\nfrom leakcheck import scenario\nbuckets = set()\n@scenario\ndef case():\n"
        f"    yield lambda: buckets.add(time.time() // 60)\n    open({str(wrote)!r}, 'w').write(str(len(buckets)))\n"
    )
    with Worker(Job(scenario=ScenarioInfo(id="case", target=str(file), name="case"), cwd=tmp_path)) as worker:
        worker.open()
        worker.ask(LetTimePass(3600.0, 1000), TimePassed)
        worker.close()
    assert int(wrote.read_text()) >= 60


def test_a_step_that_raises_meanwhile_is_told(tmp_path):
    file = tmp_path / "scenarios_under_test.py"
    file.write_text(
        "import time\nfrom leakcheck import scenario\nbegan = time.time()\n@scenario\ndef case():\n"
        "    if time.time() > began + 600:\n        raise TimeoutError\n"
    )
    with Worker(Job(scenario=ScenarioInfo(id="case", target=str(file), name="case"), cwd=tmp_path)) as worker:
        worker.open()
        assert worker.ask(LetTimePass(3600.0, 100), TimePassed).raised
