"""The parts of a sweep, each by itself."""

from __future__ import annotations

import ast
import gc
import importlib
import json
import sys

import jsonschema
import pytest
from rich.console import Console

from leakcheck.errors import UsageError
from leakcheck.records import Finding, Frame, Meter, ScenarioResult, Tool
from leakcheck.sweep import clusters, confirming, console, outcome, page, scenario_file, state, sweeping
from leakcheck.sweep.inside import inventory, recipes, seeds, values
from leakcheck.sweep.inside.inventory import NothingToSweepError, Target
from leakcheck.sweep.inside.ledgers import Ledgers
from leakcheck.sweep.inside.literals import Written
from leakcheck.sweep.inside.messages import Asked, Crash, Inventory, Looked, Suspect, Swept
from leakcheck.sweep.inside.program import Programs, Repeated
from leakcheck.sweep.inside.refused import refused
from leakcheck.sweep.inside.shrink import shrunk
from leakcheck.sweep.inside.signatures import parameters
from leakcheck.sweep.inside.trials import Call
from leakcheck.sweep.seen import Seen

ASKED = Asked(["p"], [], [], 5.0, 2, False, False, "", "", [], {})


def suspect(step, kind="error", target="p.f", exception="TypeError", growth=64.0, **changes):
    made = Suspect(kind, target, "import p\n", step, exception, {"heap.bytes": growth}, [], "")
    return made._replace(**changes)


def sweep_of(*finds, **changes):
    plain = {
        "tool": Tool(version="1"), "asked": ["p"], "distributions": {"p": "1.0"}, "python": "3.12",
        "isolation": "namespaces", "started": "", "duration_s": 1.0, "control": "ok", "targets": 130, "calls": 17_400,
        "finds": list(finds), "kept": [], "unconfirmed": [], "crashes": [], "refused": [],
        "not_made": ["p.g"] * 12, "unfinished": [], "failures": [],
    }  # fmt: skip
    return outcome.Sweep(**{**plain, **changes})


# What is called, and with what


def test_names_that_reach_beyond_the_process_are_refused_with_the_reason():
    assert refused("p", "p.Process.kill", isolated=True) == "ends, signals or starts processes"
    assert refused("p", "p.sendSignal", isolated=True) == "ends, signals or starts processes"
    assert refused("ctypes", "ctypes.cast", isolated=True).startswith("is of ctypes")
    assert refused("p", "p.save", isolated=True) == ""
    assert "writes files" in refused("p", "p.save", isolated=False)
    assert refused("p", "p.can_accept_more_data", isolated=True) == ""
    assert refused("p", "p.Type.__exit__", isolated=True) == ""


