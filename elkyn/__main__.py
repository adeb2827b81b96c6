"""`python -m elkyn`."""

from elkyn.cli import main

if __name__ == "__main__":
    main(prog_name="elkyn")
