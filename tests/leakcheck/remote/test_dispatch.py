"""Which node examines what: each scenario has one result, whatever nodes do."""

from __future__ import annotations

import random
from itertools import count

import pytest
from scripted_cluster import BAD, ScriptedCluster, Silent, run

from leakcheck.errors import LeakcheckError
from leakcheck.remote.engine import Failed, Joined, Parted, Said
from leakcheck.remote.requests import Admitted, Progress, Prove, Work, decode, encode


def verdicts(result):
    return {each.id: each.verdict for each in result.scenarios}


def test_each_scenario_is_examined_once_in_the_order_of_the_plan_and_says_where():
    def script(cluster):
        yield from cluster.ready("n1")
        yield from cluster.ready("n2")
        yield cluster.answered("n2")
        yield from cluster.rest()

    result, _ = run(script, "abcd")
    assert [(each.id, each.node) for each in result.scenarios] == [("a", "n1"), ("b", "n2"), ("c", "n2"), ("d", "n1")]
    assert [(node.name, node.status, node.scenarios) for node in result.nodes] == [("n1", "ok", 2), ("n2", "ok", 2)]
    assert result.control.status == "ok"
    assert result.environment["python"] == "3.12.1"


def test_what_took_longest_the_last_time_goes_first_and_results_are_in_the_order_of_the_plan():
    order = []

    def script(cluster):
        yield from cluster.ready("n1")
        while cluster.asked["n1"]:
            order.append(cluster.examined("n1"))
            yield cluster.answered("n1")

    result, _ = run(script, "abcd", took_s={"a": 1.0, "c": 9.0, "d": 3.0})
    assert order == ["c", "b", "d", "a"], "b is new: it takes as long as the middle one"
    assert [each.id for each in result.scenarios] == ["a", "b", "c", "d"]


def test_a_core_has_one_thing_to_do_at_a_time_and_the_control_is_one():
    def script(cluster):
        yield from cluster.ready("n1", cores=3)
        yield from cluster.rest()

    _, cluster = run(script, "abcdefgh")
    assert cluster.most_busy["n1"] == 3


def test_a_node_gets_the_sources_where_it_lacks_them_and_no_others():
    seen = []

    def script(cluster):
        yield cluster.joined("n1")
        for answer in (Admitted(lacks_bundle=True), Admitted(environment={"python": "3"})):
            seen.append(cluster.asked["n1"][0][1].archive)
            yield cluster.answered("n1", encode(answer))
        yield from cluster.rest()

    run(script, "a")
    assert seen == [None, b"archive"]


def test_what_is_sent_names_the_bundle_and_no_folder_of_this_machine():
    works = []

    def script(cluster):
        yield from cluster.ready("n1")
        works.append(bytes(cluster.asked["n1"][0][1].work))
        yield cluster.answered("n1")

    run(script, "a")
    (work,) = works
    assert b"/project" not in work
    sent = decode(work, Work).job
    assert (sent.scenario.target, str(sent.cwd), sent.python) == ("/bundle-d1/a.py", "/bundle-d1", "")


def test_a_scenario_whose_node_is_lost_is_examined_again_when_nothing_else_runs_beside_it():
    company = []

    def script(cluster):
        yield from cluster.ready("n1")
        yield from cluster.ready("n2", cores=2)
        yield cluster.left("n1")  # with a
        while busy := cluster.asked["n2"]:
            if "a" in [decode(asked.work, Work).job.scenario.id for _, asked in busy]:
                company.append(len(busy))
            yield cluster.answered("n2")

    view = Silent()
    result, _ = run(script, "abcde", view)
    assert verdicts(result) == dict.fromkeys("abcde", "clean")
    assert company == [1]
    assert view.messages == ["node n1 is lost"]
    assert {node.name: node.status for node in result.nodes} == {"n1": "lost", "n2": "ok"}


def test_a_scenario_that_takes_down_two_nodes_is_an_error_and_the_others_go_on():
    def script(cluster):
        for name in ("n1", "n2"):
            yield from cluster.ready(name)
            assert cluster.examined(name) == "a"
            yield cluster.left(name)
        yield from cluster.ready("n3")
        yield from cluster.rest()

    result, _ = run(script, "ab")
    assert verdicts(result) == {"a": "error", "b": "clean"}
    assert result.scenarios[0].reason.startswith("was not measured: its nodes were lost: n1, n2")
    assert result.scenarios[0].command == "elkyn-leakcheck run a"


