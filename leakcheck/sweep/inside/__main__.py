"""Start of the swept interpreter, `python .../inside/__main__.py RESULTS_FD PACKAGE_PARENT`, with `Asked` on its input.

Run by path, as the agent is, so that nothing of ours has to be installed there.
"""

import json
import os
import sys
from importlib.util import find_spec
from typing import NamedTuple


def main() -> None:
    """Sweep what is asked for, and tell it."""
    replies, package_parent = int(sys.argv[1]), sys.argv[2]
    del sys.path[0]  # this file's own folder: it must not shadow anything of the user's
    sys.argv[1:] = []
    if find_spec("leakcheck") is None:
        sys.path.append(package_parent)
    sys.dont_write_bytecode = True

    from leakcheck.agent.meters.pages import in_small_pages
    from leakcheck.sweep.inside import code, inventory
    from leakcheck.sweep.inside.ledgers import Ledgers
    from leakcheck.sweep.inside.messages import NO_SEEDS, Asked, Began, Done, Failed, Inventory
    from leakcheck.sweep.inside.program import Programs
    from leakcheck.sweep.inside.seeds import load
    from leakcheck.sweep.inside.server import Server

    def tell(message: NamedTuple) -> None:
        line = json.dumps([type(message).__name__, *message]).encode() + b"\n"
        while line:
            line = line[os.write(replies, line) :]

    in_small_pages()
    asked = Asked(*json.load(sys.stdin))
    isolation = os.environ.get("LEAKCHECK_ISOLATION", "none")
    try:
        package = inventory.take(
            asked.targets, asked.include, asked.exclude, isolated=isolation != "none", folder=asked.folder
        )
        makers = load(asked.seeds) if asked.seeds not in ("", NO_SEEDS) else {}
    except inventory.NothingToSweepError as error:
        tell(Failed(str(error)))
        return
    ledgers = Ledgers()
    tell(Began(isolation, sys.version, ledgers.names, package.distributions))
    hashes = code.of_targets(package.targets, package.roots)
    unchanged = [
        target.name for target in package.targets if hashes.get(target.name, "") == asked.since.get(target.name)
    ]
    tell(Inventory([target.name for target in package.targets], package.refused, hashes, unchanged))
    if not ledgers.names:
        tell(Failed("no exact ledger of memory works in this interpreter, so nothing can be seen"))
        return
    asked.skipped.extend(unchanged)
    if not asked.dry:
        modules = {target.module for target in package.targets}
        programs = Programs(modules, package.folders, asked.seeds)
        runs_tests = isolation == "namespaces" and not makers
        Server(package, programs, asked, makers, tell, runs_tests=runs_tests).sweep()
    tell(Done())


if __name__ == "__main__":
    main()
