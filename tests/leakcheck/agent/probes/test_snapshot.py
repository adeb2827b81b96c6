"""A snapshot of the object graph has what the program keeps, and nothing of what looks at it."""

import gc
from types import SimpleNamespace

from leakcheck.agent.probes import snapshot


class Parts:
    """What only a conversation refers to, as to its meters."""

    __slots__ = ("more",)

    def __init__(self):
        self.more = []


class Conversation:
    """As much of one as a snapshot asks for."""

    __slots__ = ("driver", "parts")

    def __init__(self):
        scenario = SimpleNamespace(name="step")
        self.driver = SimpleNamespace(iterations=0, scenario=scenario, plain_step=None, _generator=None)
        self.parts = Parts()


def test_what_the_conversation_keeps_is_not_taken_for_held_by_native_code():
    taken = snapshot.take(Conversation())
    assert not [group for group in taken.groups if group.endswith("Parts")]


def test_the_table_in_which_a_class_knows_its_subclasses_is_held_by_nothing_else():
    class Base: ...

    class Derived(Base): ...

    tables = [each for each in gc.get_objects() if type(each) is dict and id(Derived) in each]
    assert len(tables) == 1
    assert snapshot.held_from_outside(tables) == []