def test_what_a_node_found_does_not_count_when_its_control_fails():
    def script(cluster):
        yield cluster.joined("n1", cores=2)
        yield cluster.answered("n1")
        proof = cluster.asked["n1"].popleft()
        yield cluster.answered("n1")  # a, while the control is under way
        cluster.asked["n1"].appendleft(proof)
        yield cluster.answered("n1", encode(BAD))
        cluster.verdicts["a", "n2"] = "bounded"
        yield from cluster.ready("n2")
        yield from cluster.rest()

    view = Silent()
    result, _ = run(script, "ab", view)
    assert verdicts(result) == {"a": "bounded", "b": "clean"}
    assert {node.name: (node.status, node.scenarios) for node in result.nodes} == {
        "n1": ("dropped", 0),
        "n2": ("ok", 2),
    }
    assert view.messages == ["node n1 is not used: it failed the control: no_op came out as leak: it grows"]
    assert result.control.status == "ok"


def test_what_a_node_had_finished_before_it_was_lost_is_not_to_blame():
    def script(cluster):
        for name in ("n1", "n2"):
            yield cluster.joined(name, cores=2)
            yield cluster.answered(name)
            proof = cluster.asked[name].popleft()
            assert cluster.examined(name) == "a"
            yield cluster.answered(name)  # before its control, so it does not count yet
            cluster.asked[name].appendleft(proof)
            yield cluster.left(name)  # with b, or with c
        yield from cluster.ready("n3")
        yield from cluster.rest()

    result, _ = run(script, "abc")
    assert verdicts(result) == {"a": "clean", "b": "clean", "c": "clean"}


def test_a_node_that_differs_is_refused_and_says_why():
    def script(cluster):
        yield cluster.joined("n1")
        yield cluster.answered("n1", encode(Admitted(refused="has numpy 1.26")))
        yield from cluster.ready("n2")
        yield from cluster.rest()

    result, _ = run(script, "ab")
    assert {each.node for each in result.scenarios} == {"n2"}
    assert [(node.status, node.reason) for node in result.nodes] == [("refused", "has numpy 1.26"), ("ok", "")]


def test_a_node_that_cannot_even_answer_is_refused():
    def script(cluster):
        yield cluster.joined("n1")
        yield Failed(cluster.asked["n1"].popleft()[0], "ModuleNotFoundError: No module named 'leakcheck'")
        yield cluster.joined("n2")
        yield cluster.answered("n2", b'{"environment": 3}')
        yield from cluster.ready("n3")
        yield from cluster.rest()

    result, _ = run(script, "a")
    assert [node.status for node in result.nodes] == ["refused", "refused", "ok"]
    assert "No module named 'leakcheck'" in result.nodes[0].reason


def test_a_late_node_helps():
    def script(cluster):
        yield from cluster.ready("n1")
        yield cluster.answered("n1")
        yield from cluster.ready("n2")
        yield cluster.answered("n2")
        yield cluster.answered("n1")

    result, _ = run(script, "abc")
    assert [each.node for each in result.scenarios] == ["n1", "n1", "n2"]


def test_an_engine_that_is_lost_blames_nobody():
    def script(cluster):
        for turn in range(4):
            yield from cluster.ready(f"n{turn}")
            assert cluster.examined(f"n{turn}") == "a"
            cluster.asked.clear()
            yield Parted("gone")
        yield from cluster.ready("n9")
        yield from cluster.rest()

    result, _ = run(script, "ab")
    assert verdicts(result) == {"a": "clean", "b": "clean"}


def test_an_answer_that_comes_too_late_is_no_second_result():
    def script(cluster):
        yield from cluster.ready("n1")
        late = cluster.answered("n1")
        yield cluster.left("n1")
        yield from cluster.ready("n2")
        yield late
        yield from cluster.rest()

    view = Silent()
    result, _ = run(script, "ab", view)
    assert [each.node for each in result.scenarios] == ["n2", "n2"]
    assert view.finished == ["a", "b"]


