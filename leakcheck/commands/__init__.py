"""The commands of the command line, one a file; each module has a `click.Command` named `command`."""
