"""Whether keys come again, asked of real processes: caches put back what was taken out, registries do not."""

from __future__ import annotations

import textwrap

import pytest

from leakcheck.agent.protocol import KeysCame, KeysComeAgain
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.worker import Worker

RECURRING = {
    "dict": "kept = {}\ndef keep(k): kept.setdefault(k, [k])",
    "dict of numbers, which the collector does not know": "kept = {}\ndef keep(k): kept.setdefault(k, k * 1.5)",
    "set": "kept = set()\ndef keep(k): kept.add(k)",
    "OrderedDict": "import collections\nkept = collections.OrderedDict()\ndef keep(k): kept.setdefault(k, [k])",
    "defaultdict": "import collections\nkept = collections.defaultdict(list)\ndef keep(k): kept[k]",
    "a class of its own": """
        class Kept(dict):
            def clear(self): raise AssertionError("no code of the user's runs")
            update = __len__ = items = clear
        kept = Kept()
        def keep(k): kept.setdefault(k, [k])
    """,
}


@pytest.fixture
def asked(tmp_path):
    """What a scenario answers after 2000 calls of `keep(draw())`, and what its tear-down wrote."""

    def ask(source: str, draw: str) -> tuple[KeysCame, str]:
        file, wrote = tmp_path / "scenarios_under_test.py", tmp_path / "wrote"
        file.write_text(
            "import itertools, random\nfrom leakcheck import scenario\n"
            f"numbers, at_random = itertools.count(), random.Random(1)\n{textwrap.dedent(source)}\n"
            f"@scenario\ndef case():\n    yield lambda: keep({draw})\n"
            f"    open({str(wrote)!r}, 'w').write(str([key for key in kept]))\n"
        )
        with Worker(Job(scenario=ScenarioInfo(id="case", target=str(file), name="case"), cwd=tmp_path)) as worker:
            worker.open()
            worker.run(2000)
            came = worker.ask(KeysComeAgain(1000), KeysCame)
            worker.close()
        return came, wrote.read_text()

    return ask


@pytest.mark.parametrize("kind", RECURRING)
def test_a_cache_is_asked_for_keys_that_it_had(asked, kind):
    came, kept = asked(RECURRING[kind], "int(at_random.paretovariate(0.5))")
    assert came.again > 0.02 * came.added
    assert "1, " in kept  # all is back in its place


@pytest.mark.parametrize("kind", RECURRING)
def test_a_registry_is_not(asked, kind):
    came, kept = asked(RECURRING[kind], "next(numbers)")
    assert (came.added, came.again) == (1000, 0)
    assert came.weight > 32
    assert all(f"{number}" in kept for number in (0, 1999, 2999, 3999))


def test_keys_that_were_there_from_the_first_are_not_counted(asked):
    source = "kept = {}\ndef keep(k):\n    for name in 'abcdefgh': kept.setdefault(name, 1)\n    kept[k] = [k]"
    assert asked(source, "next(numbers)")[0].again == 0


def test_a_step_that_misses_what_was_taken_out_is_no_cache_and_gets_it_back(asked):
    source = "kept = {0: [0]}\ndef keep(k):\n    kept[0]\n    kept[k] = [k]"
    came, kept = asked(source, "next(numbers)")
    assert came == KeysCame(0.0, 0, 0)
    assert "0, 1, 2" in kept
