"""`elkyn-leakcheck baseline`: change what the team has accepted, only as asked, each leak with a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from leakcheck import results
from leakcheck.cli.command import Command
from leakcheck.cli.gate import DEFAULT_BASELINE
from leakcheck.cli.terminal import echo
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


@command.command("show", cls=Command)
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
        echo(f"{leak.fingerprint}  {line(leak.scenario)}: {line(leak.title)}")
        echo(f"    {line(leak.reason)} (accepted {leak.accepted}{until}{over})")
    echo(f"{len(known.leaks)} accepted leaks, {len(known.scenarios)} known scenarios")


@command.command("update", cls=Command)
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
@click.option(
    "--in",
    "pattern",
    metavar="PATTERN",
    default="",
    help="Accept, or remove, for all scenarios that fit, as 'scenarios/*'.  [default: where RESULTS have it]",
)
@click.option("--remove", multiple=True, metavar="FINGERPRINT", help="Take a leak out of the baseline.")
@click.option("--remove-fixed", is_flag=True, help="Take out the leaks that RESULTS show as fixed.")
@click.option(
    "--scenarios",
    is_flag=True,
    help="Remember the scenarios of RESULTS and how sensitive they are; of several runs the bluntest counts.",
)
@click.option("--renew", is_flag=True, help="Give the leaks of an earlier version's baseline the fingerprints of now.")
@click.option("--forget", multiple=True, metavar="SCENARIO", help="Forget a scenario that is gone for good.")
@click.option("--dry-run", is_flag=True, help="Show the difference, write nothing.")
def update(
    paths: tuple[Path, ...],
    file: Path,
    accept: tuple[tuple[str, str], ...],
    expires: str,
    pattern: str,
    remove: tuple[str, ...],
    remove_fixed: bool,
    scenarios: bool,
    renew: bool,
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
    if (accept or remove_fixed or scenarios or renew) and not paths:
        raise UsageError("--accept, --remove-fixed, --scenarios and --renew need the RESULTS that they take from")
    if expires and not accept:
        raise UsageError("--expires goes with --accept")
    if pattern and not (accept or remove):
        raise UsageError("--in goes with --accept and --remove")
    before = baseline.read(file) if file.exists() else baseline.Baseline()
    runs = [results.read(path) for path in paths]
    run = results.merge(runs) if runs else None
    changes = bool(accept or remove or remove_fixed or scenarios or renew or forget)
    after = _renewed(before, run, renew, file) if changes else before
    today = datetime.now(UTC).date()
    for fingerprint in remove:
        after = baseline.remove(after, fingerprint, pattern)
    for scenario in forget:
        after = baseline.forget(after, scenario)
    if run is not None:
        after = _from_run(after, run, accept, expires, pattern, remove_fixed)
    if scenarios:
        after = baseline.learn(after, [scenario for one in runs for scenario in one.scenarios])
    difference = baseline.difference(before, after)
    for one in difference:
        echo(line(one, 600))
    if not changes:
        if run is None:
            raise UsageError("nothing to do; give RESULTS to see what could be accepted, or --remove, --forget")
        _preview(run, before)
        return
    if not difference and before.schema == after.schema:
        echo("nothing changes")
    elif dry_run:
        echo(f"{len(difference)} changes were not written (--dry-run)")
    else:
        baseline.write(file, after)
        echo(f"{len(difference)} changes written to {file} at {today.isoformat()}; commit it with its reason")


def _renewed(before: baseline.Baseline, run: RunResult | None, renew: bool, file: Path) -> baseline.Baseline:
    """The baseline as this version writes it. An old one is not made new by the way: some of it may be lost."""
    if not before.is_of_an_earlier_version:
        return msgspec.structs.replace(before, schema=baseline.SCHEMA)
    if not renew or run is None:
        raise UsageError(
            f"{file} was made by an earlier version; bring its fingerprints up to date first, with "
            f"`elkyn-leakcheck baseline update RESULTS --renew --baseline {file}` and the RESULTS of the whole suite"
        )
    there = {scenario.id for scenario in run.scenarios}
    if missing := sorted({leak.scenario for leak in before.leaks} - there):
        raise UsageError(f"--renew needs RESULTS of every scenario with an accepted leak; {missing[0]} is not in these")
    return baseline.renewed(before, run)


def _from_run(
    known: baseline.Baseline,
    run: RunResult,
    accept: tuple[tuple[str, str], ...],
    expires: str,
    pattern: str,
    remove_fixed: bool,
) -> baseline.Baseline:
    today = datetime.now(UTC).date()
    if run.control.status == "failed":
        raise UsageError(f"the control of this run failed ({run.control.reason}); nothing can be learned from it")
    if remove_fixed:
        for one in gate.judge(run, known, [], today).lines:
            if one.kind == "fixed leak":
                known = baseline.remove(known, one.fingerprint, one.scenario)
    for fingerprint, reason in accept:
        known = baseline.accept(known, run, fingerprint, reason, today, expires, pattern)
    return known


def _preview(run: RunResult, known: baseline.Baseline) -> None:
    from leakcheck.report import gate as words
    from leakcheck.report.terminal import make_console

    words.show(gate.judge(run, known, [], datetime.now(UTC).date()), make_console())
    echo('nothing was changed; accept a leak with --accept FINGERPRINT "REASON", see --help')
