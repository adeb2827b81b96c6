"""Parts of a suite: alike in time, the same on every machine, and one whole at the gate."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest
import sample_run

from leakcheck import results
from leakcheck.errors import UsageError
from leakcheck.gate import gate
from leakcheck.gate.baseline import Baseline
from leakcheck.results import history
from leakcheck.run import shards


def test_parts_take_about_as_long_and_everything_is_in_one():
    took = {f"s{number}": float(number % 7 + 1) for number in range(100)}
    parts = shards.divided(list(took), took, 8)
    assert parts.keys() == took.keys()
    loads = [sum(took[name] for name, part in parts.items() if part == number) for number in range(1, 9)]
    assert max(loads) - min(loads) <= 7


def test_the_order_does_not_matter_and_one_that_is_new_takes_as_long_as_usual():
    names = [f"s{number}" for number in range(20)]
    took = dict.fromkeys(names[:15], 3.0)
    parts = shards.divided(names, took, 4)
    assert parts == shards.divided(names[::-1], took, 4)
    assert sorted(list(parts.values()).count(number) for number in range(1, 5)) == [5, 5, 5, 5]


@pytest.mark.parametrize("text", ["0/8", "9/8", "2", "a/b", "", "1/0", "-1/2"])
def test_a_wrong_part_is_one_sentence(text):
    with pytest.raises(UsageError, match=r"give the number of this part and how many there are, from 1/8 to 8/8"):
        shards.parse(text)
    assert shards.parse("2/8") == (2, 8)


def test_the_history_knows_how_long_each_took(tmp_path):
    run = sample_run.run([sample_run.scenario("slow", duration_s=7.0), sample_run.scenario("quick", duration_s=0.5)])
    history.append(tmp_path / "history.jsonl", run)
    assert history.durations(tmp_path / "history.jsonl") == {"slow": 7.0, "quick": 0.5}
    assert history.durations(tmp_path / "none.jsonl") == {}


def part(number, of=3, commit="c" * 40, plan=None):
    run = sample_run.run([sample_run.scenario(f"s{number}")])
    shard = shards.shard_of(plan or {"s1": 1, "s2": 2, "s3": 3}, number, of, commit)
    return msgspec.structs.replace(run, shards=[shard])


def judged(*parts):
    lines = gate.judge(results.merge(parts), Baseline(), [], date(2026, 11, 23)).lines
    return [(line.kind, line.level, line.message) for line in lines]


def test_all_parts_together_are_one_whole():
    assert judged(part(3), part(1), part(2)) == []


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([part(1), part(3)], "of 3 shards 2 is missing"),
        ([part(1)], "of 3 shards 2, 3 is missing"),
        ([part(1), part(2), part(2), part(3)], "shard 2 of 3 is there 2 times"),
        (
            [part(1), part(2), part(3, commit="d" * 40)],
            "the shards are of different commits: cccccccccccc, dddddddddddd",
        ),
        ([part(1), part(2), part(3, plan={"s1": 1})], "the shards are of different plans"),
        ([part(1), part(2), part(3, of=4)], "the shards are of different numbers of shards: 3, 4"),
    ],
)
def test_what_is_no_whole_is_red(parts, said):
    wrong = judged(*parts)
    assert {(kind, level) for kind, level, _ in wrong} == {("wrong shards", "red")}
    assert any(said in message for _, _, message in wrong)
