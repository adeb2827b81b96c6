"""A find as the draft of a bug report, for one who does not know this tool: a program to run, and what it shows."""

from __future__ import annotations

from leakcheck import units
from leakcheck.records import Finding, RunResult, ScenarioResult
from leakcheck.report import draft
from leakcheck.report.markdown import block, code, plain
from leakcheck.sweep.clusters import Cluster
from leakcheck.sweep.inside.messages import Began, Kind
from leakcheck.sweep.inside.program import indented
from leakcheck.sweep.outcome import Find

_SAID: dict[Kind, str] = {
    "call": "Each call of {target} keeps something{ending}.",
    "unusual value": "Each call of {target} with such a value keeps something.",
    "error": "Each call of {target} that fails{ending} keeps something.",
    "callback raises": "Each call of {target} keeps something when what the caller has given it raises{ending}.",
    "abandoned": "What {target} begins keeps something when it is left before its end{ending}.",
    "two calls": "These calls on one object keep something, each time{ending}.",
    "closed twice": "Calling {target} twice on one object keeps something{ending}.",
    "cycle": "An object of {target} that can be reached from what it holds is never freed: the collector of Python "
    "does not see the cycle.",
    "subclass": "Each subclass of {target} is kept after its last reference is gone{ending}.",
    "initialized twice": "Calling `__init__` of an object of {target} again keeps what the first had made{ending}.",
    "without initialization": "An object of {target} that was made by `__new__`, without `__init__`, is not freed "
    "completely{ending}.",
    "copied": "Copying an object of {target} keeps something{ending}.",
    "out of memory": "Each call of {target} keeps something when one of its allocations fails{ending}.",
}
"""What happens, in a sentence."""
_LINES = 5
"""Numbers that the program prints."""
_A_LINE_GROWS = 8 << 20
"""Bytes from one number to the next: far more than an interpreter that is started moves by itself."""
_COUNTED = {
    "fds": ('len(os.listdir("/proc/self/fd"))', "os", "open descriptors"),
    "threads": ('len(os.listdir("/proc/self/task"))', "os", "threads"),
}
"""What the program prints of what is counted: the expression, its module, and what it is."""
_BYTES = ('int(open("/proc/self/statm").read().split()[1]) * mmap.PAGESIZE >> 10', "mmap", "KiB of resident memory")
"""The same of memory. Not the most that there ever was: a process begins with that of the one which started it."""
_FEW = 20
"""Calls between two numbers of what a process may have some hundreds of."""


def text(find: Find, cluster: Cluster, result: ScenarioResult, run: RunResult, began: Began) -> str:
    """The document, in Markdown."""
    finding = result.findings[0] if result.findings else Finding(kind="native", fingerprint="", title=result.reason)
    growth = ", ".join(units.rate(value, _unit(result, name)) for name, value in find.growth.items())
    ending = f" with {plain(find.exception)}" if find.exception else ""
    versions = [f"{name} {version}" for name, version in began.distributions.items()]
    program, shown = _program(find, cluster)
    parts = [
        f"# Memory leak: {plain(find.target)} ({find.kind}{ending}), {plain(growth)}\n",
        _SAID[find.kind].format(target=code(find.target, 200), ending=ending) + "\n",
        "## To reproduce\n",
        block(program, "python"),
        f"It prints the {shown}, which should stand still after the first lines.\n",
        *draft.evidence(run, result, finding, versions),
    ]
    if find.neighbour:
        parts += [
            "## What keeps nothing\n",
            "Measured in the same run:\n",
            block(find.neighbour.splitlines(), "python"),
        ]
    parts += [
        "## More\n",
        *([f"The same is lost by {', '.join(map(plain, find.also))}.\n"] if find.also else []),
        *([f"It {plain(str(find.age))}.\n"] if find.age else []),
        f"The calls were made up by a sweep of elkyn-leakcheck. That they leak was judged twice, each time in fresh "
        f"processes: {plain(finding.title)}. {code(f'elkyn-leakcheck run {find.scenario}', 300)} judges it again.\n",
    ]
    return "\n".join(parts)


def _program(find: Find, cluster: Cluster) -> tuple[list[str], str]:
    """A program without this tool, by which the growth is seen, and what it prints."""
    counted = next((name for name in find.growth if name in _COUNTED), "")
    expression, module, shown = _COUNTED[counted] if counted else _BYTES
    size = max((value for name, value in find.growth.items() if name.endswith(".bytes")), default=0.0)
    calls = _FEW if counted or not size else _rounded(_A_LINE_GROWS / size)
    step = find.step
    if find.exception:
        step = f"try:\n{indented(step)}\nexcept Exception:\n    pass"
    lines = [
        f"import gc\nimport {module}\n",
        *([cluster.suspect.source.strip(), ""] if cluster.suspect.source.strip() else []),
        f"for _ in range({_LINES}):",
        f"    for _ in range({calls:_}):",
        indented(indented(step)),
        "    gc.collect()",
        f"    print({expression})",
    ]
    return "\n".join(lines).splitlines(), shown


def _rounded(calls: float) -> int:
    """A number of calls with one digit that is not 0, at least as many."""
    power: int = 10 ** max(len(str(int(calls))) - 1, 2)
    return -(-int(calls + 1) // power) * power


def _unit(result: ScenarioResult, meter: str) -> str:
    return next((each.unit for each in result.meters if each.name == meter), "B" if meter.endswith("bytes") else "")
