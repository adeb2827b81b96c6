"""What a sweep finds, and what it costs.

* `python -m benchmarks.sweep`: the planted extension of the tests, whose twenty kinds of leaks must be found and whose
  innocents must not.
* `python -m benchmarks.sweep --packages [NAME...]`: each published leak of `benchmarks/detection/cases/published` whose
  package can be installed, or those that are named, each in an environment of its own; found is one whose target is
  named by a confirmed find.
* `python -m benchmarks.sweep --exam FOLDER SECONDS [NAME...]`: the packages of `EXAM`, or those that are named, SECONDS
  for each target, on one processor; prints a table, with the recall of what `sweep_by_hand.toml` lists. What is found
  stays in FOLDER. What is there already is not swept again, so that a table can be printed once more.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "leakcheck" / "sweep"))

import extension  # noqa: E402 - of the tests

from leakcheck.sweep import clusters, console, state, sweeping  # noqa: E402
from leakcheck.sweep.inside.messages import Asked, Inventory, Suspect, Swept  # noqa: E402
from leakcheck.sweep.outcome import Find, Sweep  # noqa: E402
from leakcheck.sweep.seen import Seen  # noqa: E402
from leakcheck.sweep.sweeper import sweep  # noqa: E402
from leakcheck.versions import sandbox  # noqa: E402

FAULTS = ROOT / "benchmarks" / "detection" / "cases" / "published" / "faults.toml"
BY_HAND = ROOT / "benchmarks" / "sweep_by_hand.toml"
EXAM = (
    "ujson==6.1.0", "hiredis==3.5.0", "brotli==1.2.1", "httptools==0.9.0", "mmh3==5.3.1", "kiwisolver==1.5.1",
    "cbor2==6.3.0", "ijson==3.6.0", "zstandard==0.25.0", "pyroaring==1.2.0", "contourpy==1.3.3", "regex==2026.11.19",
    "psutil==7.2.2", "PyYAML==6.0.4", "coverage==7.17.5",
)  # fmt: skip
"""The newest releases of fifteen packages with parts in C, C++, Cython or Rust."""
_CALLED = re.compile(r"\b(?:subject\.)?(__init__|[A-Za-z_]\w*)\(")


def planted() -> bool:
    """Sweep the planted extension; returns whether all of it came out as planted."""
    lost, fine = extension.planted()
    with tempfile.TemporaryDirectory() as folder:
        target = str(extension.compiled(Path(folder)))
        said = list(sweep(Asked([target], [], [], 5.0, 2, False, False, "", "", [], {}), sys.executable))
    targets = next(message.targets for message in said if isinstance(message, Inventory))
    found = clusters.clusters([message for message in said if isinstance(message, Suspect)], targets)
    names = {cluster.target.split(".")[1] for cluster in found}
    swept = [message for message in said if isinstance(message, Swept)]
    calls, seconds = sum(each.calls for each in swept), sum(each.seconds for each in swept)
    print(f"planted: {len(names & lost)} of {len(lost)} leaks suspected, {len(names & fine)} of {len(fine)} innocents")
    print(f"cost: {calls:,} calls, {seconds / len(swept):.2f} s for each of {len(swept)} targets")
    for name in sorted(lost - names):
        print(f"not found: {name}")
    return names == lost


def published(names: list[str]) -> None:
    """Sweep the packages of published leaks, all or those of these names, and say which of those were found."""
    by_package = defaultdict(list)
    for name, case in tomllib.loads(FAULTS.read_text("utf-8")).items():
        if not names or case["requires"][0].partition("==")[0] in names:
            by_package[tuple(case["requires"])].append((name, case))
    total = hits = others = 0
    for requires, cases in sorted(by_package.items()):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            try:
                python = sandbox.environment(place / "environment")
                sandbox.install(python, requires)
            except sandbox.TrialError as error:
                print(f"{requires[0]}: cannot be installed: {str(error)[-200:]}")
                continue
            package = requires[0].partition("==")[0]
            command = [
                sys.executable,
                "-m",
                "leakcheck",
                "sweep",
                package,
                "--python",
                str(python),
                "--no-control",
                "-q",
            ]
            subprocess.run([*command, "--report", str(place / "report")], check=False, stdout=subprocess.DEVNULL)
            found = state.of_sweep(place / "report" / "sweep.json")
        known = set()
        for name, case in cases:
            hit = [find for find in [*found.finds, *found.kept] if _is(case, find.target, find.kind)]
            known |= {find.id for find in hit}
            print(f"{package}: {name}: {'found' if hit else 'NOT FOUND'}")
            total, hits = total + 1, hits + bool(hit)
        rest = [find for find in found.finds if find.id not in known]
        others += len(rest)
        for find in rest:
            print(f"{package}: also {find.target} ({find.kind}): {find.growth}")
    print(f"published: {hits} of {total} found, and {others} finds that are none of them")


class _Quiet:
    """Keeps what was said of each target."""

    seen = Seen()

    def stage(self, what: str) -> None:
        """Nothing is shown."""

    def progress(self, seen: Seen) -> None:
        """Keep it."""
        self.seen = seen


def exam(folder: Path, seconds: float, names: Sequence[str]) -> None:
    """Sweep the packages of the exam and print a row for each, and what was found of what was listed by hand."""
    print("| package | targets | called | calls/s | s a target | leaks | kept | not confirmed | crashes | by hand |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    medians, sweeps = [], []
    for requirement in EXAM:
        package = requirement.partition("==")[0]
        if names and package not in names:
            continue
        report = folder / package
        if not (report / sweeping.FILE_NAME).exists():
            _examine(requirement, report, seconds)
        found = state.of_sweep(report / sweeping.FILE_NAME)
        cost = json.loads((report / "cost.json").read_text())
        medians.append(cost["median_s"])
        sweeps.append(found)
        cells = [
            requirement.replace("==", " "),
            found.targets,
            found.targets - len(found.not_made),
            f"{found.calls / cost['swept_s']:,.0f}",
            f"{cost['median_s']:.2f}",
            len(found.finds),
            len(found.kept),
            len(found.unconfirmed),
            len(found.crashes),
            _recall(package, found),
        ]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    leaks, calls = sum(len(each.finds) for each in sweeps), sum(each.calls for each in sweeps)
    targets, minutes = sum(each.targets for each in sweeps), sum(each.duration_s for each in sweeps) / 60
    print(f"\n{leaks} leaks confirmed in {calls:,} calls of {targets:,} targets, in {minutes:.0f} minutes")
    print(f"{statistics.median(medians):.2f} s a target in the median package")
    for found in sweeps:
        matched = _matched(found)
        for index, leak in enumerate(_by_hand(found.asked[0])):
            print(f"{leak['targets'][0]}: {matched.get(index, 'NOT FOUND')}: {leak['because']}")


def _examine(requirement: str, report: Path, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        python = sandbox.environment(Path(folder) / "environment")
        sandbox.install(python, [requirement])
        options = sweeping.Options(
            targets=[requirement.partition("==")[0]],
            python=str(python),
            folder=report,
            include=[],
            exclude=[],
            seconds=seconds,
            jobs=1,
            errors_only=False,
            seeds="",
            resume=False,
            control=False,
        )
        report.mkdir(parents=True, exist_ok=True)
        view = _Quiet()
        found = sweeping.run(options, view)
    with console.SweepView(quiet=True, color="never") as shown, (report / "said.txt").open("w") as said:
        shown.console.file = said
        console.summary(found, report, shown, quiet=False)
    each = [swept.seconds for swept in view.seen.swept.values()]
    cost = {"median_s": statistics.median(each), "swept_s": sum(each)}
    (report / "cost.json").write_text(json.dumps(cost))


def _recall(package: str, found: Sweep) -> str:
    listed = _by_hand(package)
    return f"{len(_matched(found))} of {len(listed)}" if listed else ""


def _by_hand(package: str) -> list[dict[str, str]]:
    return [leak for leak in tomllib.loads(BY_HAND.read_text("utf-8"))["leak"] if leak["package"] == package]


def _matched(found: Sweep) -> dict[int, str]:
    """The finds of listed leaks, by their place in the list: a find is that of one, and as many have one as can be."""
    by_find: dict[str, int] = {}
    listed = _by_hand(found.asked[0])
    finds = [*found.finds, *found.kept]

    def place(index: int, tried: set[str]) -> bool:
        for find in finds:
            if find.id in tried or not _is_listed(listed[index], find):
                continue
            tried.add(find.id)
            if find.id not in by_find or place(by_find[find.id], tried):
                by_find[find.id] = index
                return True
        return False

    for index in range(len(listed)):
        place(index, set())
    return {index: find for find, index in by_find.items()}


def _is_listed(leak: dict[str, str], find: Find) -> bool:
    names = [find.target, *find.also]
    return find.kind in leak["kinds"] and any(fnmatchcase(name, each) for name in names for each in leak["targets"])


def _is(case: dict[str, str], target: str, kind: str) -> bool:
    """Whether a find is of what the case's workload calls: the same name, and the same kind where that is no call."""
    called = {name for name in _CALLED.findall(case["workload"].partition("def call")[2]) if name != "call"}
    made = set(re.findall(r"\b([A-Z]\w+)\(", case["workload"]))
    last = target.rpartition(".")[2]
    if "__init__" in called:
        return kind == "initialized twice" and last in made
    return last in called | made or target.split(".")[-2] in made


if __name__ == "__main__":
    if "--exam" in sys.argv:
        place, length, *chosen = sys.argv[sys.argv.index("--exam") + 1 :]
        exam(Path(place).resolve(), float(length), chosen)
    elif "--packages" in sys.argv:
        published(sys.argv[sys.argv.index("--packages") + 1 :])
    elif not planted():
        sys.exit(1)