@pytest.mark.parametrize(
    ("there", "remark"),
    [
        ("leak", "node n2 confirms the leak"),
        ("clean", "node n2 does not confirm the leak: there it was clean: it is so"),
    ],
)
def test_a_leak_is_looked_for_by_a_second_node_and_stays_one(there, remark):
    def script(cluster):
        cluster.verdicts |= {("a", "n1"): "leak", ("a", "n2"): there}
        yield from cluster.ready("n1")
        yield from cluster.ready("n2")
        yield cluster.answered("n1")
        yield cluster.answered("n2")
        assert cluster.examined("n2") == "a"
        yield cluster.answered("n2")

    result, _ = run(script, "ab", confirm=2)
    assert verdicts(result) == {"a": "leak", "b": "clean"}
    assert result.scenarios[0].node == "n1"
    assert result.scenarios[0].advice == [remark]
    assert result.scenarios[0].confirmed is (there == "leak")


def test_another_machine_confirms_rather_than_another_process_of_the_same():
    def script(cluster):
        cluster.verdicts["a", "n1"] = cluster.verdicts["a", "n3"] = "leak"
        yield from cluster.ready("n1", "m1")
        yield from cluster.ready("n2", "m1")
        yield from cluster.ready("n3", "m2")
        yield cluster.answered("n1")
        for node in ("n1", "n2"):
            assert not cluster.asked[node] or cluster.examined(node) != "a"
        yield cluster.answered("n3")
        assert cluster.examined("n3") == "a"
        yield cluster.answered("n3")
        yield cluster.answered("n2")

    result, _ = run(script, "abc", confirm=2)
    assert result.scenarios[0].advice == ["node n3 confirms the leak"]


def test_a_leak_that_nobody_can_confirm_says_so():
    def script(cluster):
        cluster.verdicts["a", "n1"] = "leak"
        yield from cluster.ready("n1")
        yield cluster.answered("n1")
        yield cluster.answered("n1")

    result, _ = run(script, "ab", confirm=2)
    assert result.scenarios[0].advice == ["the leak was not confirmed: there is no other node"]
    assert result.scenarios[0].confirmed is False
    assert result.scenarios[1].confirmed is None


def test_a_node_that_is_lost_while_it_confirms_takes_no_result_away():
    def script(cluster):
        cluster.verdicts |= {("a", "n1"): "leak"}
        yield from cluster.ready("n1")
        yield cluster.answered("n1")
        assert cluster.examined("n1") == "b"
        for name in ("n2", "n3"):
            yield from cluster.ready(name)
            assert cluster.examined(name) == "a"
            yield cluster.left(name)
        yield cluster.answered("n1")

    result, _ = run(script, "ab", confirm=2)
    assert verdicts(result) == {"a": "leak", "b": "clean"}
    told = "the leak was not confirmed: the nodes that were to do it were lost: n2, n3"
    assert result.scenarios[0].advice == [told]


def test_an_error_of_ours_on_a_node_is_the_scenarios_result():
    def script(cluster):
        yield from cluster.ready("n1")
        yield Failed(cluster.asked["n1"].popleft()[0], "KeyError: 'x'")
        yield cluster.answered("n1")

    result, _ = run(script, "ab")
    assert result.scenarios[0].failure.type == "internal"
    assert result.scenarios[0].failure.message == "on node n1: KeyError: 'x'"


def test_where_no_node_can_be_used_for_long_the_run_ends_and_says_why():
    now = count(step=10)

    def script(cluster):
        yield cluster.joined("n1")
        yield cluster.answered("n1", encode(Admitted(refused="has numpy 1.26")))
        while True:
            yield None

    with pytest.raises(LeakcheckError, match=r"no node can be used: n1: it has numpy 1\.26"):
        run(script, "ab", clock=lambda: next(now))


def test_where_the_last_node_is_lost_for_good_what_is_left_is_an_error():
    now = count(step=10)

    def script(cluster):
        yield from cluster.ready("n1")
        yield cluster.answered("n1")
        yield cluster.left("n1")
        while True:
            yield None

    result, _ = run(script, "abc", clock=lambda: next(now))
    assert verdicts(result) == {"a": "clean", "b": "error", "c": "error"}
    assert "no node was left for it" in result.scenarios[1].reason


