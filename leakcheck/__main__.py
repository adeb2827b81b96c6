"""`python -m leakcheck` is the command `elkyn-leakcheck`."""

from leakcheck.cli import main

if __name__ == "__main__":
    main()
