"""Looks into a living process by the agent: which container grows, and which line adds to it.

There is no step here that could be called: an iteration is a second, in which the program does whatever it does.
"""

from __future__ import annotations

import os
import time

import msgspec

from leakcheck.agent.entry.resident import announce, listen
from leakcheck.agent.inquiry import FindContainers, Graph
from leakcheck.agent.origin import Origin
from leakcheck.agent.processes.agents import Agent, Agents, Gone
from leakcheck.agent.processes.asking import handed_over
from leakcheck.agent.protocol import Driven, Failed, Open, Roots
from leakcheck.agent.step import run_plain
from leakcheck.diagnosis.attribution import RULES, attribute
from leakcheck.diagnosis.faults import Case
from leakcheck.diagnosis.findings import findings_of
from leakcheck.diagnosis.memray import sites_of_births
from leakcheck.meters import BLOCKS_LEDGER, FREE_IN_HEAP, LEDGER
from leakcheck.records import Finding
from leakcheck.verdict.fragmentation import of_living

_MAIN = "main process"
_METERS = [LEDGER, BLOCKS_LEDGER, FREE_IN_HEAP]
_BLOCK_BYTES = 64
"""Bytes of a block of Python's own allocator, about: many of which are as much as one of malloc's."""
_COME_S = 2.0
"""Seconds that processes have to come which look whether somebody listens."""
_OTHERS_S = 0.5
"""Seconds that others have to come once one has."""
_LOOKS_S = 3
"""Seconds after which it is seen which of several processes grows."""
_STRETCH_BYTES = 12 * 1024
"""By which a process should grow in a stretch: a dozen things of a likely size."""
_FEWEST_S, _MOST_S = 5, 60
"""Seconds of a stretch."""
_MOST_STRETCHES = 10
"""Stretches after which no further container is watched: two walks, two traces, and four containers take so many."""


class Inside:
    """The place where the agents of watched processes come; use it in one thread at a time."""

    def __init__(self) -> None:
        self.address = f"leakcheck-{os.urandom(16).hex()}"
        self._listening = listen(self.address)

    def environment(self) -> dict[str, str]:
        """The environment of a command whose Python processes have the agent."""
        environment = {**os.environ}
        announce(environment, self.address)
        return environment

    def look(self, rate: float) -> tuple[list[Finding], str]:
        """Findings in the process that grows most, and why there are none; one of both is empty.

        `rate` is the growth of all processes, in bytes a second. Takes some 20 seconds, and several minutes where that
        is small.
        """
        agents = Agents(self._listening, _opening(), _MAIN)
        try:
            return _findings(agents, rate)
        finally:
            for agent in agents:
                agents.forget(agent)

    def close(self) -> None:
        """Wait for nobody any more."""
        self._listening.close()


def _opening() -> Open:
    return Open(target="", name="", directory="", directories=[], gc="collect", meters=_METERS)


def _findings(agents: Agents, rate: float) -> tuple[list[Finding], str]:
    until = time.monotonic() + _COME_S
    opened = agents.look()
    while opened is None and time.monotonic() < until:
        time.sleep(_COME_S / 20)
        opened = agents.look()
    if opened is None:
        return [], (
            "no process could be looked into: the agent comes into Python 3.11 or newer, unless that is started with "
            "-I, -E or -S or with an environment of its own"
        )
    time.sleep(_OTHERS_S)
    for seconds in (0, _LOOKS_S):
        time.sleep(seconds)
        agents.read(seconds, whole=True)
    there = [*agents]
    if not there:
        return [], "the process has ended"
    most = max(there, key=_grown)
    stretch = int(min(_MOST_S, max(_FEWEST_S, _STRETCH_BYTES / max(rate, 1e-6))))
    question = FindContainers(
        warm=1, iterations=2 * stretch, traced=stretch, watch=stretch, bytes=rate, pause=0.0, values=False,
        picture=None, seconds=_MOST_STRETCHES * stretch,
    )  # fmt: skip
    try:
        answer = run_plain(handed_over(most, [type(question).__name__, *question], _passing))
    except Gone:
        return [], f"the {most.role.name} that was looked into has ended"
    if isinstance(answer, dict):
        return [], f"the {most.role.name} could not be looked into: {Failed(*answer['failed']).said}"
    graph = msgspec.convert(answer, Graph)
    origin = Origin(msgspec.convert(opened.roots, Roots))
    case = attribute(Case(growth=rate, origin=origin, graph=graph, sites=tuple(sites_of_births(graph.sites))), RULES)
    found = findings_of(case.faults, rate, "graph", origin)
    where = f"; in {most.role.name}" if len(there) > 1 or most.role.name != _MAIN else ""
    findings = [msgspec.structs.replace(each, title=_a_second(each.title) + where, meter="rss") for each in found]
    if findings:
        return findings, ""
    agents.read(graph.iterations, whole=True)
    free, in_use = most.history.last(FREE_IN_HEAP), most.history.last(LEDGER)
    looked = f"nothing that went on growing was found in the {most.role.name}, within {graph.iterations} s"
    return [], of_living(in_use, free, _grown(most), rate * graph.iterations) or looked


async def _passing(_: Agent, count: int) -> Driven:
    """Let time pass. It takes nothing of the program's own."""
    time.sleep(count)
    return Driven(count, 0.0)


def _grown(agent: Agent) -> float:
    return agent.history.since_first(LEDGER) + _BLOCK_BYTES * agent.history.since_first(BLOCKS_LEDGER)


def _a_second(title: str) -> str:
    """A rate per iteration, in the words of a watch."""
    return title.replace(" per iteration", " a second", 1)
