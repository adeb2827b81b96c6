"""Planted leaks that no meter of bytes sees, and innocents that look like them, judged by our tool.

    python -m benchmarks.beyond_bytes [FAMILY...]             all of them in this interpreter
    python -m benchmarks.beyond_bytes --python PATH --busy    measured in another, with a busy loop on each processor

Prints a line for each case that is told wrong, then a table. Exits with 1 where one was.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path

from benchmarks.beyond_bytes.families import SAID, Case, Family, NotLookedAtError, families
from benchmarks.detection import planting
from benchmarks.detection.__main__ import busy
from benchmarks.detection.building import compile_extension, output
from leakcheck import records
from leakcheck.records import POINT, ScenarioResult

_EXTENSION = Path(__file__).resolve().parent / "counted.c"
_ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 1800
_CACHE = Path(".cache", "beyond_bytes").absolute()
_PLUGIN_NEEDS = ["click", "cloudpickle", "jinja2", "msgspec", "psutil", "pytest", "pytest-asyncio", "rich"]
"""Packages, from the index, without which another interpreter cannot import the plugin."""


def main() -> int:
    """Print the table; returns 1 where a case was told wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beyond_bytes", description=__doc__.partition("\n")[0])
    known = {each.name: each for each in families()}
    parser.add_argument("family", nargs="*", help=", ".join(known))
    parser.add_argument("--only", default="", metavar="REGEX", help="only cases whose name matches")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the interpreter that is measured")
    parser.add_argument("--busy", action="store_true", help="with a busy loop on each processor")
    parser.add_argument("-v", "--verbose", action="store_true", help="what is said of each case")
    options = parser.parse_args()
    if unknown := set(options.family) - set(known):
        parser.error(f"no family is called {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    print(f"{'family':14} {'leaks':>8} {'found':>8} {'innocents':>10} {'accused':>8} {'seconds':>8}")
    right = True
    with busy(options.busy):
        for name in options.family or known:
            family = known[name]
            family = family._replace(cases=[each for each in family.cases if re.search(options.only, each.name)])
            right &= not family.cases or _measured(family, options.python, options.verbose)
    return 0 if right else 1


def _measured(family: Family, python: Path, verbose: bool) -> bool:
    """Run a family and print its row. Whether all of its cases were told right."""
    began = time.monotonic()
    told = said(family, python)
    wrong = {case: text for case, text in told.items() if not is_right(case, text)}
    for case, text in told.items():
        if verbose or case in wrong:
            print(f"{'!!' if case in wrong else '  '} {family.name}, {case.function}: {text}")
    leaking = [case for case in family.cases if case.says]
    innocent = [case for case in family.cases if not case.says]
    print(
        f"{family.name:14} {len(leaking):>8} {sum(each not in wrong for each in leaking):>8} {len(innocent):>10} "
        f"{sum(each in wrong for each in innocent):>8} {time.monotonic() - began:>8.0f}",
        flush=True,
    )
    return not wrong


def is_right(case: Case, text: str) -> bool:
    """Whether what is said of a case is the truth."""
    return bool(re.search(case.says, text, re.DOTALL)) if case.says else not text


def said(family: Family, python: Path = Path(sys.executable)) -> dict[Case, str]:
    """What the tool accuses each case of, empty where it acquits it; what it has not looked at is said as such."""
    with tempfile.TemporaryDirectory(prefix="beyond-bytes-") as temporary:
        folder = Path(temporary)
        if re.search(r"^import .*\b(counted|planted)\b", family.head, re.MULTILINE):
            compile_extension(_EXTENSION, folder / "counted.so", ["-g", "-O1"], python)
            planting.build_c("plain", folder, python)
        if family.how == "tests":
            return _failed(family, folder, python)
        return _told(family, folder, python)


def _told(family: Family, folder: Path, python: Path) -> dict[Case, str]:
    (folder / f"{family.name}.py").write_text(family.source(), "utf-8")
    command = [sys.executable, "-m", "leakcheck", "run", f"{family.name}.py", "--python", str(python)]
    command += ["--report", "report", "-q", *(["--errors"] if family.how == "errors" else [])]
    printed = _output(command, folder)
    file = folder / "report" / "results.json"
    if not file.exists():
        sys.exit(printed)
    rows: dict[str, list[ScenarioResult]] = defaultdict(list)
    run = records.decode(file.read_bytes())
    if run.control.status != "ok":
        sys.exit(f"{family.name}: the control failed: {run.control.reason}")
    for each in run.scenarios:
        rows[each.id.partition("::")[2].partition(POINT)[0]].append(each)
    return {case: _accusation(family, rows[case.function]) for case in family.cases}


def _accusation(family: Family, results: list[ScenarioResult]) -> str:
    try:
        return SAID[family.told](results)
    except NotLookedAtError as reason:
        return f"not looked at: {reason}"


def _failed(family: Family, folder: Path, python: Path) -> dict[Case, str]:
    """A suite of tests, each of which fails where it is accused."""
    (folder / "test_family.py").write_text(family.source(), "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    interpreter = _with_pytest(python)
    plugin = [] if interpreter == Path(sys.executable) else ["-p", "leakcheck.pytest_plugin"]
    command = [str(interpreter), "-m", "pytest", *plugin, "--leakcheck-tasks", "-q", "-p", "no:cacheprovider"]
    printed = _output([*command, "--junitxml", "out.xml"], folder)
    if not (folder / "out.xml").exists():
        sys.exit(printed)
    texts = {
        each.attrib["name"].removeprefix("test_"): "".join(part.get("message", "") + (part.text or "") for part in each)
        for each in ET.parse(folder / "out.xml").iter("testcase")
    }
    return {case: texts[case.function] for case in family.cases}


def _with_pytest(python: Path) -> Path:
    """The interpreter with what our plugin needs to be imported from here: itself, or one of an environment of ours."""
    if python == Path(sys.executable):
        return python
    version = output([str(python), "-c", "import sys; print(sys.version_info[:3])"])
    environment = _CACHE / "-".join(re.findall(r"\d+", version))
    made = environment / "bin" / "python"
    if not (environment / ".ready").exists():
        output([str(python), "-m", "venv", "--clear", str(environment)])
        output([str(made), "-m", "pip", "install", "--quiet", *_PLUGIN_NEEDS])
        (environment / ".ready").touch()
    return made


def _output(command: list[str], folder: Path) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    path = os.pathsep.join(filter(None, (str(_ROOT), inherited.get("PYTHONPATH"))))
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S,
                          env={**inherited, "PYTHONPATH": path})  # fmt: skip
    return done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
