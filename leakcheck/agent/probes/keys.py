"""Whether keys come again: the dicts and sets that grow are emptied, and the step shows what it puts into them anew.

A cache puts back what it is asked for again; a registry of what has gone does not. In the end each container has all
again that was taken out of it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from leakcheck.agent.probes.elements import entry_weight
from leakcheck.agent.probes.holders import keyed
from leakcheck.agent.probes.referents import derives
from leakcheck.agent.protocol import KeysCame, KeysComeAgain
from leakcheck.agent.step import StepRaisedError

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation

_LEAST_ADDITIONS = 4
"""Additions to a container that make it one that grows."""
_MOST_CONTAINERS = 16
"""Containers that are emptied, those that take most."""

Entries = dict[Any, Any]
"""What a container had; a set's elements have None."""


async def answer(conversation: Conversation, question: KeysComeAgain) -> KeysCame:
    """Runs the step twice `calls` times. Where it raises, no key has come again."""
    driver, calls = conversation.driver, question.calls
    before = keyed()
    sizes = {id(each): size for each, size in before}
    try:
        await driver.run(calls)
        growing = _growing(sizes, [(each, _size(each)) for each, _ in before])
        del before
        # What was there is looked at first, for all that there is takes seconds; it may have been replaced by another.
        growing = growing or _growing(sizes, keyed())
        weight = sum(gained * entry_weight([each]) for gained, each in growing) / calls
        taken = [(each, _take(each)) for _, each in growing]
        del growing
        try:
            await driver.run(calls)
        finally:
            added, again = _put_back(taken)
    except StepRaisedError:
        return KeysCame(0.0, 0, 0)
    return KeysCame(weight, added, again)


def _growing(sizes: dict[int, int], containers: list[tuple[Any, int]]) -> list[tuple[int, Any]]:
    """Those that have gained most since they had `sizes`, by their `id`, with what they have gained."""
    gains = [(size - sizes.get(id(each), 0), index, each) for index, (each, size) in enumerate(containers)]
    most = sorted(gain for gain in gains if gain[0] >= _LEAST_ADDITIONS)[-_MOST_CONTAINERS:]
    return [(gained, each) for gained, _, each in most]


def _size(container: Any) -> int:
    return set.__len__(container) if derives(type(container), set) else dict.__len__(container)


def _put_back(taken: list[tuple[Any, Entries]]) -> tuple[int, int]:
    """How many keys the step has put in, and how many of those had been there."""
    added = again = 0
    for container, entries in taken:
        anew = _take(container)
        # The first that were put in may be fixed ones, which anybody asks for; a cache's later ones come again too.
        later = entries if derives(type(container), set) else dict.fromkeys(list(entries)[len(entries) // 2 :])
        added += len(anew)
        again += sum(1 for key in anew if key in later)
        _give(container, entries | anew)
    return added, again


def _take(container: Any) -> Entries:
    """Empty a container, by the methods of its base type, which run no code of the user's but `__hash__`."""
    kind = type(container)
    if derives(kind, set):
        entries = dict.fromkeys(set.copy(container))
        set.clear(container)
    elif derives(kind, OrderedDict):
        entries = dict(OrderedDict.items(container))
        OrderedDict.clear(container)
    else:
        entries = dict(dict.items(container))
        dict.clear(container)
    return entries


def _give(container: Any, entries: Entries) -> None:
    if derives(type(container), set):
        set.update(container, entries)
    elif derives(type(container), OrderedDict):
        for key, value in entries.items():
            OrderedDict.__setitem__(container, key, value)
    else:
        dict.update(container, entries)
