"""A snapshot of the whole object graph: numbers by path, and what no path leads to though it is alive."""

from __future__ import annotations

import contextlib
import gc
import sys
import types
from collections import Counter
from typing import TYPE_CHECKING, Any

from leakcheck.agent.inquiry import Node as Step
from leakcheck.agent.origin import HERE
from leakcheck.agent.probes.counts import others
from leakcheck.agent.probes.elements import element_name
from leakcheck.agent.probes.growing import Path, Point
from leakcheck.agent.probes.referents import full_name, lists_subclasses
from leakcheck.agent.probes.sizes import LIGHT
from leakcheck.agent.probes.walk import Node, Root, Walk, roots

if TYPE_CHECKING:
    from leakcheck.agent.inquiry import Picture
    from leakcheck.agent.session import Conversation

_DRAWN_DEPTH, _DRAWN_BREADTH = 6, 8
"""References in a row, and referrers of one object, that a drawing has: more cannot be read."""
BY_NATIVE = " held by native code>"
NATIVE = "<{}" + BY_NATIVE


class Snapshot:
    """What is kept of one walk."""

    def __init__(self, walk: Walk, iterations: int, held: list[Any]) -> None:
        self.point = Point(
            iterations,
            {key: node.objects for key, node in walk.nodes.items()},
            {key: node.references for key, node in walk.nodes.items()},
            {key: node.bytes for key, node in walk.nodes.items() if node.bytes > LIGHT},
        )
        self.nodes = walk.nodes
        self.size = len(walk.seen)
        self.groups = dict(Counter(map(group_name, held)))
        """Objects that no walk reaches and something unknown refers to: how many of each group."""
        self.held = frozenset(map(id, held))
        """Those objects, by `id`."""

    def parents(self) -> dict[int, int]:
        """The node above each node."""
        return {key: node.parent.key for key, node in self.nodes.items() if node.parent is not None}

    def chains(self) -> set[int]:
        """Nodes into which recurring stretches of a path were folded."""
        return {key for key, node in self.nodes.items() if node.fold}


def take(conversation: Conversation) -> Snapshot:
    """Walk the graph with the collector switched off: what a walk makes would set it going over and over."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return _take(conversation)
    finally:
        if enabled:
            gc.enable()


def _take(conversation: Conversation) -> Snapshot:
    alive = gc.get_objects()
    walk = Walk(HERE.own)
    walk.hide([conversation, alive])
    walk.run(all_roots(conversation))
    own = Walk(lambda _file: False)
    own.seen = walk.seen - {id(conversation)}  # hidden from the user's walk, and the first that is entered here
    own.run(_own_roots(conversation))
    unreached = outside_of(own.seen, alive)
    alive.clear()
    held = held_from_outside(unreached)
    walk.run(native_roots(held))
    return Snapshot(walk, conversation.driver.iterations, held)


def outside_of(seen: set[int], objects: list[Any]) -> list[Any]:
    """Those of `objects` that have not been seen."""
    # In a function of its own: where a comprehension uses a variable, it lives in a cell, which the list would contain.
    return [each for each in objects if id(each) not in seen]


def native_roots(held: list[Any]) -> list[Root]:
    """Objects that only native code refers to, as places from which others are kept alive: one place for each type."""
    return [Root(NATIVE.format(full_name(type(each))), full_name(type(each)), each) for each in held]


def all_roots(conversation: Conversation) -> list[Root]:
    """Everything of the user's from which objects are kept alive."""
    driver = conversation.driver
    name = driver.scenario.name
    scenario = [
        Root(f"<scenario {name}>", "generator", driver._generator),
        Root(f"<step of {name}>", "function", driver.plain_step),
    ]
    return roots(HERE.own, HERE.rank, [root for root in scenario if root.value is not None])


def _own_roots(conversation: Conversation) -> list[Root]:
    """What the toolkit itself keeps: entered after the user's, to know it from what nobody reaches."""
    found = [Root("conversation", "own", conversation)]
    for name, module in list(sys.modules.items()):
        if type(module) is types.ModuleType and (name.startswith("leakcheck") or name == "__main__"):
            found.append(Root(name, "own", module))
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        found.append(Root("frame", "own", frame))
        frame = frame.f_back
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        with contextlib.suppress(RuntimeError):
            found.append(Root("task", "own", asyncio.current_task()))
    return found


def held_from_outside(objects: list[Any]) -> list[Any]:
    """Those of `objects` to which more references exist than the others account for.

    `objects` must be the only list that holds them. It is the collector's own way to find what the rest of the program
    refers to. Tables of subclasses hold nothing: a class keeps its own unseen, and they grow with the classes.
    """
    ids = set(map(id, objects))
    inside: Counter[int] = Counter()
    for each in objects:
        inside.update(other for other in map(id, gc.get_referents(each)) if other in ids)
    held = [each for each in objects if others(sys.getrefcount(each)) > inside[id(each)]]
    return [each for each in held if not lists_subclasses(each)]


def group_name(value: Any) -> str:
    """How objects that only native code holds are told apart: by type, functions and methods by their name."""
    kind = type(value)
    if kind is types.MethodType and type(value.__func__) is types.FunctionType:
        value, kind = value.__func__, types.FunctionType
    if kind is types.FunctionType:
        return f"function {value.__module__}.{value.__qualname__}"
    return full_name(kind)


def path_of(node: Node) -> Path:
    """The steps from the root; a folded stretch ends with `…`."""
    return tuple(Step(each.label + ("…" if each.fold else ""), each.type) for each in reversed(list(node.above())))


def draw(value: Any, picture: Picture, values: bool) -> str:
    """Write the back-references of `value` as a graphviz file, by objgraph; returns why not, or nothing.

    It is plain Python, and works in any interpreter. It writes the beginning of each object's `repr`, and keys; where
    these are not wanted, it is given their types.
    """
    sys.path.append(picture.folder)
    try:
        import objgraph
    except ImportError:
        return "objgraph is not installed: python -m pip install objgraph"
    finally:
        sys.path.remove(picture.folder)
    if not values:
        objgraph._safe_repr = element_name
        objgraph._edge_label = lambda *_arguments, **_options: ""
    objgraph.show_backrefs(
        [value],
        max_depth=_DRAWN_DEPTH,
        too_many=_DRAWN_BREADTH,
        filter=_is_theirs,
        shortnames=False,
        filename=picture.file,
        refcounts=True,
    )
    return ""


def _is_theirs(value: Any) -> bool:
    """Whether an object is no part of the toolkit."""
    kind = type(value)
    if kind is types.FrameType:
        return not HERE.own(value.f_code.co_filename)
    if kind is types.ModuleType:
        return not HERE.own(getattr(value, "__file__", None) or "")
    return not kind.__module__.startswith("leakcheck") and kind is not types.CoroutineType
