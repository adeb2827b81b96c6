"""What happened to the children of a node: added, changed, removed."""

from dataclasses import dataclass
from typing import Any, Literal

from elkyn.events.event import Event


@dataclass(frozen=True, slots=True)
class ChildEvent:
    """One change of one child. An `Overflow` stands where some were lost."""

    type: Literal["added", "changed", "removed"]
    """"added" is also what a snapshot (`initial=True`) says of each child that is there."""
    name: str
    value: Any
    """Its value after the commit, and None where it was removed."""
    old: Any
    """Its value before, and None where it was added."""
    event: Event
    """The event that says so, with `rev`, `seq`, `last` and the rest."""


def child_event(event: Event) -> ChildEvent:
    """Say of a child's event, which has the old value along, what happened to the child."""
    kind: Literal["added", "changed", "removed"] = (
        "removed" if event.type == "delete" else "changed" if event.existed else "added"
    )
    return ChildEvent(kind, event.path.rpartition("/")[2], event.value, event.old, event)
