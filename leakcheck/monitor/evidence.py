"""What can be seen of a growth from inside the living process: the growing container, types, a memray window.

The object graph is walked three times, in small steps between which the service's threads run, so that none of them
waits longer than the pause budget:

    objects at a path      first walk   second walk   third walk
    app.hub.listeners[*]       40           60            80       only ever grew: a finding
    app.recent[*]             100           90           100       fell: no finding
"""

from __future__ import annotations

import gc
import os
import sys
import time
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from leakcheck.agent.meters import Unavailable
from leakcheck.agent.meters.heap import malloc_ledger
from leakcheck.agent.origin import HERE
from leakcheck.agent.probes.elements import described, different, element_name
from leakcheck.agent.probes.growing import Growing, Point, growing
from leakcheck.agent.probes.snapshot import path_of
from leakcheck.agent.probes.walk import Node, Walk, roots
from leakcheck.diagnosis.fingerprint import of_path, told_apart
from leakcheck.diagnosis.labels import named_in_code
from leakcheck.diagnosis.suspects import judge_path
from leakcheck.execution.workspace import Workspace
from leakcheck.meters import LEDGER
from leakcheck.monitor.alert import Alert, Evidence
from leakcheck.monitor.panel import Reading
from leakcheck.monitor.record import run_of
from leakcheck.records import Finding
from leakcheck.report.folder import write_run
from leakcheck.verdict.fragmentation import of_living

WALKS = 3
"""Walks over the object graph: what only grew from each to the next is a finding."""
FINDINGS = 8
"""Findings and types that are kept of an alert, the fastest growing first."""
SLICE_OBJECTS = 500
"""Objects that are opened between two looks at the clock."""
LISTED_ELEMENTS = 10_000
"""Elements up to which a container is entered: listing more would take longer than a pause. A larger one is counted."""
REMEMBERED_TYPES = 300
"""Types whose numbers are remembered until the next alert, the most frequent first."""
BYTES_BETWEEN_WALKS, COUNT_BETWEEN_WALKS = 256 * 1024, 20
"""What should have grown between two walks, of a meter in bytes and of any other: some dozens of objects."""
_SIZED = frozenset((list, dict, set, frozenset, tuple))


class EvidenceOptions(NamedTuple):
    """What may be done to the service to find the cause."""

    pause_ms: float = 10.0
    """The longest that other threads are kept waiting at a stretch."""
    walk_s: float = 20.0
    """Seconds after which a walk is given up; what was seen until then counts."""
    most_objects: int = 1_000_000
    """Objects that a walk looks at: it needs about 100 bytes for each."""
    window_s: float | None = None
    """Seconds between two walks; by default long enough for 256 KiB of growth, between 5 and 600."""
    memray_s: float = 0.0
    """Seconds of a memray window; 0 for none. It costs the service about a third of its speed for that time."""
    report: str | Path | None = None
    """Folder for `results.json` and `index.html` of each alert."""
    values: bool = False
    """Whether what the service keeps may be shown: keys and examples, which may be anything; else types and lengths."""


class Watched(Protocol):
    """What is needed of a watch."""

    def wait(self, seconds: float) -> bool:
        """Wait; True when the watch is to end."""

    def readings(self) -> list[Reading]:
        """What is known of each meter."""

    def course(self, meter: str) -> list[tuple[float, float]]:
        """What a meter did."""


_last_types: weakref.WeakKeyDictionary[Watched, dict[str, int]] = weakref.WeakKeyDictionary()


def gather(alert: Alert, options: EvidenceOptions, watch: Watched) -> Evidence:
    """Look for the cause of a growth that is going on; takes two windows, in the thread that calls."""
    remarks: list[str] = []
    points: list[Point] = []
    types: list[Counter[str]] = []
    longest = 0.0
    candidates: list[Growing] = []
    window = options.window_s if options.window_s is not None else _window(alert)
    for index in range(WALKS):
        if index and watch.wait(window):
            remarks.append("the watch was ended meanwhile")
            break
        keep = frozenset(each.node for each in candidates[: 3 * FINDINGS])
        newest = _Snapshot(options, keep, watch)
        points.append(newest.point)
        types.append(newest.types)
        longest = max(longest, newest.longest)
        if newest.remark and newest.remark not in remarks:
            remarks.append(newest.remark)
        if index:
            candidates = growing(points, newest.parents, newest.chains)
    grown = [each for each in candidates[:FINDINGS] if each.node in newest.nodes]
    names = ["".join(step.label for step in path_of(newest.nodes[each.node])) for each in grown]
    findings = told_apart([_finding(each, newest, options.values) for each in grown], names)
    newest.members.clear()
    if options.memray_s > 0 and not watch.wait(0):
        more, why_not = _memray(options.memray_s, watch)
        findings += more
        remarks += [why_not] if why_not else []
    if not findings and (sparse := _fragmented(alert, watch)):
        remarks.insert(0, sparse)
    hours = (points[-1].iterations - points[0].iterations) / 3_600_000
    evidence = Evidence(
        findings=tuple(findings),
        types=tuple((name, count / hours) for name, count in _more(newest.types, types[0]) if hours > 0),
        since_last_alert=_since_last(watch, newest.types),
        objects=newest.size,
        longest_pause_ms=longest * 1000,
        remarks=tuple(remarks),
    )
    return _reported(alert, evidence, options, watch)