def test_a_class_in_python_is_none_in_c_whatever_it_is_derived_from(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    text = "class A: ...\nclass B(A): ...\nclass C:\n    __slots__ = ()\nclass D(C):\n    __slots__ = ()\n"
    (tmp_path / "python_classes.py").write_text(text)
    package = inventory.take(["python_classes"], [], [], isolated=True, folder=str(tmp_path))
    assert [target.name[-1] for target in package.targets if target.native] == []
    assert {target.native for target in inventory.take(["_struct"], [], [], isolated=True).targets} == {True}


def test_each_value_is_fresh():
    """Twice the same expression makes two objects, wherever objects of such a value can be told apart."""
    programs = Programs([])
    single = (None, True, False, 0, 1, 8, -1, "", b"")
    for expression in dict.fromkeys([*(each.expression for each in values.GENERAL), *values.WRONG]):
        one, other = programs.value(expression), programs.value(expression)
        assert one is not other or any(one is each for each in single), expression


def test_signatures_are_taken_from_what_there_is():
    def plain(a, b: list[int], *, c=1): ...

    assert [(each.name, each.required, each.by_keyword) for each in parameters("m", "m.plain", plain, bound=False)] == [
        ("a", True, False), ("b", True, False), ("c", False, True),
    ]  # fmt: skip

    class Documented:
        """Documented(size, flags: int = 0) -> makes one"""

        __signature__ = "not one"

    found = parameters("m", "m.Documented", Documented, bound=False)
    assert [(each.name, each.required) for each in found] == [("size", True), ("flags", False)]
    assert parameters("m", "m.x", object(), bound=False) is None


def test_a_stub_describes_what_the_package_shows_elsewhere(tmp_path, monkeypatch):
    folder = tmp_path / "stubbed_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from stubbed_package.inner import T\n")
    (folder / "inner.py").write_text("class T:\n    __init__ = __build_class__\n")
    (folder / "inner.pyi").write_text("class T:\n    def __init__(self, text: str, size: int = ...): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    kind = importlib.import_module("stubbed_package").T
    found = parameters("stubbed_package", "stubbed_package.T", kind, bound=False)
    assert [(each.name, each.hint) for each in found] == [("text", "str"), ("size", "int ellipsis")]


def test_each_argument_that_can_be_given_by_name_is_replaced():
    steps = steps_of_calls("cycle", *[Call("", "p.f", (f"{name}=8",)) for name in "abcde"])
    assert "held = []\nsubject = p.f(e=held)\nheld.append(subject)" in steps


def test_an_object_is_made_to_hold_itself_alone():
    kind = Target("type", "p.T", "p", "", native=True, bound=False)
    known = recipes.Known(kind, [Call("", "p.T", ("8", "held=9"))], [], [])
    steps = [recipe.step for recipe in recipes.recipes(known) if recipe.kind == "cycle"]
    assert "subject = p.T(8, held=9)\nsubject.__init__(8, held=subject)" in steps


def test_calls_are_read_where_their_arguments_are_literals(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "def test():\n    p.load('[1]', [b'xy', -1], strict=True)\n    p.load(made_here)\n    p.load()\nsys.exit()\n"
    )
    written = Written()
    written.read_files(str(tmp_path))
    written.read_docstring("Example:\n    >>> load({'a': 1})\n    {'a': 1}\n    >>> broken(")
    assert written.of("p.load") == [("fresh('[1]')", "[fresh(b'xy'), -1]", "strict=True"), ("{'a': 1}",)]


def test_a_file_is_run_only_where_it_has_recipes(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", list(sys.path))
    plain, marked, broken = tmp_path / "test_plain.py", tmp_path / "recipes.py", tmp_path / "broken.py"
    plain.write_text("raise SystemExit\n")
    marked.write_text(
        "from fractions import Fraction\nfrom leakcheck import recipe\n"
        "@recipe(Fraction)\ndef half():\n    return Fraction(1, 2)\n"
    )
    broken.write_text("from leakcheck import recipe\n@recipe(3)\ndef wrong(): ...\n")
    assert seeds.load(str(plain)) == {}
    assert seeds.load(str(tmp_path)) == {}
    assert seeds.load(str(marked)) == {"fractions.Fraction": ["seeds.half()"]}
    programs = Programs([], seeds=str(marked))
    assert programs.value("seeds.half()") == 0.5
    assert "import recipes as seeds" in programs.head("", "seeds.half()")
    with pytest.raises(NothingToSweepError, match="@recipe takes the type"):
        seeds.load(str(broken))
    sys.modules.pop("seeds")


def steps_of(kind, *arguments, iterates=False):
    return steps_of_calls(kind, Call("", "p.f", arguments), iterates=iterates)


def steps_of_calls(kind, *calls, iterates=False):
    target = Target("function", "p.f", "p", "", native=True, bound=False)
    known = recipes.Known(target, list(calls), [], [], iterates)
    return [recipe.step for recipe in recipes.recipes(known) if recipe.kind == kind]


def test_a_document_is_cut_off_whatever_it_is_given_as():
    steps = steps_of("error", "fresh(b'[1, 2]')", "io.BytesIO(b'[1]')", "text=fresh('abcd')", "8")
    assert "p.f(fresh(b'[1, 2]')[:-3], io.BytesIO(b'[1]'), text=fresh('abcd'), 8)" in steps
    assert "p.f(fresh(b'[1, 2]'), io.BytesIO(b'[1]'[:-3]), text=fresh('abcd'), 8)" in steps
    assert "p.f(fresh(b'[1, 2]'), io.BytesIO(b'[1]'), text=fresh('abcd')[:-3], 8)" in steps


def test_an_iterator_that_a_call_returns_is_run():
    assert steps_of("call", "8") == ["p.f(8)"]
    assert steps_of("call", "8", iterates=True) == ["for _ in zip(range(1000), p.f(8)):\n    pass"]
    assert "for _ in zip(range(1000), p.f(None)):\n    pass" in steps_of("error", "8", iterates=True)


def test_what_an_object_was_made_with_raises_while_a_method_runs():
    method = Target("method", "p.T.m", "p", "p.T", native=True, bound=True)
    maker = Call("", "p.T", ("print", "fast=True"))
    known = recipes.Known(method, [Call("p.T(print)", "m", ("8",))], ["p.T(print)"], [], makers=[maker])
    steps = [recipe.step for recipe in recipes.recipes(known) if recipe.kind == "callback raises"]
    assert "subject = p.T(RaisesLater(2, None))\nsubject.m(8)" in steps
    assert "subject = p.T(print, fast=RaisesLater(0, None))\nsubject.m(8)" in steps


def test_the_object_that_was_used_most_is_copied_too():
    once = Call("", "m", ("8",)).done_to("p.T()")
    assert once == "after(p.T(), 'm', 8)"
    kind = Target("type", "p.T", "p", "", native=True, bound=False)
    known = recipes.Known(kind, [], ["p.T()", "p.T(1)", "p.T(2)", once], [])
    assert f"copy.copy({once})" in [recipe.step for recipe in recipes.recipes(known)]


def test_the_first_word_of_an_annotation_says_what_is_wanted():
    ordered = values.ranked(values.pool(), ["callback", "Callable[[int], object]"])
    assert ordered[0].startswith("(lambda")


# What grows


def growth(step):
    gc.collect()
    gc.freeze()
    try:
        return Ledgers(("fds", "threads", "py.blocks", "heap.bytes")).growth(Repeated(step))
    finally:
        gc.unfreeze()


def test_what_keeps_something_each_time_grows_and_what_fills_does_not():
    kept, cached, turn = [], {}, iter(range(10**9))

    assert set(growth(lambda: kept.append(bytearray(100)))) & {"py.blocks", "heap.bytes"}
    assert growth(lambda: cached.setdefault(next(turn) % 16, bytearray(100))) == {}
    assert growth(lambda: bytearray(100)) == {}


def test_what_keeps_nothing_is_not_looked_at_longer_for_what_the_reading_itself_takes():
    repeated = Repeated(lambda: bytearray(100))
    gc.collect()
    gc.freeze()
    try:
        Ledgers(("fds", "threads", "py.blocks", "heap.bytes")).growth(repeated)
    finally:
        gc.unfreeze()
    assert repeated.calls == 11  # one, two, and a short window of eight


def test_a_step_that_raises_whatever_is_repeated():
    def step():
        raise SystemExit

    repeated = Repeated(step)
    repeated(3)
    assert (repeated.exception, repeated.calls) == ("SystemExit", 3)


def test_a_program_is_made_smaller_as_long_as_it_does_the_same():
    def still(setup, step):
        compile(step, "step", "exec")
        return "lose(" in step and "7" in step

    _, step = shrunk("class Sub: pass\n", "a = make(1, 2)\nlose(a, b=[3], c=7).then(9)\nclose(a)", still)
    assert step == "lose(c=7)"


# Which suspects are one


def test_an_object_that_was_used_becomes_a_new_one_or_a_call_where_that_does():
    steps = ["after(after(p.T(), 'feed', 1), 'end').m(2)", "after(after(p.T(), 'feed', 1), 'end')"]
    for step, smallest in ((steps[0], "p.T().m()"), (steps[1], "p.T().feed()")):
        words = [word for word in ("p.T", "feed", ".m(") if word in smallest]
        assert shrunk("", step, lambda _, text, words=words: all(word in text for word in words)) == ("", smallest)


def test_what_a_shorter_program_does_explains_a_longer_one():
    found = clusters.clusters([suspect("p.f(0)"), suspect("x = p.T(p.f(0))", target="p.T")], ["p.f", "p.T"])
    assert [cluster.suspect.step for cluster in found] == ["p.f(0)"]


def test_two_errors_of_one_function_are_one_where_they_end_alike():
    same = [
        suspect("p.f(0)"),
        suspect("p.f(Bare())", growth=300.0),
        suspect("p.f(fresh('abc'))", exception="ValueError"),
    ]
    found = clusters.clusters(same, ["p.f"])
    assert [cluster.suspect.step for cluster in found] == ["p.f(0)"]
    other = suspect("p.f(fresh('abcdef'))", exception="ValueError", growth=900.0)
    assert len(clusters.clusters([*same, other], ["p.f"])) == 2


def test_what_fails_after_the_call_is_no_failure_of_the_call():
    steps = {
        "iterator = iter(p.register(1))": "call",
        "p.register(1).__enter__()": "call",
        "p.f(0)": "error",
        "with p.T():\n    raise ValueError": "abandoned",
    }
    for step, kind in steps.items():
        assert clusters.clusters([suspect(step, kind="abandoned")], ["p.f"])[0].kind == kind


def test_the_likeliest_and_largest_comes_first():
    rare = suspect("s = p.T()\ns.__init__()", kind="initialized twice", target="p.T", exception="", growth=1000.0)
    plain = suspect("p.g(1, 2)", kind="call", target="p.g", exception="", growth=100.0)
    assert [each.target for each in clusters.clusters([rare, plain], ["p.T", "p.g"])] == ["p.g", "p.T"]


def test_the_fingerprint_is_independent_of_values_and_amounts():
    one = clusters.clusters([suspect("p.f(0)")], ["p.f"])[0]
    other = clusters.clusters([suspect("p.f(fresh('/home/x'))", growth=4096.0)], ["p.f"])[0]
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint != clusters.clusters([suspect("p.f(0)", exception="ValueError")], ["p.f"])[0].fingerprint


def proved(name, kind, *frames, growth=64.0):
    stack = [Frame(file=file, line=line, function="f", native=True) for file, line in frames]
    finding = Finding(kind="allocation", fingerprint="", title="", stack=stack)
    result = ScenarioResult(id="s", verdict="leak", ok=True, reason="", findings=[finding])
    made = find(id=name, kind=kind, target=f"p.{name}", scenario=f"{name}.py", growth={"heap.bytes": growth})
    return confirming.Proved(made, clusters.Cluster(suspect("p.f(0)"), kind, "p.f"), result)


def test_what_is_lost_from_the_same_lines_is_one_find(tmp_path):
    here, there = [("ext.c", 10), ("ext.c", 20)], [("ext.c", 11), ("ext.c", 20)]
    several = [
        proved("a", "call", *here, ("a.py", 3)),
        proved("b", "error", *here, ("b.py", 9), growth=32.0),
        proved("c", "error", *there),
        proved("again", "initialized twice", *here),
        proved("one_cycle", "cycle", *here),
        proved("other_cycle", "cycle", *here),
        proved("unknown", "call"),
    ]
    for each in several:
        (tmp_path / each.find.scenario).touch()
    chosen = {each.find.id: each.find.also for each in confirming.one_a_place(several, tmp_path)}
    assert chosen == {"a": ["p.b"], "c": [], "again": [], "one_cycle": [], "other_cycle": [], "unknown": []}
    assert not (tmp_path / "b.py").exists()


def test_what_calls_the_one_and_loses_as_much_is_no_other_find(tmp_path):
    several = [
        proved("caller", "error", ("ext.c", 10), ("p.py", 7), ("caller.py", 3)),
        proved("called", "error", ("ext.c", 10), ("called.py", 3)),
        proved("loses_more", "error", ("ext.c", 10), ("p.py", 9), ("loses_more.py", 3), growth=128.0),
    ]
    chosen = {each.find.id: each.find.also for each in confirming.one_a_place(several, tmp_path)}
    assert chosen == {"loses_more": [], "called": ["p.caller"]}


@pytest.mark.parametrize(("names", "confirmed"), [(["heap.bytes"], True), (["refs"], False), (["refs", "fds"], True)])
def test_references_alone_do_not_confirm_that_memory_is_kept(names, confirmed):
    meters = [Meter(name=name, unit="B", verdict="leak", reason="", growth=1.0, decisive=True) for name in names]
    result = ScenarioResult(id="s", verdict="leak", ok=True, reason="", meters=meters)
    assert confirming._leaks(result) is confirmed


def test_what_a_program_names_may_be_meant_unless_the_call_has_failed():
    assert sweeping.may_be_meant(find(named="p.registry", kind="call"))
    assert not sweeping.may_be_meant(find(named="p.registry", kind="error"))
    assert not sweeping.may_be_meant(find(named="", kind="call"))


def test_a_find_is_a_scenario_that_can_be_read_by_python():
    cluster = clusters.clusters([suspect("p.f(0)\np.g()", neighbour="p.f(1)", folders=["/a b/'c"])], ["p.f"])[0]
    text = scenario_file.text(cluster, with_neighbour=True)
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    assert [each.name for each in functions] == ["leaks", "keeps_nothing"]
    assert "except Exception:  # TypeError" in text


# What is kept and told


def find(**changes):
    plain = {
        "id": "a", "fingerprint": "f" * 16, "kind": "error", "target": "p.f", "also": [], "exception": "TypeError",
        "growth": {"heap.bytes": 64.0}, "likelihood": 0.5, "reason": "", "cause": "", "step": "p.f(\x1b[2J)",
        "neighbour": "", "named": "", "scenario": "a.py", "draft": "a.md",
    }  # fmt: skip
    return outcome.Find(**{**plain, **changes})


def test_the_published_schema_is_current_and_what_is_written_is_valid_by_it():
    published = json.loads(outcome.PUBLISHED.read_text())
    assert published == json.loads(outcome.schema_text()), "make it anew with `python -m leakcheck.sweep`"
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.Draft202012Validator(published).validate(json.loads(outcome.encode(sweep_of(find()))))


def test_the_summary_counts_and_never_says_clean():
    said = console.said(sweep_of())
    assert said == "p 1.0: 17,400 calls of 130 targets tried, isolated, 12 could not be made. 0 leaks confirmed."
    assert "NOT ISOLATED" in console.said(sweep_of(isolation="none"))
    assert "1 leak confirmed, 1 of them known" in console.said(sweep_of(find(known=True)))


def test_progress_counts_what_is_looked_at_and_then_what_is_swept():
    seen = Seen()
    seen.take(Inventory([f"p.f{number}" for number in range(40)], [], {}, []))
    seen.take(Looked("p.f0"))
    assert console.progress(seen, 5.0) == "looking for calls that succeed: 1 of 40 targets"
    for number in range(10):
        seen.take(Swept(f"p.f{number}", 100, True, True, 0.1))
    seen.take(suspect("p.f1(0)", target="p.f1"))
    assert console.progress(seen, 2.0) == "10 of 40 targets, 500 calls/s, 1 suspect, 6.0 s left"


def test_what_stands_in_a_terminal_fits_into_forty_columns_and_shows_nothing_as_it_is(capsys):
    seen = Seen()
    for message in (suspect("f", target="package.module.\x1b[2JType.method"), Crash("package.f", "signal 11", "f()")):
        seen.take(message)
    terminal = Console(width=40, file=sys.stdout)
    terminal.print(console.live("screen: 31 of 163 targets, 24,000 calls/s, 4 suspects, 1 crash", seen, 40))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 40
    assert "signal 11" in shown
    assert "+64 B" in shown


def test_nothing_of_a_find_reaches_the_terminal_as_it_is(tmp_path, capsys):
    view = console.SweepView(quiet=False, color="never")
    console.summary(sweep_of(find()), tmp_path, view, quiet=False)
    assert "\x1b" not in capsys.readouterr().out


def test_nothing_of_a_sweep_is_markup_on_its_page():
    evil = "</pre><script>alert(1)</script>\x1b\u202e"
    crash = outcome.CrashFound(target=evil, how=evil, step=evil, times=1)
    swept = sweep_of(
        find(step=evil, target=evil, reason=evil, named=evil, also=[evil], neighbour=evil, draft=f"javascript:{evil}"),
        crashes=[crash], refused=[(evil, evil)], not_made=[evil],
    )  # fmt: skip
    shown = page.render(swept, console.said(swept))
    assert "<script" not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert 'href="javascript:' not in shown


def test_a_sweep_goes_on_where_another_of_the_same_was_interrupted(tmp_path):
    seen = Seen()
    for message in (suspect("p.f(0)"), Crash("p.f", "signal 11", "p.f(1)"), Swept("p.f", 10, True, True, 0.5)):
        seen.take(message)
    file = tmp_path / state.FILE_NAME
    state.write(file, ASKED, seen)
    resumed = Seen()
    state.read(file, ASKED).put_into(resumed)
    assert (resumed.done_before, resumed.suspects, resumed.crashes) == (["p.f"], seen.suspects, seen.crashes)
    with pytest.raises(UsageError, match="is of a sweep of p"):
        state.read(file, ASKED._replace(targets=["q"]))
    with pytest.raises(UsageError, match="there is no"):
        state.read(tmp_path / "missing", ASKED)


def test_what_a_target_has_shown_that_is_done_again_is_counted_once(tmp_path):
    seen = Seen()
    met = [Crash("p.g", "signal 11", "p.g(1)"), suspect("p.g(0)", target="p.g")]
    for message in (Swept("p.f", 10, True, True, 0.5), *met):
        seen.take(message)
    state.write(tmp_path / state.FILE_NAME, ASKED, seen)
    resumed = Seen()
    state.read(tmp_path / state.FILE_NAME, ASKED).put_into(resumed)
    for message in met:
        resumed.take(message)
    assert (resumed.crashes, resumed.suspects) == (met[:1], met[1:])


@pytest.mark.parametrize(
    ("changes", "said"), [({"errors_only": True}, "--errors-only"), ({"seconds": 1.0}, "--time-per-target")]
)
def test_a_sweep_does_not_go_on_with_other_options(changes, said, tmp_path):
    state.write(tmp_path / state.FILE_NAME, ASKED, Seen())
    with pytest.raises(UsageError, match=f"other options \\({said}\\)"):
        state.read(tmp_path / state.FILE_NAME, ASKED._replace(**changes))
    assert state.read(tmp_path / state.FILE_NAME, ASKED._replace(jobs=7, skipped=["p.f"]))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"schema": "leakcheck/1"}'])
def test_a_baseline_that_is_none_is_said_in_a_sentence(tmp_path, content):
    (tmp_path / "sweep.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"is no sweep\.json"):
        state.of_sweep(tmp_path / "sweep.json")
