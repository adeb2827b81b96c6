"""The benchmark of detection: every case, our tool and its peers, one table (`--help` tells the options)."""

from __future__ import annotations

import argparse
import math
import multiprocessing
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.detection import contestants, environments, faults
from benchmarks.detection.building import EnvironmentMissingError
from benchmarks.detection.cases import Case, all_cases
from benchmarks.detection.contestants import Outcome

Outcomes = dict[tuple[str, str], list[tuple[Case, list[Outcome]]]]
"""By tool and group of cases: what the tool said of each case, repeat by repeat."""

_QUICK = ("hard", "lookalike", "peer")
"""What needs no package but ours."""
_FAULTS = ("planted", "published")
"""Of which the cause is known, and all that a finding says is held against it."""


def main() -> int:
    """Print a line for each case that a tool got wrong, then the table; returns 1 where our tool was wrong at all."""
    options = _options()
    chosen = [
        case
        for case in all_cases()
        if re.search(options.only, case.id)
        and (not options.quick or (case.layer in _QUICK and not case.requirements))
        and (not options.layer or case.layer in options.layer)
    ]
    tools = _tools(options.against, options.tools)
    outcomes: Outcomes = defaultdict(list)
    work = [(name, case) for case in chosen for name in tools]

    def run(item: tuple[str, Case]) -> list[Outcome] | str:
        name, case = item
        try:
            python = environments.interpreter(case, options.cache)
            case = case._replace(path=environments.extensions(case, options.cache))
            if name != "leakcheck":
                environments.with_peers(python, options.cache)
        except EnvironmentMissingError as reason:
            return str(reason)
        return [tools[name](case, python) for _ in range(options.repeats)]

    unavailable = 0
    with busy(options.busy), ThreadPoolExecutor(options.jobs) as pool:
        for (name, case), answers in zip(work, pool.map(run, work), strict=True):
            if isinstance(answers, str):
                unavailable += 1
                print(f"-- {case.id}: no environment: {answers}", flush=True)
                continue
            outcomes[name, _group(case)].append((case, answers))
            for answer in answers:
                if not answer.right(case) and (name == "leakcheck" or options.verbose):
                    print(f"!! {name}: {case.id} is {'a leak' if case.leaks else 'none'}: {answer.answer}: "
                          f"{answer.detail}", flush=True)  # fmt: skip
    _print_table(outcomes, options.repeats)
    _print_ratios(outcomes)
    if options.by_case:
        _print_cases(outcomes, list(tools))
    if options.places:
        _print_places(outcomes)
    wrong = [case for (name, _), rows in outcomes.items() if name == "leakcheck" for case, answers in rows
             if not all(answer.right(case) for answer in answers)]  # fmt: skip
    return 1 if wrong or unavailable or not outcomes else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="only cases that need no package from an index")
    parser.add_argument("--only", default="", metavar="REGEX", help="only cases whose id matches")
    parser.add_argument(
        "--layer",
        action="append",
        choices=[
            "hard",
            "lookalike",
            "adversarial",
            "beyond",
            "programs",
            "native",
            "python",
            "peer",
            "planted",
            "published",
        ],
    )
    parser.add_argument("--against", default="psleak,pytest-memray", metavar="LIST", help="peers to run, or none")
    parser.add_argument("--tools", default="growth", metavar="LIST", help="our --tools: growth decides, auto explains")
    parser.add_argument("--places", action="store_true", help="also tell how often the first finding names the place")
    parser.add_argument("--by-case", action="store_true", help="also a table in Markdown with a row for each case")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--busy", action="store_true", help="with a busy loop on each core")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    parser.add_argument("--cache", type=Path, default=Path(".cache/detection"), help="where environments are kept")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line also where a peer is wrong")
    options = parser.parse_args()
    options.cache = options.cache.resolve()
    if options.places:
        options.tools = "auto"
    return options


def _tools(against: str, ours: str) -> dict[str, Callable[[Case, Path], Outcome]]:
    known = {"psleak": contestants.psleak, "pytest-memray": contestants.pytest_memray}
    peers = [name for name in against.split(",") if name and name != "none"]
    unknown = set(peers) - set(known)
    if unknown:
        sys.exit(f"--against: {', '.join(sorted(unknown))} is not known; there are {', '.join(known)}")
    return {"leakcheck": lambda case, python: contestants.leakcheck(case, python, ours)} | {
        name: known[name] for name in peers
    }


def _group(case: Case) -> str:
    if case.layer in ("native", "python"):
        return f"{case.layer}, {'leaking' if case.leaks else 'mended'}"
    if case.layer in ("adversarial", "beyond", "programs"):
        return f"{case.layer}, {'leaks' if case.leaks else 'innocents'}"
    if case.layer in _FAULTS:
        return f"{case.layer} faults"
    return {"hard": "hard leaks", "lookalike": "lookalikes", "peer": "peer targets"}[case.layer]