def _fragmented(alert: Alert, watch: Watched) -> str:
    """The name of a growth that is the heap's free memory, and none of what is in use; empty for another."""
    try:
        in_use, _, free = (read() for read in malloc_ledger())
    except Unavailable:
        return ""
    course = watch.course(LEDGER)
    seconds = alert.window_hours * 3600
    begun = next((value for at, value in course if course[-1][0] - at <= seconds), in_use)
    memory = alert.unit == "B" and alert.meter != LEDGER
    return of_living(in_use, free, in_use - begun, alert.rate * alert.window_hours) if memory else ""


def _window(alert: Alert) -> float:
    """Seconds between two walks."""
    growth = BYTES_BETWEEN_WALKS if alert.unit == "B" else COUNT_BETWEEN_WALKS
    return min(max(growth / alert.rate * 3600, 5.0), 600.0)


_HERE = os.path.dirname(__file__) + os.sep


def _own(file: str) -> bool:
    return HERE.own(file) or file.startswith(_HERE)


class _Snapshot:
    """Numbers by path of one walk, and the objects at the paths that were asked for."""

    def __init__(self, options: EvidenceOptions, keep: frozenset[int], watch: Watched) -> None:
        walk = _GentleWalk(options)
        walk.keep = keep
        walk.hide([watch, walk])
        began = time.monotonic()
        self.remark = ""
        collects = gc.isenabled()
        gc.disable()  # what a walk makes would set the collector going, over and over, for long
        try:
            walk.run(roots(_own, HERE.rank, []))
        except _GaveUpError as reason:
            self.remark = str(reason)
        finally:
            if collects:
                gc.enable()
        self.longest = walk.longest
        self.nodes = walk.nodes
        self.members = walk.members
        self.size = len(walk.seen)
        self.point = Point(
            round(began * 1000),
            {key: node.objects for key, node in walk.nodes.items()},
            {key: node.references for key, node in walk.nodes.items()},
        )
        self.parents = {key: node.parent.key for key, node in walk.nodes.items() if node.parent is not None}
        self.chains = {key for key, node in walk.nodes.items() if node.fold}
        self.types: Counter[str] = Counter()
        for node in walk.nodes.values():
            self.types[node.type] += node.objects
            # Nodes that know each other are left to the collector, which may come late in a program that grows.
            node.children.clear()
            node.stretch = {}


class _GaveUpError(Exception):
    """The walk has used what it may use."""


class _GentleWalk(Walk):
    """A walk that lets other threads run: as long as it worked, so long it sleeps."""

    def __init__(self, options: EvidenceOptions) -> None:
        super().__init__(_own)
        self.longest = 0.0
        self._slice = options.pause_ms / 1000 / 3
        self._most = options.most_objects
        self._end = time.monotonic() + options.walk_s
        self._since = time.thread_time()

    def _expand(self, node: Node, objects: list[Any], following: dict[int, tuple[Node, list[Any]]]) -> None:
        small = []
        for start in range(0, len(objects), SLICE_OBJECTS):
            for each in objects[start : start + SLICE_OBJECTS]:
                if type(each) in _SIZED and len(each) > LISTED_ELEMENTS:
                    node.references += len(each)
                else:
                    small.append(each)
            self._breathe()
        elements = 0
        batch: list[Any] = []
        for each in small:
            batch.append(each)
            elements += len(each) if type(each) in _SIZED else 1
            if len(batch) >= SLICE_OBJECTS or elements >= LISTED_ELEMENTS // 4:
                super()._expand(node, batch, following)
                self._breathe()
                batch, elements = [], 0
        if batch:
            super()._expand(node, batch, following)
            self._breathe()

    def _breathe(self) -> None:
        worked = time.thread_time() - self._since
        self.longest = max(self.longest, worked)
        if worked < self._slice:
            return
        if time.monotonic() > self._end:
            raise _GaveUpError("the walk was given up after its time; large parts of the process were not seen")
        if len(self.seen) > self._most:
            raise _GaveUpError(f"the walk was given up after {self._most:,} objects")
        time.sleep(worked)
        self._since = time.thread_time()


