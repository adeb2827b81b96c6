"""What a sweep finds of what is planted, and what it costs: `python -m benchmarks.sweep [--packages [NAME...]]`.

Without options: the planted extension of the tests, whose twenty kinds of leaks must be found and whose innocents must
not. With `--packages`: each published leak of `benchmarks/detection/cases/published` whose package can be installed,
or those that are named, each in an environment of its own; found is one whose target is named by a confirmed find.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "leakcheck" / "sweep"))

import extension  # noqa: E402 - of the tests

from leakcheck.sweep import clusters, state  # noqa: E402
from leakcheck.sweep.inside.messages import Asked, Inventory, Suspect, Swept  # noqa: E402
from leakcheck.sweep.sweeper import sweep  # noqa: E402
from leakcheck.versions import sandbox  # noqa: E402

FAULTS = ROOT / "benchmarks" / "detection" / "cases" / "published" / "faults.toml"
_CALLED = re.compile(r"\b(?:subject\.)?(__init__|[A-Za-z_]\w*)\(")


def planted() -> bool:
    """Sweep the planted extension; returns whether all of it came out as planted."""
    lost, fine = extension.planted()
    with tempfile.TemporaryDirectory() as folder:
        target = str(extension.compiled(Path(folder)))
        said = list(sweep(Asked([target], [], [], 5.0, 2, False, False, "", "", []), sys.executable))
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


def _is(case: dict[str, str], target: str, kind: str) -> bool:
    """Whether a find is of what the case's workload calls: the same name, and the same kind where that is no call."""
    called = {name for name in _CALLED.findall(case["workload"].partition("def call")[2]) if name != "call"}
    made = set(re.findall(r"\b([A-Z]\w+)\(", case["workload"]))
    last = target.rpartition(".")[2]
    if "__init__" in called:
        return kind == "initialized twice" and last in made
    return last in called | made or target.split(".")[-2] in made


if __name__ == "__main__":
    if "--packages" in sys.argv:
        published(sys.argv[sys.argv.index("--packages") + 1 :])
    elif not planted():
        sys.exit(1)