def _print_table(outcomes: Outcomes, repeats: int) -> None:
    header = f"{'tool':14} {'cases':22} {'found':>6} {'missed':>7} {'alarms':>7} {'unsure':>7} {'errors':>7}"
    print(
        f"\n{header} {'flips':>6} {'median':>8} {'95 %':>9}"
        f"   ({repeats} repeat{'s' if repeats > 1 else ''} each; whole processes)"
    )
    for (tool, group), rows in sorted(outcomes.items()):
        flat = [(case, answer) for case, answers in rows for answer in answers]
        leaking = [answer for case, answer in flat if case.leaks]
        innocent = [answer for case, answer in flat if not case.leaks]
        found = f"{sum(a.answer == 'leak' for a in leaking)}/{len(leaking)}" if leaking else "-"
        alarms = f"{sum(a.answer == 'leak' for a in innocent)}/{len(innocent)}" if innocent else "-"
        seconds = [answer.seconds for _, answer in flat]
        flips = sum(len({answer.answer for answer in answers}) > 1 for _, answers in rows)
        print(
            f"{tool:14} {group:22} {found:>6} {sum(a.answer == 'no leak' for a in leaking):>7} {alarms:>7} "
            f"{sum(a.answer == 'inconclusive' for _, a in flat):>7} {sum(a.answer == 'error' for _, a in flat):>7} "
            f"{flips:>6} {statistics.median(seconds):>6.2f} s {_most(seconds):>7.2f} s"
        )


def _most(seconds: Sequence[float]) -> float:
    """The time that 95 of 100 cases do not exceed."""
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


def _print_ratios(outcomes: Outcomes) -> None:
    """Wall time of whole processes on the leaks that both find, as a multiple of the peer's: the median over cases."""
    seconds: dict[str, dict[str, float]] = defaultdict(dict)
    for (tool, _), rows in outcomes.items():
        for case, answers in rows:
            if case.leaks and all(answer.right(case) for answer in answers):
                seconds[tool][case.id] = statistics.median(answer.seconds for answer in answers)
    ours = seconds.pop("leakcheck", {})
    for tool, theirs in seconds.items():
        ratios = [ours[case] / theirs[case] for case in ours.keys() & theirs.keys()]
        if ratios:
            span = f"from {min(ratios):.2f} to {max(ratios):.2f}"
            print(f"wall time on the {len(ratios)} leaks that leakcheck and {tool} find: "
                  f"{statistics.median(ratios):.2f} of {tool}'s ({span})")  # fmt: skip


def _print_cases(outcomes: Outcomes, tools: Sequence[str]) -> None:
    """What each tool said of each case, and its median time."""
    told: dict[str, dict[str, str]] = defaultdict(dict)
    truth: dict[str, str] = {}
    for (tool, _), rows in outcomes.items():
        for case, answers in rows:
            truth[case.id] = "leak" if case.leaks else "no leak"
            words = {"leak": "false alarm", "no leak": "missed"} | {truth[case.id]: "right"}
            counts = Counter(words.get(answer.answer, answer.answer) for answer in answers)
            said = ", ".join(word if count == len(answers) else f"{word} {count} of {len(answers)}"
                             for word, count in counts.most_common())  # fmt: skip
            told[case.id][tool] = f"{said}; {statistics.median(answer.seconds for answer in answers):.2f} s"
    print(f"\n| case | truth | {' | '.join(tools)} |\n|---|---|{'---|' * len(tools)}")
    for case_id, answers_of in told.items():
        name = case_id.replace("_", " ")
        print(f"| {name} | {truth[case_id]} | {' | '.join(answers_of.get(tool, '-') for tool in tools)} |")


def _print_places(outcomes: Outcomes) -> None:
    """How often the place that is named is the true one, over the leaks that were found."""
    from benchmarks.detection.places import named

    ranks: dict[str, list[int]] = {}
    for (tool, _), rows in outcomes.items():
        if tool == "leakcheck":
            for case, answers in rows:
                if case.leaks and case.layer not in ("peer", *_FAULTS):
                    ranks[case.name] = [named(case.name, answer.findings) for answer in answers]
    flat = [rank for each in ranks.values() for rank in each]
    for layer in _FAULTS:
        _print_faults(layer, outcomes)
    if not flat:
        return
    print(f"\nplaces: {sum(rank == 1 for rank in flat)} of {len(flat)} named first, "
          f"{sum(1 <= rank <= 3 for rank in flat)} within three")  # fmt: skip
    for name, each in ranks.items():
        if set(each) != {1}:
            print(f"   {name}: rank {', '.join(str(rank or 'none') for rank in each)}")


def _print_faults(layer: str, outcomes: Outcomes) -> None:
    """Of how many faults the first finding is right and no finding is wrong."""
    said = [
        (case.name, faults.wrong(case.name, answer.findings))
        for (tool, _), rows in outcomes.items()
        for case, answers in rows
        if tool == "leakcheck" and case.layer == layer
        for answer in answers
    ]
    if said:
        print(f"\n{layer} faults: {sum(not fault for _, fault in said)} of {len(said)} told right")
        for name, fault in said:
            if fault:
                print(f"   {name}: {fault}")


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """A process that never rests on each core, for as long as the block lasts."""
    loops = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(multiprocessing.cpu_count() * wanted)]
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()


def _spin() -> None:
    while True:
        pass


if __name__ == "__main__":
    sys.exit(main())
