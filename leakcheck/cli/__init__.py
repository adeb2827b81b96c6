"""The subcommands of `elkyn-leakcheck`, one a module, each loaded when it is called."""
