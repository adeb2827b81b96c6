"""What a verdict needs of a measured process: to run the step, and to ask a few questions."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

from leakcheck.execution.worker import Round

Answer = TypeVar("Answer")


class Process(Protocol):
    """A worker, or a scripted one in a test."""

    def run(self, count: int, /, *, watch: int = ..., whole: bool = ...) -> Round:
        """Run `count` iterations, the last `watch` of them with a reading after each; settle and read.

        Where `whole` is false, garbage is looked for among young objects only.
        """

    def ask(self, question: NamedTuple, answer: type[Answer], /) -> Answer:
        """Ask one question of `leakcheck.agent.protocol`."""
