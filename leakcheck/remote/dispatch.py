"""Which node examines which scenario, and what becomes of those whose node is lost or cannot be trusted.

Every scenario has one result, whatever happens:

* A node is asked first whether it is like this machine, and gets the sources where it has none. One core of it runs the
  control, the others examine meanwhile; what they find counts when the control is passed. A node that fails it is
  dropped, and what it had examined is examined again elsewhere.
* A scenario whose node is lost is examined once more, with nothing beside it on its node: so it is known who is to
  blame if that is lost too, and the scenario is an error then. An engine that is lost blames nobody.
* A leak may be confirmed on other nodes (`confirm`). It stays a leak where they do not see it, with a remark.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from leakcheck import units
from leakcheck.agent.protocol import INTERNAL
from leakcheck.errors import LeakcheckError
from leakcheck.records import Control, Failure, RunResult, ScenarioResult
from leakcheck.remote.bundle import Bundle
from leakcheck.remote.engine import Answered, Cluster, Engine, Event, Failed, Joined, Left, Parted, Said
from leakcheck.remote.likeness import Likeness
from leakcheck.remote.locked import Lock
from leakcheck.remote.requests import Admit, Admitted, Examine, Progress, Prove, Work, decode, encode
from leakcheck.remote.standing import Call, NodeState, Task
from leakcheck.results.merging import common, joined_control
from leakcheck.run import provenance
from leakcheck.run.account import Account
from leakcheck.run.runner import Plan, View, broken_result, command
from leakcheck.verdict import result as verdicts

_ALL_REFUSED_S = 60.0
"""Seconds that a run waits where nodes are there, and none of them can be used: others may still start."""
_ALL_LOST_S = 300.0
"""Seconds that it waits where all nodes are gone: what starts them starts them again, or it does not."""
_LAST_WORDS_S = 15.0
"""Seconds that the answers may take after all was called off: a process has three to tear down, and five to end."""
_MOST_LOST = 2
"""Nodes that a scenario may take down before it is an error."""


class NodesView(View, Protocol):
    """What is shown of a run on many machines, beside what is shown of any."""

    def message(self, text: str) -> None:
        """Say something above the live view."""

    def nodes(self, count: int, cores: int) -> None:
        """So many nodes with so many cores can be used."""

    def start_at(self, scenario_id: str, node: str) -> None:
        """The measurement of a scenario begins on that node; in place of `start`."""


class Dispatch:
    """One run of a plan on the nodes of an engine. Used once, in one thread."""

    def __init__(
        self,
        plan: Plan,
        engine: Engine,
        view: NodesView,
        bundle: Bundle,
        like: Likeness,
        *,
        name: str,
        cluster: Cluster,
        lock: Lock | None = None,
        took_s: Mapping[str, float] = MappingProxyType({}),
        keep: Callable[[RunResult], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` is the run's own among all that the engine serves, `lock` what `cluster.lock` holds.

        `took_s` are the seconds that scenarios have taken before, by id: the longest go first, or all wait for them at
        the end.
        """
        self._plan, self._engine, self._view, self._bundle, self._like = plan, engine, view, bundle, like
        self._name, self._cluster, self._lock, self._clock = name, cluster, lock, clock
        self._account = Account(plan.planned, plan.options, keep)
        usual = median(took_s.values()) if took_s else 0.0
        longest_first = sorted(plan.scenarios, key=lambda info: -took_s.get(info.id, usual))
        self._waiting = deque(map(Task, longest_first))
        self._alone: deque[Task] = deque()
        """Scenarios whose node was lost."""
        self._unconfirmed: deque[Task] = deque()
        self._nodes: dict[str, NodeState] = {}
        """Those that are there, by address."""
        self._all: list[NodeState] = []
        self._calls: dict[str, Call] = {}
        self._checkout = provenance.checkout()
        self._number = 0
        self._is_stopping = self._is_waiting = False
        self._stranded_since: float | None = None

    def run(self) -> RunResult:
        """Returns also when it was interrupted, with what was finished until then.

        Raises `LeakcheckError` where no node could be used at all.
        """
        for broken in self._plan.broken:
            self._view.failed(broken.id, broken.whole)
            self._finish(None, [broken_result(self._plan.template, broken)])
        try:
            self._until(self._is_done)
        except KeyboardInterrupt:
            self._stop()
        except LeakcheckError as error:  # nobody is left to examine anything
            self._abandon(str(error))
        return self._result(interrupted=self._is_stopping)

    def _stop(self) -> None:
        """Call off everything, and take what was seen until then."""
        self._is_stopping = True
        self._engine.cancel()
        for node in self._nodes.values():
            if not node.is_proved:
                self._trust(node)
        deadline = self._clock() + _LAST_WORDS_S
        self._until(lambda: not self._examined() or self._clock() > deadline)
        unanswered = [call.task for call in self._examined() if call.task is not None]
        for task in (*self._unconfirmed, *unanswered):
            if task.seen:
                self._conclude(task, "interrupted")

    def _until(self, done: Callable[[], bool]) -> None:
        if done():
            return
        for event in self._engine.as_completed():
            if event is not None:
                self._take(event)
            elif not self._all:
                self._say_that_none_is_there()
            if not self._is_stopping:
                self._give_up_where_stranded()
                self._give_out()
            if done():
                return
            self._account.keep_now_and_then(lambda: self._result(interrupted=True))

    def _is_done(self) -> bool:
        self._settle_unconfirmed()
        held = any(node.held for node in self._nodes.values())
        return not (self._waiting or self._alone or self._unconfirmed or self._examined() or held)

    def _examined(self) -> list[Call]:
        return [call for call in self._calls.values() if call.task is not None]

    # What happens

    def _take(self, event: Event) -> None:
        match event:
            case Joined():
                self._join(event)
            case Left():
                self._leave(event.node)
            case Parted():
                self._part(event.reason)
            case Said():
                self._say(decode(event.message, Progress))
            case Answered() | Failed():
                call = self._calls.pop(event.request, None)
                if call is not None:  # else of a node that has left meanwhile
                    self._answer(event.request, call, event)

    def _join(self, joined: Joined) -> None:
        node = self._nodes[joined.node] = NodeState(joined, self._cluster.python)
        self._all.append(node)
        self._ask(node, Admit, Admitted, like=self._like, lock=self._lock)

    def _leave(self, address: str) -> None:
        node = self._nodes.pop(address, None)
        if node is None:
            return
        if node.status in ("new", "ok"):
            node.status = "lost"
            self._view.message(f"node {node.name} is lost")
        self._show_nodes()
        under_way, found = self._called_back(node)
        self._again(found)  # they have survived, and cannot be to blame
        for task in under_way:
            task.lost.append(node.name)
            if len(task.lost) < _MOST_LOST:
                (self._unconfirmed if task.seen else self._alone).append(task)
            elif task.seen:
                self._conclude(task, f"the nodes that were to do it were lost: {', '.join(task.lost)}")
            else:
                message = (
                    f"its nodes were lost: {', '.join(task.lost)}; run it by itself to see what it does to a machine"
                )
                self._finish(None, [self._without_verdict(task, Failure(type="node", message=message))])

    def _part(self, reason: str) -> None:
        self._view.message(f"{reason}; what was under way is examined again when it is back")
        for node in list(self._nodes.values()):
            del self._nodes[node.address]
            node.status = "lost" if node.status in ("new", "ok") else node.status
            self._again([task for tasks in self._called_back(node) for task in tasks])
        self._calls.clear()
        self._show_nodes()

    def _called_back(self, node: NodeState) -> tuple[list[Task], list[Task]]:
        """What a node examines, and what it has found and cannot be believed: taken from it."""
        calls = [self._calls.pop(name) for name in sorted(node.requests)]
        held, node.held = node.held, []
        node.requests.clear()
        return [call.task for call in calls if call.task is not None], [task for task, _ in held]

    def _again(self, tasks: Sequence[Task]) -> None:
        """What a node could do nothing for is examined elsewhere, before what has not been begun."""
        self._unconfirmed.extend(task for task in tasks if task.seen)
        self._waiting.extendleft(task for task in reversed(tasks) if not task.seen)

    def _answer(self, request: str, call: Call, event: Answered | Failed) -> None:
        node, task = call.node, call.task
        node.requests.discard(request)
        node.is_reserved = node.is_reserved and task is None
        answer = _decoded(event, self._bundle, call.answer)
        if isinstance(answer, Failed):
            if task is None:
                self._refuse(node, "refused", f"does not answer as this tool does: {answer.reason}")
            else:
                failure = Failure(type=INTERNAL, message=f"on node {node.name}: {answer.reason}")
                self._finish(node, [self._without_verdict(task, failure)])
            return
        if isinstance(answer, Admitted):
            self._admit(node, answer)
        elif isinstance(answer, Control):
            self._prove(node, answer)
        elif task is not None:
            found = [msgspec.structs.replace(each, node=node.name) for each in answer]
            if node.is_proved:
                self._believe(node, task, found)
            else:
                node.held.append((task, found))

    def _admit(self, node: NodeState, answer: Admitted) -> None:
        if answer.refused:
            self._refuse(node, "refused", answer.refused)
        elif answer.lacks_bundle:
            self._ask(node, Admit, Admitted, like=self._like, lock=self._lock, archive=self._bundle.archive)
        else:
            node.status, node.environment, node.python = "ok", answer.environment, answer.python
            node.is_proved = not self._cluster.control
            if self._cluster.control:
                self._ask(node, Prove, Control)
            self._show_nodes()

    def _prove(self, node: NodeState, control: Control) -> None:
        if self._is_stopping:  # it was cut short
            return
        node.control = control
        if control.status == "failed":
            self._refuse(node, "dropped", f"failed the control: {control.reason}")
            return
        if not any(each.is_proved for each in self._all):
            self._view.control(control)
        self._trust(node)

    def _trust(self, node: NodeState) -> None:
        node.is_proved = True
        found, node.held = node.held, []
        for task, results in found:
            self._believe(node, task, results)

    def _refuse(self, node: NodeState, status: str, reason: str) -> None:
        node.status, node.reason = status, reason
        self._view.message(f"node {node.name} is not used: it {reason}")
        self._again([task for tasks in self._called_back(node) for task in tasks])
        self._show_nodes()

    # What is done about it

    def _believe(self, node: NodeState, task: Task, found: list[ScenarioResult]) -> None:
        task.seen[node] = found
        leaks = any(_leaks(results) for results in task.seen.values())
        if leaks and len(task.seen) < self._cluster.confirm and not self._is_stopping:
            self._unconfirmed.append(task)
            return
        self._conclude(task, "interrupted" if self._is_stopping else "")

    def _conclude(self, task: Task, missing: str = "") -> None:
        """Give the result: what the first node has found, and what the others say to it."""
        (first, found), *others = task.seen.items()
        if self._cluster.confirm > 1 and _leaks(found):
            remarks = [_remark(node, found, results) for node, results in others]
            if missing and len(task.seen) < self._cluster.confirm:
                remarks.append((False, f"the leak was not confirmed: {missing}"))
            advice = [remark for _, remark in sorted(remarks)]
            confirmed = all(does for does, _ in remarks)
            first_of = msgspec.structs.replace(found[0], advice=[*advice, *found[0].advice], confirmed=confirmed)
            found = [first_of, *found[1:]]
        self._finish(first, found)

    def _settle_unconfirmed(self) -> None:
        """Conclude what nobody is left to confirm."""
        if self._waiting or self._alone or self._examined():
            return
        usable = [node for node in self._nodes.values() if node.status in ("new", "ok")]
        for task in list(self._unconfirmed):
            if all(node in task.seen for node in usable):
                self._unconfirmed.remove(task)
                self._conclude(task, "there is no other node")

    def _finish(self, node: NodeState | None, found: list[ScenarioResult]) -> None:
        if node is not None:
            node.scenarios += 1
        self._account.take(found)
        for result in found:
            self._view.finish(result)

    def _without_verdict(self, task: Task, failure: Failure) -> ScenarioResult:
        job = msgspec.structs.replace(self._plan.template, scenario=task.info)
        return verdicts.failed(job, failure, command=command(task.info, self._plan.options))

    def _give_out(self) -> None:
        """Give each free core a scenario, those first whose node was lost."""
        for node in self._nodes.values():
            while node.status == "ok" and not node.is_reserved and len(node.requests) < node.cores:
                if self._alone and not node.requests:
                    node.is_reserved = True
                    task = self._alone.popleft()
                elif self._waiting:
                    task = self._waiting.popleft()
                elif (unseen := self._unseen_by(node)) is not None:
                    self._unconfirmed.remove(unseen)
                    task = unseen
                else:
                    break
                self._ask(node, Examine, list[ScenarioResult], task)
                self._view.start_at(task.info.id, node.name)

    def _unseen_by(self, node: NodeState) -> Task | None:
        """A leak that a node may confirm: one of another machine, where there is another."""
        there = {each.machine for each in self._nodes.values() if each.status == "ok"}
        for task in self._unconfirmed:
            seen = {each.machine for each in task.seen}
            if node.machine not in seen or (node not in task.seen and there <= seen):
                return task
        return None

    def _ask(self, node: NodeState, kind: Any, answer: Any, task: Task | None = None, **more: Any) -> None:
        self._number += 1
        request = f"leakcheck-{self._name}-{self._number}"
        template = self._plan.template
        job = msgspec.structs.replace(template, python="", scenario=task.info if task else template.scenario)
        work = Work(
            job=job,
            tools=sorted(self._plan.tools),
            errors=self._plan.errors,
            suppressions=[str(each) for each in self._plan.suppressions],
            options=self._plan.options,
        )
        sent = kind(
            run=self._name,
            digest=self._bundle.digest,
            python=node.python,
            work=msgspec.Raw(self._bundle.outgoing(encode(work))),
            **more,
        )
        self._calls[request] = Call(node, task, answer)
        node.requests.add(request)
        self._engine.submit(node.address, request, encode(sent))

    def _give_up_where_stranded(self) -> None:
        """Raise `LeakcheckError` where no node can be used for long."""
        usable = any(node.status in ("new", "ok") for node in self._nodes.values())
        if usable or not self._all:
            self._stranded_since = None
            return
        now = self._clock()
        self._stranded_since = now if self._stranded_since is None else self._stranded_since
        if now - self._stranded_since >= (_ALL_REFUSED_S if self._nodes else _ALL_LOST_S):
            raise LeakcheckError(self._why_no_node())

    def _abandon(self, why: str) -> None:
        """Whatever has no result yet is an error. Raises `LeakcheckError` where nothing has one."""
        if not any(node.scenarios for node in self._all):
            raise LeakcheckError(f"no node can be used: {why}")
        calls = [call.task for call in self._calls.values() if call.task is not None]
        held = [task for node in self._nodes.values() for task, _ in node.held]
        for task in [*self._alone, *self._waiting, *calls, *held]:
            failure = Failure(type="node", message=f"no node was left for it: {why}")
            self._finish(None, [self._without_verdict(task, failure)])
        for task in self._unconfirmed:
            self._conclude(task, why)
        self._calls.clear()
        for each in (self._alone, self._waiting, self._unconfirmed):
            each.clear()
        for node in self._nodes.values():
            node.held.clear()

    def _why_no_node(self) -> str:
        reasons: dict[str, list[str]] = {}
        for node in self._all:
            reasons.setdefault(node.reason or "is lost", []).append(node.name)
        return "; ".join(f"{_listed(dict.fromkeys(names))}: it {reason}" for reason, names in reasons.items())

    # What is told

    def _say(self, said: Progress) -> None:
        if said.scenario in self._account:
            return
        view = self._view
        match said.what:
            case "progress":
                view.progress(said.scenario, said.meter, said.samples, said.seconds_left)
            case "diagnosing":
                view.diagnosing(said.scenario, said.tools)
            case "failing":
                view.failing(said.scenario, said.tried, said.failures)

    def _say_that_none_is_there(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._view.message("no node is there yet")

    def _show_nodes(self) -> None:
        usable = [node for node in self._nodes.values() if node.status == "ok"]
        self._view.nodes(len(usable), sum(node.cores for node in usable))

    def _result(self, *, interrupted: bool) -> RunResult:
        used = [node for node in self._all if node.scenarios]
        environment = {**common([node.environment for node in used]), **self._checkout}
        nodes = [node.record() for node in self._all if node.status != "new"]
        return self._account.result(environment, self._control(used), interrupted=interrupted, nodes=nodes)

    def _control(self, used: Sequence[NodeState]) -> Control:
        """That of the nodes whose results count; failed where nodes were there and none has passed it."""
        if not self._cluster.control:
            return Control(status="off", reason="switched off by --no-control")
        if used:
            return joined_control([node.control for node in used])
        dropped = [node for node in self._all if node.status == "dropped"]
        if dropped:
            reason = f"none of {units.count(len(dropped), 'node')} passed it; {dropped[0].name}: "
            return msgspec.structs.replace(dropped[0].control, reason=reason + dropped[0].control.reason)
        return Control(status="off", reason="interrupted")


def _listed(names: Iterable[str]) -> str:
    """The first of some names, and how many more there are."""
    first, *others = names
    return f"{first} and {units.count(len(others), 'node')} more" if others else first


def _decoded(event: Answered | Failed, bundle: Bundle, kind: Any) -> Any:
    """The answer; as failed where it cannot be read, which comes from another version."""
    if isinstance(event, Failed):
        return event
    try:
        return decode(bundle.incoming(event.answer), kind)
    except msgspec.MsgspecError as error:
        return Failed(event.request, str(error))


def _leaks(found: Sequence[ScenarioResult]) -> bool:
    return any(result.verdict == "leak" for result in found)


def _remark(node: NodeState, found: Sequence[ScenarioResult], others: Sequence[ScenarioResult]) -> tuple[bool, str]:
    """Whether another node confirms a leak, and what it says to it."""
    said = {result.id: result for result in others}
    for result in found:
        if result.verdict == "leak":
            other = said.get(result.id)
            if other is None or other.verdict != "leak":
                verdict = f"{other.verdict}: {other.reason}" if other else "not reached"
                return False, f"node {node.name} does not confirm the leak: there it was {verdict}"
    return True, f"node {node.name} confirms the leak"
