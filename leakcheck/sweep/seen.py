"""What the swept interpreter has said so far."""

from __future__ import annotations

from typing import NamedTuple

from leakcheck.sweep.inside.messages import Began, Broken, Crash, Inventory, Looked, Suspect, Swept


class Seen:
    """What the interpreter has said so far."""

    def __init__(self) -> None:
        self.began = Began("", "", [], {})
        self.targets: list[str] = []
        self.refused: list[tuple[str, str]] = []
        self.code: dict[str, str] = {}
        self.unchanged: list[str] = []
        self.looked: set[str] = set()
        self.swept: dict[str, Swept] = {}
        self.suspects: list[Suspect] = []
        self.crashes: list[Crash] = []
        self.broken: list[Broken] = []
        self.done_before: list[str] = []
        """Targets of an earlier sweep that is resumed."""

    def take(self, message: NamedTuple) -> None:
        """Note a message."""
        if isinstance(message, Began):
            self.began = message
        elif isinstance(message, Inventory):
            self.targets, self.refused, self.code, self.unchanged = message
        elif isinstance(message, Looked):
            self.looked.add(message.target)
        elif isinstance(message, Swept):
            self.swept[message.target] = message
        elif isinstance(message, Suspect):
            self.suspects.append(message)
        elif isinstance(message, Crash):
            if message not in self.crashes:  # where calls are looked for, a sweep that is resumed meets with it again
                self.crashes.append(message)
        elif isinstance(message, Broken):
            self.broken.append(message)

    @property
    def calls(self) -> int:
        """That were made."""
        return sum(each.calls for each in self.swept.values())
