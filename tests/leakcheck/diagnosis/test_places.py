"""Planted leaks, each diagnosed in real processes: the first finding names the place."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest
from diagnosing import diagnosed

from leakcheck.diagnosis.investigation import diagnose
from leakcheck.diagnosis.plan import DiagnosisOptions, GrowthFacts
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.records import Finding

PLANTED = Path(__file__).parents[1] / "suites" / "planted_leaks.py"
GROWING = PLANTED.with_name("growing_objects.py")


@pytest.mark.parametrize(
    ("name", "held_by", "added_in"),
    [
        ("bound_method_in_an_event_hub", "planted_leaks.hub.listeners[*]", "Hub.on"),
        ("closure", "planted_leaks.remember.<closure seen>[*]", "make_remember.<locals>.remember"),
        ("thread_local", "planted_leaks.local.items[*]", "thread_local.<locals>.step"),
        ("class_registry", "planted_leaks.Registry.known[*]", "Registry.__new__"),
        ("weakref_callbacks", "planted_leaks.references[*]", "weakref_callbacks.<locals>.step"),
        ("exception_traceback", "planted_leaks.errors[*]", "exception_traceback.<locals>.step"),
        pytest.param(
            "variable_of_the_set_up",
            "<scenario variable_of_the_set_up>.<local cache>[*]",
            "variable_of_the_set_up.<locals>.step",
            marks=pytest.mark.slow,
        ),
        pytest.param("linked_list", "planted_leaks.Chain.head.following…", "linked_list", marks=pytest.mark.slow),
        pytest.param("tuple_that_is_replaced", "planted_leaks.Copied.handlers[*]", "step", marks=pytest.mark.slow),
        pytest.param("lists_of_many_objects", "planted_leaks.users[*].history[*]", "step", marks=pytest.mark.slow),
        pytest.param(
            "default_argument", "planted_leaks.with_default.__defaults__[*]", "with_default", marks=pytest.mark.slow
        ),
        pytest.param("suspended_generators", "planted_leaks.generators[*]", "step", marks=pytest.mark.slow),
        pytest.param("finalizers", "weakref.finalize._registry[*]", "finalizers", marks=pytest.mark.slow),
        ("events_of_which_each_knows_the_last", "planted_leaks.recent[*].*.previous…", "events_of_which"),
        ("twelve_tenants", "planted_leaks.by_tenant[*][*]", "twelve_tenants.<locals>.step"),
        ("mappings_in_mappings", "planted_leaks.adapters[*]…[*]", "mappings_in_mappings.<locals>.<lambda>"),
        ("many_baskets", "planted_leaks.baskets[*].items[*]", "many_baskets.<locals>.step"),
        pytest.param("context_variable", "<context variable variable>[*]", "step", marks=pytest.mark.slow),
        pytest.param(
            "context_variable_of_each_call", "<context>[*]", "context_variable_of_each_call", marks=pytest.mark.slow
        ),
    ],
)
def test_the_container_and_the_line_that_adds_are_named(name: str, held_by: str, added_in: str) -> None:
    diagnosis = diagnosed(PLANTED, name)
    finding = diagnosis.findings[0]
    assert "".join(node.name for node in finding.path) == held_by
    assert finding.kind == "container"
    assert finding.count_per_iteration == pytest.approx(1, rel=0.1)
    assert any(added_in in frame.function for frame in finding.stack)
    assert diagnosis.explained is not None
    assert diagnosis.explained > 0.6


@pytest.mark.parametrize(
    ("name", "held_by", "source"),
    [
        ("text_of_a_module", "growing_objects.text", 'text += "a line of the log"'),
        ("buffer_in_place", "growing_objects.raw", "raw.extend("),
        ("numbers_of_an_array", "growing_objects.samples", "samples.append("),
        ("attributes_of_an_object", "growing_objects.settings.*", "setattr(settings"),
        ("chain_of_two_kinds_of_links", "growing_objects.chain.__defaults__.func…", "chain = lambda"),
        pytest.param(
            "chain_of_signal_handlers",
            "<handler of SIGUSR1>.<closure before>…",
            "return lambda number, frame",
            marks=pytest.mark.slow,
        ),
        pytest.param("text_of_an_object", "growing_objects.document.body", "document.body += ", marks=pytest.mark.slow),
        pytest.param("bits_of_a_number", "growing_objects.mask", "mask <<= 80", marks=pytest.mark.slow),
        pytest.param("stream_in_memory", "growing_objects.log", "log.write(", marks=pytest.mark.slow),
        pytest.param("attributes_of_a_class", "growing_objects.Settings.*", "setattr(Settings", marks=pytest.mark.slow),
        pytest.param("variables_of_a_module", "growing_objects.*", "globals()[", marks=pytest.mark.slow),
    ],
)
def test_what_grows_without_gaining_elements_is_named(name: str, held_by: str, source: str) -> None:
    diagnosis = diagnosed(GROWING, name)
    finding = diagnosis.findings[0]
    assert finding.kind == "container"
    assert "".join(node.name for node in finding.path) == held_by
    assert source in finding.stack[0].source
    assert diagnosis.explained is not None
    assert diagnosis.explained > 0.6


def explained(name: str, meter: str, growth: float, iterations: int) -> list[Finding]:
    """The findings for a growth that was measured over many iterations."""
    facts = GrowthFacts(meters={meter: growth}, seconds_per_iteration=4e-6, iterations=iterations)
    job = Job(scenario=ScenarioInfo(id=name, target=str(GROWING), name=name))
    return diagnose(job, facts, DiagnosisOptions(tools=frozenset({"graph", "memray"}))).findings


def test_a_file_that_gets_longer_is_named_with_the_line_that_writes() -> None:
    (finding,) = explained("file_that_gets_longer", "disk.bytes", 7.0, 4096)
    assert finding.examples[0] == "a file in the temporary folder"
    assert 'log.open("a")' in finding.stack[0].source


def test_an_object_whose_size_comes_and_goes_is_no_cause() -> None:
    findings = explained("leak_beside_a_size_that_comes_and_goes", "heap.bytes", 40.0, 65536)
    assert "".join(node.name for node in findings[0].path) == "growing_objects.small[*]"
    assert not any("comes_and_goes" in node.name for finding in findings for node in finding.path)


def test_a_leak_that_begins_late_is_found_by_a_second_look() -> None:
    finding = explained("leak_behind_a_ring_that_fills", "heap.bytes", 105.0, 65536)[0]
    assert "".join(node.name for node in finding.path) == "growing_objects.kept[*]"
    assert finding.stack[0].source == "kept.append(old)"


def test_a_leak_that_comes_in_bursts_is_named_though_a_short_stretch_falls_between_two() -> None:
    finding = explained("leak_that_comes_in_bursts", "heap.bytes", 12.0, 65536)[0]
    assert "".join(node.name for node in finding.path) == "growing_objects.bursts[*]"
    assert finding.count_per_iteration == pytest.approx(0.1, rel=0.2)


@pytest.mark.slow
def test_tracing_takes_seconds_where_a_step_does_little_but_allocate() -> None:
    """5000 numbers a call and one object in 500: enough calls to see that one would take minutes under a tracer."""
    name = "rare_leak_of_a_step_that_allocates_all_the_time"
    facts = GrowthFacts(meters={"heap.bytes": 0.52}, seconds_per_iteration=1e-4, iterations=16384)
    job = Job(scenario=ScenarioInfo(id=name, target=str(GROWING), name=name))
    diagnosis = diagnose(job, facts, DiagnosisOptions(tools=frozenset({"graph", "memray"})))
    assert "".join(node.name for node in diagnosis.findings[0].path) == "growing_objects.seldom[*]"
    assert [tool.status for tool in diagnosis.tools if tool.name in ("graph", "memray")] == ["ok", "ok"]


def test_two_faults_are_two_findings_each_with_its_share() -> None:
    findings = diagnosed(PLANTED, "two_at_once").findings
    assert ["".join(node.name for node in finding.path) for finding in findings[:2]] == [
        "planted_leaks.second[*]",
        "planted_leaks.first[*]",
    ]
    assert [round(finding.share or 0, 1) for finding in findings[:2]] == [0.7, 0.3]


def test_a_task_is_named_with_its_coroutine_and_the_line_that_created_it() -> None:
    finding = diagnosed(PLANTED, "asyncio_task").findings[0]
    assert finding.kind == "resource"
    assert finding.meter == "tasks"
    assert "asyncio.create_task(wait_for_ever())" in finding.stack[0].source
    assert "wait_for_ever" in finding.title


def test_a_missing_decref_is_named_by_the_line_that_takes_the_reference() -> None:
    finding = diagnosed(PLANTED, "missing_decref").findings[0]
    assert "_incref takes a reference to it" in finding.title
    assert finding.type == "dict"
    assert "_incref(value)" in finding.stack[0].source
    assert "born at planted_leaks.py" in finding.title


def test_a_descriptor_is_named_with_its_target_and_the_line_that_opened_it() -> None:
    finding = diagnosed(PLANTED, "descriptor").findings[0]
    assert finding.meter == "fds"
    assert finding.stack[0].source == "os.dup(0)"
    assert "/dev/null" in finding.title


def test_a_malloc_that_no_tracker_sees_is_found_on_the_heaps_own_ledger() -> None:
    findings = diagnosed(PLANTED, "container_and_malloc").findings
    assert {finding.stack[0].source for finding in findings} == {"first.append(bytearray(100))", "_malloc(200)"}


@pytest.mark.slow
def test_a_thread_is_named_with_its_target_and_the_line_that_started_it() -> None:
    finding = diagnosed(PLANTED, "thread").findings[0]
    assert finding.meter == "threads"
    assert "threading.Thread(target=never.acquire" in finding.stack[0].source


@pytest.mark.slow
def test_a_child_that_nobody_waits_for_is_named() -> None:
    finding = diagnosed(PLANTED, "children").findings[0]
    assert finding.meter == "children"
    assert "posix_spawn" in finding.stack[0].source
    assert "not waited for" in finding.title


@pytest.mark.slow
def test_a_rare_leak_gets_longer_stretches() -> None:
    finding = diagnosed(PLANTED, "one_in_fifty").findings[0]
    assert "".join(node.name for node in finding.path) == "planted_leaks.first[*]"
    assert finding.count_per_iteration == pytest.approx(0.02, rel=0.3)


@pytest.mark.slow
@pytest.mark.needs_valgrind
def test_valgrind_names_what_is_lost_for_good() -> None:
    diagnosis = diagnosed(PLANTED, "container_and_malloc", tools=frozenset({"valgrind"}), valgrind=True)
    assert [tool.status for tool in diagnosis.tools if tool.name == "valgrind"] == ["ok"]
    finding = diagnosis.findings[0]
    assert finding.kind == "native"
    assert "definitely lost" in finding.title


EXTENSION = """
#include <Python.h>
static PyObject *kept;
static PyObject *keep(PyObject *module, PyObject *value)
{
    (void)module;
    return PyList_Append(kept, value) ? NULL : Py_NewRef(Py_None);
}
static PyObject *forget(PyObject *module, PyObject *size)
{
    (void)module;
    return PyBytes_FromStringAndSize(NULL, PyLong_AsLong(size)) ? Py_NewRef(Py_None) : NULL;
}
static PyMethodDef methods[] = {{"keep", keep, METH_O, ""}, {"forget", forget, METH_O, ""}, {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "extension", 0, -1, methods};
PyMODINIT_FUNC PyInit_extension(void)
{
    kept = PyList_New(0);
    return PyModule_Create(&definition);
}
"""
SCENARIOS = """
import extension
from leakcheck import scenario
class Item:
    pass
@scenario
def kept():
    yield lambda: extension.keep(Item())
@scenario
def forgotten():
    yield lambda: extension.forget(300)
"""


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scenario file beside a C extension that was built for it."""
    folder = tmp_path_factory.mktemp("extension")
    (folder / "extension.c").write_text(EXTENSION)
    (folder / "with_extension.py").write_text(SCENARIOS)
    include = sysconfig.get_path("include")
    command = ["gcc", "-g", "-O1", "-shared", "-fPIC", f"-I{include}", "extension.c", "-o", "extension.so"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "with_extension.py"


def test_the_global_of_a_c_extension_is_held_by_native_code(extension: Path) -> None:
    finding = diagnosed(extension, "kept").findings[0]
    assert "".join(node.name for node in finding.path) == "<list held by native code>[*]"
    assert finding.type.endswith("Item")
    assert "extension.keep(Item())" in finding.stack[0].source


def test_what_a_c_function_forgets_is_named_with_its_c_line(extension: Path) -> None:
    finding = diagnosed(extension, "forgotten").findings[0]
    native = [frame for frame in finding.stack if frame.native]
    assert [(frame.function, Path(frame.file).name) for frame in native] == [("forget", "extension.c")]
    assert "extension.forget(300)" in next(frame.source for frame in finding.stack if frame.user)