def _finding(each: Growing, snapshot: _Snapshot, values: bool) -> Finding:
    """One growing container as a finding."""
    node = snapshot.nodes[each.node]
    members = snapshot.members.get(each.node, [])
    elements = [element for member in members[:20] for element in _newest(member)]
    kinds = Counter(map(element_name, elements))
    element = kinds.most_common(1)[0][0] if kinds else "object"
    path = path_of(node)
    nodes = judge_path(path, element, each.shape)
    mark = of_path(nodes, element)
    if not values:
        nodes = [msgspec.structs.replace(step, name=named_in_code(step.name)) for step in nodes]
    name = "".join(step.name for step in nodes[: len(path)])
    an_hour = each.per_iteration * 3_600_000
    return Finding(
        kind="container",
        fingerprint=mark,
        title=f"{name} grows by {an_hour:,.0f} {element} an hour, and nothing was removed while it was looked at",
        count_per_iteration=round(each.per_iteration * 1000, 4),
        meter="rss",
        path=nodes,
        type=element,
        examples=list(different(described(value, values) for value in elements[-3:])),
        hint=_cache_hint(path, members),
        source="graph",
    )


def _newest(member: Any) -> list[Any]:
    """Some of the newest elements of a container, without listing a large one."""
    if type(member) is list:
        return member[-20:]
    if type(member) is dict:
        found = []
        try:
            for key, _ in zip(reversed(member), range(20), strict=False):
                found.append(member[key])
        except (RuntimeError, KeyError):
            pass
        return found[::-1]
    if type(member) in (set, frozenset) and len(member) > LISTED_ELEMENTS:
        return []
    return gc.get_referents(member)[-20:]


def _cache_hint(path: Sequence[tuple[str, str]], members: Sequence[Any]) -> str:
    if any(label.startswith(".<lru_cache>") for label, _ in path):
        return "this is a functools cache: it stops at its maxsize, or never where that is None"
    bounded = next((each for each in members if getattr(each, "maxlen", None) is not None), None)
    return "this deque has a maxlen: it stops there" if bounded is not None else ""


def _more(types: Counter[str], before: Mapping[str, int]) -> list[tuple[str, int]]:
    """Types of which there are more objects than before, the most first."""
    more = Counter({name: count - before.get(name, 0) for name, count in types.items()})
    return [(name, count) for name, count in more.most_common(FINDINGS) if count > 0]


def _since_last(watch: Watched, types: Counter[str]) -> tuple[tuple[str, int], ...]:
    before = _last_types.get(watch, {})
    _last_types[watch] = dict(types.most_common(REMEMBERED_TYPES))
    return tuple(_more(Counter({name: types[name] for name in types if name in before}), before))


def _memray(seconds: float, watch: Watched) -> tuple[list[Finding], str]:
    """A tracking window in this process; ends early when the watch does."""
    from leakcheck.monitor.attach import read

    try:
        import memray
    except ImportError:
        return [], "no memray window: memray is not installed"
    with Workspace() as folder:
        capture = Path(folder, "capture.bin")
        began = time.monotonic()
        try:
            with memray.Tracker(str(capture), native_traces=False, follow_fork=False):
                watch.wait(seconds)
        except RuntimeError as error:
            return [], f"no memray window: {error}"
        return read(capture, time.monotonic() - began)


def _reported(alert: Alert, evidence: Evidence, options: EvidenceOptions, watch: Watched) -> Evidence:
    if options.report is None:
        return evidence
    run = run_of(
        f"{Path(sys.argv[0]).name or 'python'}[{alert.pid}]",
        "leak",
        str(alert),
        started=alert.at,
        seconds=alert.uptime_hours * 3600,
        readings=watch.readings(),
        course=watch.course,
        findings=evidence.findings,
        remarks=evidence.remarks,
    )
    stamp = alert.at.replace(":", "").replace("+0000", "Z")
    folder = Path(options.report) / f"{stamp}-{alert.meter}-{alert.pid}"
    write_run(run, folder, formats=("json", "html"))
    return evidence._replace(report=str(folder / "index.html"))