def test_an_engine_that_does_not_come_back_leaves_what_was_found():
    def script(cluster):
        yield from cluster.ready("n1")
        yield cluster.answered("n1")
        yield Parted("gone")
        raise LeakcheckError("the scheduler has been gone for 300 s")

    result, _ = run(script, "ab")
    assert verdicts(result) == {"a": "clean", "b": "error"}
    assert "gone for 300 s" in result.scenarios[1].reason


def test_an_interrupt_calls_off_everything_and_takes_what_was_seen():
    def script(cluster):
        yield from cluster.ready("n1", cores=2)
        yield cluster.answered("n1")
        raise KeyboardInterrupt

    class Interrupted(ScriptedCluster):
        def as_completed(self):
            if not self.is_cancelled:
                return super().as_completed()
            return iter([self.answered("n1"), self.answered("n1")])

    def both(cluster):
        cluster.__class__ = Interrupted
        yield from script(cluster)

    result, cluster = run(both, "abcdef")
    assert cluster.is_cancelled
    assert result.interrupted
    assert list(verdicts(result)) == ["a", "b", "c"]
    assert not cluster.asked["n1"], "nothing more was given out"


def test_an_interrupt_takes_no_leak_away_that_waits_to_be_confirmed():
    now = count(step=10)

    class Interrupted(ScriptedCluster):
        def as_completed(self):
            return iter([None, None, None]) if self.is_cancelled else super().as_completed()

    def script(cluster):
        cluster.__class__ = Interrupted
        cluster.verdicts |= {("a", "n1"): "leak", ("b", "n1"): "leak"}
        yield from cluster.ready("n1")
        yield cluster.answered("n1")
        yield cluster.answered("n1")
        yield from cluster.ready("n2")
        assert cluster.examined("n2") == "a"
        raise KeyboardInterrupt

    result, _ = run(script, "abc", confirm=2, clock=lambda: next(now))
    assert verdicts(result) == {"a": "leak", "b": "leak"}
    assert {each.advice[0] for each in result.scenarios} == {"the leak was not confirmed: interrupted"}


def test_what_a_node_says_is_shown():
    told = []

    class Watched(Silent):
        def progress(self, *arguments):
            told.append(arguments)

    def script(cluster):
        yield from cluster.ready("n1")
        yield Said(encode(Progress(what="progress", scenario="a", meter="heap.bytes", seconds_left=3.0)))
        yield cluster.answered("n1")

    run(script, "a", Watched())
    assert told == [("a", "heap.bytes", [], 3.0)]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_every_scenario_has_one_result(seed):
    """Nodes that come, go, fail their control and answer in any order, and an engine that is lost now and then."""
    chance = random.Random(seed)
    names = "abcdefghijklmnopqrst"
    number = count()

    def script(cluster):
        there: list[str] = []
        quiet = 0
        while True:
            what = chance.random()
            quiet += 1
            if len(there) < 2 or (what < 0.05 and quiet < 400):
                name = f"n{next(number)}"
                there.append(name)
                yield Joined(name, name, chance.choice("xy"), chance.choice([1, 1, 2, 4]))
            elif what < 0.12 and quiet < 400:
                name = there.pop(chance.randrange(len(there)))
                yield cluster.left(name)
            elif what < 0.13 and quiet < 400:
                there.clear()
                cluster.asked.clear()
                yield Parted("gone")
            elif busy := [name for name in there if cluster.asked.get(name)]:
                name = chance.choice(busy)
                cluster.asked[name].rotate(chance.randrange(len(cluster.asked[name])))
                kind = cluster.asked[name][0][1]
                bad = isinstance(kind, Prove) and chance.random() < 0.2 and quiet < 400
                yield cluster.answered(name, encode(BAD) if bad else None)
            else:
                yield None

    view = Silent()
    leaks = {(name, f"n{node}"): "leak" for name in "cfk" for node in range(0, 400, 2)}

    def with_leaks(cluster):
        cluster.verdicts |= leaks
        yield from script(cluster)

    result, _ = run(with_leaks, names, view, confirm=chance.choice([1, 2, 3]))
    assert [each.id for each in result.scenarios] == list(names)
    assert sorted(view.finished) == sorted(names)
