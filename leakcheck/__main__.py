"""`python -m leakcheck` is the command `elkyn-leakcheck`."""

from __future__ import annotations

import gc
import warnings


def main() -> None:
    """Entry point of the console script."""
    warnings.simplefilter("ignore")  # what the user's options say of warnings is for the measured process
    gc.set_threshold(50_000)  # imports make much that stays: a tenth of their time went into looking at it again
    from leakcheck.cli import main

    main.main()


if __name__ == "__main__":
    main()
