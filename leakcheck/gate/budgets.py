"""Budgets: how much the meters of chosen scenarios may grow per iteration, and how high they may get."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from leakcheck.errors import UsageError
from leakcheck.gate.pattern import fits
from leakcheck.records import Meter, Record, ScenarioResult

_SIZES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}


class Budget(Record, frozen=True, kw_only=True):
    """One rule. It applies to the scenarios whose id fits the pattern and that have one of the tags."""

    scenarios: str = "*"
    """Pattern of ids: `*` and `?` as in file names."""
    tags: list[str] = msgspec.field(default_factory=list)
    growth: dict[str, float] = msgspec.field(default_factory=dict)
    """By meter: the growth per iteration that is allowed."""
    highest: dict[str, float] = msgspec.field(default_factory=dict)
    """By meter: the highest reading that is allowed."""


class Excess(Record, frozen=True, kw_only=True):
    """A budget that is broken, or that could not be checked."""

    meter: str
    limit: float
    value: float | None
    """What was measured; None where the meter was not read."""
    kind: str
    """`growth` or `highest`."""
    unit: str = ""


def read(path: Path) -> list[Budget]:
    """The budgets of a TOML file: its `[[budget]]` tables, or `[[tool.leakcheck.budget]]` of a `pyproject.toml`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"the budget file {path} does not exist; leave --budgets out or create it") from None
    except OSError as error:
        raise UsageError(f"the budget file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the budget file {path} is not TOML: {error}") from None
    if path.name == "pyproject.toml":
        content = content.get("tool", {}).get("leakcheck", {})
    elif unknown := sorted(content.keys() - {"budget"}):
        raise UsageError(f"{path}: unknown table {unknown[0]!r}; budgets stand under [[budget]]")
    rows = content.get("budget", [])
    if not isinstance(rows, list):
        raise UsageError(f"{path}: write each budget as a table of its own, [[budget]]")
    return [_budget(row, f"{path}, budget {number}") for number, row in enumerate(rows, start=1)]


def find(directory: Path) -> Path | None:
    """Where budgets stand by default: `ci/budgets.toml`, else `pyproject.toml` when it has some."""
    file = directory / "ci" / "budgets.toml"
    if file.exists():
        return file
    project = directory / "pyproject.toml"
    return project if project.exists() and read(project) else None


def applies(budget: Budget, scenario: ScenarioResult) -> bool:
    """Whether a budget is meant for a scenario."""
    return fits(budget.scenarios, scenario.id) and (not budget.tags or bool(set(budget.tags) & set(scenario.tags)))


def check(budget: Budget, scenario: ScenarioResult) -> Iterator[Excess]:
    """What of a budget is broken. Growth counts when even the low end of its confidence interval is too much."""
    meters = {meter.name: meter for meter in scenario.meters}
    for name, limit in budget.growth.items():
        meter = meters.get(name)
        if meter is None or not meter.samples:
            yield Excess(meter=name, limit=limit, value=None, kind="growth")
        elif meter.low > limit:
            yield Excess(meter=name, limit=limit, value=meter.growth, kind="growth", unit=meter.unit)
    for name, limit in budget.highest.items():
        meter = meters.get(name)
        if meter is None or not meter.samples:
            yield Excess(meter=name, limit=limit, value=None, kind="highest")
        elif (peak := _peak(meter)) > limit:
            yield Excess(meter=name, limit=limit, value=peak, kind="highest", unit=meter.unit)


def _peak(meter: Meter) -> float:
    return max(sample.value for sample in meter.samples)


def _budget(row: Any, where: str) -> Budget:
    if not isinstance(row, dict):
        raise UsageError(f"{where}: it must be a table, [[budget]]")
    if unknown := sorted(row.keys() - {"scenarios", "tags", "growth", "highest"}):
        raise UsageError(f"{where}: unknown key {unknown[0]!r}; known are scenarios, tags, growth, highest")
    limits = {key: _limits(row.get(key, {}), f"{where}, {key}") for key in ("growth", "highest")}
    if not limits["growth"] and not limits["highest"]:
        raise UsageError(f'{where}: it limits nothing; add for example growth = {{ "heap.bytes" = 0 }}')
    try:
        return msgspec.convert({"scenarios": row.get("scenarios", "*"), "tags": row.get("tags", []), **limits}, Budget)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {error}") from None


def _limits(table: Any, where: str) -> dict[str, float]:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: it must be a table of meters and limits")
    return {str(name): _limit(value, f"{where}.{name}") for name, value in table.items()}


def _limit(value: Any, where: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value) if isinstance(value, str) else None
    if match is None or match[2].upper() not in _SIZES:
        raise UsageError(f'{where}: {value!r} is not a limit; write a number or a size as "64 MiB"')
    return float(match[1]) * _SIZES[match[2].upper()]


def describe(excess: Excess, quantities: Sequence[str]) -> str:
    """An excess in words; `quantities` are its value and its limit as a person reads them."""
    if excess.value is None:
        return f"the budget for {excess.meter} cannot be checked: the meter was not read"
    what = "grows" if excess.kind == "growth" else "reached"
    per = " per iteration" if excess.kind == "growth" else ""
    return f"{excess.meter} {what} {quantities[0]}{per}, the budget is {quantities[1]}"
