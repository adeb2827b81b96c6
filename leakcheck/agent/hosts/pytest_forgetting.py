"""What pytest keeps of each run of a test, taken from it after each: the test does not pay for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Forgetting:
    """Takes from pytest what it has kept of a run, so that it is as if the test had run once."""

    def __init__(self, item: Any, fixtures: Sequence[Mapping[str, Any]] = ()) -> None:
        """`fixtures` has the definitions that are looked at, by name; all of the session's where none are given."""
        self._item = item
        self._fixtures = fixtures
        self._lists: list[tuple[list[Any], int]] = [
            (each, len(each)) for each in (item._report_sections, item.user_properties, item.own_markers)
        ]
        factory = getattr(item.config, "_tmp_path_factory", None)
        self._numbers: dict[str, int] = getattr(factory, "_next_number", {})
        self._folders: list[Path] = []
        self._factory = factory
        if factory is not None:
            factory.mktemp = self._remembering(factory.mktemp)
        self._first = True

    def end(self) -> None:
        """Remember no more folders: another test comes."""
        if self._factory is not None:
            del self._factory.mktemp

    def __call__(self, fixtures: dict[str, Any]) -> None:
        """Also gathers the values of fixtures of wider scope, when they have been made."""
        if self._first:
            # A fixture of wider scope is told by each fixture that uses it to end that one first, and keeps it: those
            # of the test's own scope have ended by now. What the first run added stays.
            self._lists += [(each, len(each)) for each in (*self._finalizers(fixtures), *self._histories())]
            self._folders.clear()  # some of them are fixtures' of wider scope
            self._first = False
        for each, length in self._lists:
            if len(each) > length:
                del each[length:]
        for folder in self._folders:  # those of `tmp_path_factory` stay until pytest ends
            if folder.exists():
                shutil.rmtree(folder, ignore_errors=True)
        self._folders.clear()
        self._numbers.clear()  # of the temporary directories: those before are gone
        if self._item.cls is not None and vars(self._item).get("_instance", self) is None:
            del self._item._instance  # pytest 8.2 leaves none of a TestCase behind, and would not make another

    def _remembering(self, make: Callable[..., Path]) -> Callable[..., Path]:
        def mktemp(*arguments: Any, **options: Any) -> Path:
            made = make(*arguments, **options)
            self._folders.append(made)
            return made

        return mktemp

    def _finalizers(self, fixtures: dict[str, Any]) -> Iterator[list[Any]]:
        manager = self._item.session._fixturemanager
        waiting: list[Any] = [*self._fixtures]
        if not waiting:
            waiting = [vars(manager).get("_arg2fixturedefs"), vars(manager).get("_arg2node2fixturedefs")]
        while waiting:
            each = waiting.pop()
            if isinstance(each, Mapping):  # by name, and by node since pytest 9
                waiting += each.values()
            elif isinstance(each, list | tuple):
                waiting += each
            elif getattr(each, "scope", "function") != "function" and each.cached_result is not None:
                fixtures[each.argname] = each.cached_result[0]
                yield each._finalizers

    def _histories(self) -> Iterator[list[Any]]:
        """Calls of hooks that plugins which come later are to see: warnings, above all."""
        for hook in vars(self._item.config.hook).values():
            if getattr(hook, "_call_history", None) is not None:
                yield hook._call_history
