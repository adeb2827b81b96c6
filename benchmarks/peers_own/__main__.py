"""The leaks and innocents that peers plant to test themselves, judged by our tool: one table in Markdown.

Their sources come from the index and are built here; nothing of theirs is part of this repository.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

from leakcheck import records
from leakcheck.records import ScenarioResult

HERE = Path(__file__).resolve().parent
SOURCES = {"psleak": "0.1.6", "pyleak": "0.2.0"}
"""What pytest-memray plants are calls of memray's own allocator for tests, which is installed with our tool."""


def main() -> int:
    """Print the table; returns 1 where an answer is not the truth."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers_own", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(".cache/peers_own"), help="where sources are kept")
    cache = parser.parse_args().cache.resolve()
    for name, version in SOURCES.items():
        _fetch(name, version, cache)
    _build(cache / f"psleak-{SOURCES['psleak']}" / "tests" / "test_ext.c", cache)
    site = cache / "site"
    if not site.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site)]
        subprocess.run([*pip, f"pyleak=={SOURCES['pyleak']}"], check=True)
    paths = [cache, site, cache / f"pyleak-{SOURCES['pyleak']}" / "tests"]
    environment = {**os.environ, "PEERS_OWN_PATH": os.pathsep.join(map(str, paths))}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "leakcheck", "run", str(HERE / "planted.py"), "--tools", "growth", "-q", "-q"]
        subprocess.run([*command, "--report", folder], check=False, env=environment, cwd=folder)
        run = records.decode(Path(folder, "results.json").read_bytes())
    print("| planted by | case | truth | leakcheck | seconds |\n|---|---|---|---|---|")
    for scenario in run.scenarios:
        peer, _, case = scenario.id.rpartition("::")[2].partition("__")
        truth = (scenario.tags or ["leak" if scenario.expect == "leak" else "no leak"])[0]
        said = scenario.verdict if _right(scenario) else f"**{scenario.verdict}**"
        print(f"| {peer.replace('_', '-')} | {case.replace('_', ' ')} | {truth} | {said} | {scenario.duration_s:.1f} |")
    right = sum(map(_right, run.scenarios))
    print(f"\n{right} of {len(run.scenarios)} right")
    return 0 if right == len(run.scenarios) > 0 else 1


def _right(scenario: ScenarioResult) -> bool:
    return (
        scenario.verdict in ("leak", "bounded") if scenario.tags else scenario.ok and scenario.verdict != "inconclusive"
    )


def _fetch(name: str, version: str, cache: Path) -> None:
    if (cache / f"{name}-{version}").exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "-d", folder]
        subprocess.run([*pip, f"{name}=={version}"], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(cache, filter="data")


def _build(source: Path, folder: Path) -> None:
    compiler = shutil.which("cc") or sys.exit("needs a C compiler: install gcc")
    module = folder / f"test_ext{sysconfig.get_config_var('EXT_SUFFIX')}"
    flags = ["-shared", "-fPIC", "-O1", "-g", "-DPSLEAK_POSIX=1", f"-I{sysconfig.get_path('include')}", "-lpthread"]
    if not module.exists():
        subprocess.run([compiler, str(source), *flags, "-o", str(module)], check=True)


if __name__ == "__main__":
    sys.exit(main())
