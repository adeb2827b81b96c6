"""A run as a real suite gives it: 25 scenarios of all verdicts, with series, findings, stacks and paths."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from leakcheck.records import (
    Control,
    ControlCheck,
    Failure,
    Finding,
    Frame,
    Meter,
    PathNode,
    RunResult,
    Sample,
    ScenarioResult,
    Tool,
    ToolRun,
    Verdict,
    summarize,
)

ROUNDS = [0, 13, 26, 52, 91, 104, 208, 416, 832, 1664, 3328, 6656]


def series(growth: float, base: float, noise: float = 0.0, *, full_at: int = 0, seed: int = 1) -> list[Sample]:
    """Readings that grow by `growth` per iteration, until `full_at` iterations where that is given."""
    chance = random.Random(seed)
    return [
        Sample(n, round(base + growth * (min(n, full_at) if full_at else n) + chance.uniform(-noise, noise), 1))
        for n in ROUNDS
    ]


def meter(
    name: str, unit: str, growth: float = 0.0, base: float = 1000.0, *, verdict: Verdict = "clean", **more: Any
) -> Meter:
    noise = more.pop("noise", 0.0)
    full_at = more.pop("full_at", 0)
    spread = abs(growth) * 0.002 + noise / ROUNDS[-1]
    return Meter(
        name=name,
        unit=unit,
        verdict=verdict,
        growth=0.0 if full_at else growth,
        low=(0.0 if full_at else growth) - spread,
        high=(0.0 if full_at else growth) + spread,
        detectable=more.pop("detectable", 0.05),
        model=more.pop("model", "saturating" if full_at else "linear" if growth else "constant"),
        samples=series(growth, base, noise, full_at=full_at, seed=len(name)),
        **more,
    )


def quiet_meters() -> list[Meter]:
    return [
        meter("py.objects", "objects", base=24_311),
        meter("fds", "fds", base=7, detectable=0.001),
        meter("threads", "threads", base=2, detectable=0.001),
        meter("py.threads", "threads", base=1, detectable=0.001),
        meter("tasks", "tasks", base=0, detectable=0.001),
        meter("children", "children", base=0, detectable=0.001),
        meter("mapped.bytes", "B", base=41_213_952, detectable=4096),
        meter("disk.bytes", "B", base=65_536, detectable=12),
        meter("disk.files", "files", base=3, detectable=0.001),
        meter("rss", "B", base=61_865_984, noise=400_000, decisive=False, model="noise"),
        meter("py.cycles", "objects", growth=2.0, base=0, decisive=False, model="linear"),
    ]


def frame(file: str, line: int, function: str, source: str = "", **more: Any) -> Frame:
    context = more.pop("context", [])
    if source and not context:
        context = [
            f"    def {function}(self, handler):",
            '        """Register a handler."""',
            f"        {source}",
            "        return self",
        ]
    return Frame(
        file=file, line=line, function=function, source=source, context=context, context_start=max(1, line - 2), **more
    )


def fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


LISTENER = Finding(
    kind="container",
    fingerprint=fingerprint("hub.listeners"),
    title=(
        "leaks 1 Listener (432 B) per iteration: added at app/hub.py:41 in Hub.on, "
        "held by hub.Hub.listeners[*], never removed"
    ),
    bytes_per_iteration=432.0,
    count_per_iteration=1.0,
    share=0.98,
    type="Listener",
    stack=[
        frame("app/hub.py", 41, "on", "self.listeners.append(Listener(handler))", user=True),
        frame("scenarios/subscriptions.py", 22, "step", "hub.on(print)", user=True),
        frame("leakcheck/agent/step.py", 88, "run"),
    ],
    path=[
        PathNode(name="app.hub", type="module", status="innocent", why="a module lives as long as the process"),
        PathNode(name=".hub", type="Hub"),
        PathNode(name=".listeners", type="list", suspect=True),
        PathNode(name="[*]", type="Listener", suspect=True, status="guilty", why="unsubscribed"),
    ],
    examples=[
        "Listener(handler=<built-in function print>)",
        "Listener(handler=<function on_change at app/main.py:12>)",
    ],
    source="graph",
)
BUFFER = Finding(
    kind="allocation",
    fingerprint=fingerprint("parse buffer"),
    title="leaks 1,024 B per iteration: allocated at app/parse.py:17 in parse",
    bytes_per_iteration=1024.0,
    count_per_iteration=1.0,
    share=0.7,
    stack=[
        frame("app/parse.py", 17, "parse", "buffers.append(bytearray(1000))", user=True),
        frame("app/main.py", 90, "handle", "parse(request)", user=True),
        frame("scenarios/requests.py", 12, "step", "handle(request)", user=True),
    ],
    source="survivors",
)
HEADER = Finding(
    kind="allocation",
    fingerprint=fingerprint("header cache"),
    title="leaks 310 B per iteration: allocated at app/headers.py:8 in remember",
    bytes_per_iteration=310.0,
    count_per_iteration=2.0,
    share=0.2,
    stack=[
        frame("app/headers.py", 8, "remember", "seen[header] = value.lower()", user=True),
        frame("app/main.py", 90, "handle", "parse(request)", user=True),
        frame("scenarios/requests.py", 12, "step", "handle(request)", user=True),
    ],
    source="survivors",
)
NATIVE = Finding(
    kind="native",
    fingerprint=fingerprint("copy_value"),
    title="leaks 64 B in 1.00 block per iteration: copy_value at bridge.cpp:120, called from scenarios/native.py:9",
    bytes_per_iteration=64.0,
    count_per_iteration=1.0,
    share=1.0,
    stack=[
        frame("scenarios/native.py", 9, "step", "planted.leak(64)", user=True),
        frame("bridge.cpp", 120, "copy_value(char const*, unsigned long)", "char* copy = new char[size];", native=True),
        frame("module.cpp", 31, "leak(unsigned long)", native=True),
    ],
    examples=["64 (64 direct, 0 indirect) bytes in 1 blocks are definitely lost in loss record 1,412 of 1,733"],
    source="valgrind",
)
SOCKET = Finding(
    kind="resource",
    fingerprint=fingerprint("socket"),
    title="leaves 1.00 descriptor open per iteration: socket to 127.0.0.1:8080, opened at app/client.py:33",
    count_per_iteration=1.0,
    meter="fds",
    share=1.0,
    type="socket",
    stack=[frame("app/client.py", 33, "connect", "sock = socket.create_connection(address)", user=True)],
    examples=["socket 127.0.0.1:51832 -> 127.0.0.1:8080", "socket 127.0.0.1:51834 -> 127.0.0.1:8080"],
    source="resources",
)


def scenario(identifier: str, verdict: Verdict = "clean", **more: Any) -> ScenarioResult:
    file, _, function = identifier.partition("::")
    expect = more.get("expect", "clean")
    heap = more.pop("heap", None) or meter("heap.bytes", "B", base=1_230_288, noise=120)
    defaults: dict[str, Any] = {
        "ok": verdict in ("clean", "bounded", "skipped", "inconclusive") if expect == "clean" else verdict == "leak",
        "reason": "no meter grew",
        "iterations": ROUNDS[-1],
        "duration_s": 0.8,
        "detectable": {"heap.bytes": 0.05, "fds": 0.001},
        "meters": [heap, *quiet_meters()],
        "tools": [
            ToolRun(name="growth", status="ok", duration_s=0.7),
            ToolRun(name="memray", status="not needed"),
            ToolRun(name="valgrind", status="not needed"),
        ],
        "tags": [file.rpartition("/")[2].removesuffix(".py")],
        "doc": f"What {function.replace('_', ' ')} does, in a sentence.",
        "file": file,
        "line": 14,
        "command": f"elkyn-leakcheck run '{identifier}'",
    }
    return ScenarioResult(id=identifier, verdict=verdict, **{**defaults, **more})


def leaking(identifier: str, findings: Sequence[Finding], **more: Any) -> ScenarioResult:
    growth = sum(finding.bytes_per_iteration or 0 for finding in findings)
    heap = meter(
        "heap.bytes",
        "B",
        growth,
        1_230_288,
        verdict="leak",
        noise=900,
        reason="grows at the same rate over 512 times as many iterations",
    )
    defaults: dict[str, Any] = {
        "heap": heap,
        "reason": findings[0].title if findings else f"heap.bytes grows {growth} B per iteration",
        "findings": list(findings),
        "explained": sum(finding.share or 0 for finding in findings),
        "tools": [
            ToolRun(name="growth", status="ok", duration_s=0.7),
            ToolRun(name="memray", status="ok", duration_s=0.4),
            ToolRun(
                name="valgrind", status="skipped", reason="valgrind not found, install it with apt-get install valgrind"
            ),
        ],
    }
    return scenario(identifier, "leak", **{**defaults, **more})


def suite() -> list[ScenarioResult]:
    """25 scenarios, six of them not as expected."""
    clean = [
        scenario(f"scenarios/{name}")
        for name in (
            "open_close.py::open_close",
            "payloads.py::large_payload[1024]",
            "payloads.py::large_payload[65536]",
            "payloads.py::large_payload[1048576]",
            "payloads.py::large_payload[5242880]",
            "operators.py::filter_map_take",
            "operators.py::debounce",
            "operators.py::share_and_replay",
            "transactions.py::commit",
            "transactions.py::roll_back",
            "streams.py::async_for",
            "overflow.py::stalled_consumer",
            "mixed.py::long_running",
        )
    ]
    handle_requests = leaking("scenarios/requests.py::handle_requests", [BUFFER, HEADER])
    return [
        leaking("scenarios/subscriptions.py::subscribe_twice", [LISTENER]),
        handle_requests,
        leaking(
            "scenarios/client.py::reconnect",
            [SOCKET],
            reason=SOCKET.title,
            meters=[
                meter("heap.bytes", "B", base=1_230_288),
                *[one for one in quiet_meters() if one.name != "fds"],
                meter("fds", "fds", 1.0, 7, verdict="leak"),
            ],
        ),
        scenario(
            "scenarios/errors.py::handler_that_raises",
            "error",
            reason="the child was killed by SIGSEGV after 1,204 iterations",
            failure=Failure(
                type="signal",
                message="SIGSEGV (segmentation fault) after 1,204 iterations",
                traceback=(
                    "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n"
                    '  File "scenarios/errors.py", line 31 in step'
                ),
                output="opening store\nwriting 1000 values\n",
            ),
            iterations=1204,
            meters=[],
        ),
        scenario(
            "scenarios/planted.py::forgets_nothing",
            "clean",
            expect="leak",
            reason="a leak was planted here, but no meter grew",
        ),
        scenario(
            "scenarios/budget.py::peak", "clean", ok=False, reason="peak of heap.bytes is 80 MiB, the budget 64 MiB"
        ),
        leaking("scenarios/planted.py::forgotten_unsubscribe", [LISTENER], expect="leak", ok=True),
        leaking("scenarios/planted.py::native_leak", [NATIVE], expect="leak", ok=True),
        scenario(
            "scenarios/caches.py::lru_cache_fills",
            "bounded",
            reason="grew by 832 entries of functools.lru_cache app.rates.rate (limit 1024), then stopped",
            heap=meter("heap.bytes", "B", 96.0, 1_230_288, verdict="bounded", full_at=832, noise=60),
            advice=["the cache app.rates.rate holds up to 1024 entries, about 96 B each"],
        ),
        scenario(
            "scenarios/caches.py::slow_growth",
            "inconclusive",
            reason="grew in 2 of 5 doublings; needs about 600,000 iterations: raise --time-budget to 40 s",
            heap=meter("heap.bytes", "B", 0.02, 1_230_288, verdict="inconclusive", noise=400, model="noise"),
        ),
        scenario(
            "scenarios/native.py::planted_extension",
            "skipped",
            reason="skipped: valgrind not found, install it with apt-get install valgrind",
            iterations=0,
            meters=[],
        ),
        *clean,
        scenario(
            "scenarios/cycles.py::parent_and_child",
            advice=["makes 2.0 objects of cyclic garbage per iteration; break the cycle with weakref"],
        ),
    ]


def run(scenarios: Sequence[ScenarioResult] | None = None, **more: Any) -> RunResult:
    scenarios = list(suite() if scenarios is None else scenarios)
    defaults: dict[str, Any] = {
        "tool": Tool(version="0.1.0"),
        "environment": {
            "python": "3.11.7",
            "implementation": "CPython",
            "platform": "Linux-6.1.0-x86_64-with-glibc2.36",
            "machine": "x86_64",
            "cpus": 2,
            "allocator": "malloc",
            "gc": "collect",
            "memray": "1.20.0",
            "valgrind": None,
            "libc": "glibc 2.36",
            "commit": "f768417d0c8b",
        },
        "started": "2026-11-23T11:50:19Z",
        "duration_s": sum(one.duration_s for one in scenarios),
        "control": Control(
            status="ok",
            checks=[
                ControlCheck(name="one_small_object_per_100_iterations", expected="leak", verdict="leak", ok=True),
                ControlCheck(name="native_block_per_iteration", expected="leak", verdict="leak", ok=True),
                ControlCheck(name="no-op", expected="clean", verdict="clean", ok=True),
            ],
            duration_s=1.1,
        ),
        "summary": summarize(scenarios),
        "scenarios": scenarios,
    }
    return RunResult(**{**defaults, **more})


def replace(record: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(record, **changes)
