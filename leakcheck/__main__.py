"""`python -m leakcheck` is the command `elkyn-leakcheck`."""

from __future__ import annotations

import gc
import sys

from leakcheck.execution import head_start


def main() -> None:
    """Entry point of the console script: what takes longest to be ready comes first."""
    gc.set_threshold(50_000)  # imports make much that stays: a tenth of their time went into looking at it again
    head_start.begin(sys.argv[1:])
    from leakcheck import cli

    cli.main()


if __name__ == "__main__":
    main()
