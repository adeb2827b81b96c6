"""Patterns of scenario ids, as budgets and accepted leaks name them."""

from __future__ import annotations

from fnmatch import fnmatchcase


def fits(pattern: str, scenario: str) -> bool:
    """`*` and `?` stand for anything, as in file names; brackets in ids are parameters, not patterns."""
    return scenario == pattern or fnmatchcase(scenario, pattern.replace("[", "[[]"))
