"""`elkyn-leakcheck baseline`: change what the team has accepted, only as asked, each leak with a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from leakcheck import results
from leakcheck.cli.gate import DEFAULT_BASELINE
from leakcheck.errors import UsageError
from leakcheck.gate import baseline, gate
from leakcheck.records import RunResult
from leakcheck.report.text import line

_FILE = click.option(
    "--baseline",
    "file",
    type=click.Path(path_type=Path),
    default=DEFAULT_BASELINE,
    show_default=True,
    help="The baseline file.",
)


@click.group("baseline")
def command() -> None:
    """Show or change the baseline of the gate: the leaks that the team has accepted, each with a reason.

    \b
    Example:
      elkyn-leakcheck baseline update reports/latest --accept 17348070 "waits for libfoo 2.1"
      elkyn-leakcheck baseline show
    """


@command.command("show")
@_FILE
def show(file: Path) -> None:
    """List what is accepted.

    Example: elkyn-leakcheck baseline show
    """
    known = baseline.read(file)
    today = datetime.now(UTC).date()
    for leak in known.leaks:
        until = f", until {leak.expires}" if leak.expires else ""
        over = ", EXPIRED" if baseline.is_expired(leak, today) else ""
        click.echo(f"{leak.fingerprint}  {line(leak.scenario)}: {line(leak.title)}")
        click.echo(f"    {line(leak.reason)} (accepted {leak.accepted}{until}{over})")
    click.echo(f"{len(known.leaks)} accepted leaks, {len(known.scenarios)} known scenarios")


@command.command("update")
@click.argument("paths", nargs=-1, metavar="[RESULTS]...", type=click.Path(path_type=Path))
@_FILE
@click.option(
    "--accept",
    multiple=True,
    nargs=2,
    metavar="FINGERPRINT REASON",
    help="Accept a leak of RESULTS; may be given several times. The first characters of a fingerprint are enough.",
)
@click.option("--expires", metavar="YYYY-MM-DD", default="", help="Last day on which the accepted leaks are known.")
@click.option("--remove", multiple=True, metavar="FINGERPRINT", help="Take a leak out of the baseline.")
@click.option("--remove-fixed", is_flag=True, help="Take out the leaks that RESULTS show as fixed.")
@click.option(
    "--scenarios",
    is_flag=True,
    help="Remember the scenarios of RESULTS and how sensitive they are; of several runs the bluntest counts.",
)
@click.option("--forget", multiple=True, metavar="SCENARIO", help="Forget a scenario that is gone for good.")
@click.option("--dry-run", is_flag=True, help="Show the difference, write nothing.")
def update(
    paths: tuple[Path, ...],
    file: Path,
    accept: tuple[tuple[str, str], ...],
    expires: str,
    remove: tuple[str, ...],
    remove_fixed: bool,
    scenarios: bool,
    forget: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Change the baseline, only as asked, and show the difference.

    Without any of the options it says what the gate would say, and changes nothing.

    \b
    Example:
      elkyn-leakcheck baseline update reports/latest --scenarios
      elkyn-leakcheck baseline update reports/latest --accept 17348070 "waits for libfoo 2.1" --expires 2027-01-31
    """
    if (accept or remove_fixed or scenarios) and not paths:
        raise UsageError("--accept, --remove-fixed and --scenarios need the RESULTS that they take from")
    if expires and not accept:
        raise UsageError("--expires goes with --accept")
    before = baseline.read(file) if file.exists() else baseline.Baseline()
    runs = [results.read(path) for path in paths]
    run = results.merge(runs) if runs else None
    after = before
    today = datetime.now(UTC).date()
    for fingerprint in remove:
        after = baseline.remove(after, fingerprint)
    for scenario in forget:
        after = baseline.forget(after, scenario)
    if run is not None:
        after = _from_run(after, run, accept, expires, remove_fixed)
    if scenarios:
        after = baseline.learn(after, [scenario for one in runs for scenario in one.scenarios])
    difference = baseline.difference(before, after)
    for one in difference:
        click.echo(line(one, 600))
    if not (accept or remove or remove_fixed or scenarios or forget):
        if run is None:
            raise UsageError("nothing to do; give RESULTS to see what could be accepted, or --remove, --forget")
        _preview(run, before)
        return
    if not difference:
        click.echo("nothing changes")
    elif dry_run:
        click.echo(f"{len(difference)} changes were not written (--dry-run)")
    else:
        baseline.write(file, after)
        click.echo(f"{len(difference)} changes written to {file} at {today.isoformat()}; commit it with its reason")


def _from_run(
    known: baseline.Baseline,
    run: RunResult,
    accept: tuple[tuple[str, str], ...],
    expires: str,
    remove_fixed: bool,
) -> baseline.Baseline:
    today = datetime.now(UTC).date()
    if run.control.status == "failed":
        raise UsageError(f"the control of this run failed ({run.control.reason}); nothing can be learned from it")
    if remove_fixed:
        for one in gate.judge(run, known, [], today).lines:
            if one.kind == "fixed leak":
                known = baseline.remove(known, one.fingerprint)
    for fingerprint, reason in accept:
        known = baseline.accept(known, run, fingerprint, reason, today, expires)
    return known


def _preview(run: RunResult, known: baseline.Baseline) -> None:
    from leakcheck.report import gate as words
    from leakcheck.report.console import make_console

    words.show(gate.judge(run, known, [], datetime.now(UTC).date()), make_console())
    click.echo('nothing was changed; accept a leak with --accept FINGERPRINT "REASON", see --help')
