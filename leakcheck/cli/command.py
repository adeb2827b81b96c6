"""A subcommand that refuses an empty value before it does anything.

An empty text is never meant: most often it is a variable of the shell that is not set. As a path it would be the
current folder, as a selection everything.
"""

from __future__ import annotations

import click
from click.core import ParameterSource

EXIT_CODES = (
    "Exit codes: 0 as expected; 1 a leak, an error, crash or hang of a scenario, a broken budget or an unexpected "
    "pass; 2 interrupted (Ctrl-C, SIGTERM, a closed terminal); 3 internal error or failed control; 4 wrong usage; "
    "5 nothing collected; 6 nothing worse than inconclusive or skipped (with --strict: 1)."
)


class Command(click.Command):
    """What stands after `--` is another program's, and may be empty."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look at what was typed, or configured, before it is converted."""
        if not ctx.resilient_parsing:
            ours = args[: args.index("--")] if "--" in args else args
            typed, _, _ = self.make_parser(ctx).parse_args(args=list(ours))
            for parameter in self.params:
                value, source = parameter.consume_value(ctx, typed)
                if source is not ParameterSource.DEFAULT and _is_empty(value):
                    raise click.BadParameter("it is empty; is a variable not set?", ctx, parameter)
        return super().parse_args(ctx, args)


def _is_empty(value: object) -> bool:
    texts = value if isinstance(value, list | tuple) else (value,)
    return any(isinstance(each, str) and not each.strip() for each in texts)
