"""`elkyn-leakcheck compare`: two results, or two git revisions that are built and run in turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.text import Text

from leakcheck import results, units
from leakcheck.cli.command import Command
from leakcheck.cli.options import SECONDS, Count, folder
from leakcheck.cli.terminal import echo
from leakcheck.errors import UsageError
from leakcheck.execution.workspace import Workspace
from leakcheck.gate import compare, proof
from leakcheck.records import RunResult
from leakcheck.report import sentences
from leakcheck.report.terminal import make_console, say
from leakcheck.report.text import line
from leakcheck.results import atomic
from leakcheck.versions import git

_COLORS = {"worse": "red", "undecided": "yellow", "better": "green", "less sensitive": "yellow", "slower": "yellow"}


@click.command("compare", cls=Command)
@click.argument("base")
@click.argument("head")
@click.argument("targets", nargs=-1, metavar="[SCENARIOS]...")
@click.option("--repeat", type=Count(), default=2, show_default=True, help="Runs of each revision.")
@click.option(
    "--build",
    metavar="COMMAND",
    help="Shell command that builds a revision in its folder.  [default: pip install . where that can be done]",
)
@click.option("--time-budget", type=SECONDS, metavar="S", help="As in `run`, for revisions.")
@click.option("-k", "keyword", metavar="EXPR", help="As in `run`, for revisions.")
@click.option(
    "--prove-fix",
    is_flag=True,
    help="Succeed only where each scenario leaks in BASE, and in HEAD no more though it would have shown.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write a page that shows both sides next to each other.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    base: str,
    head: str,
    targets: tuple[str, ...],
    repeat: int,
    build: str | None,
    time_budget: float | None,
    keyword: str | None,
    prove_fix: bool,
    page: Path | None,
    form: str,
) -> None:
    """Say what got worse and what got better from BASE to HEAD.

    BASE and HEAD are results (files or folders of runs), or revisions of the git repository around the current
    directory. Revisions are built, each in an environment of its own, and run in turn (A B A B) with the scenarios
    of HEAD.

    Exit code: 0 nothing got worse, 1 something did, 3 a control failed, 4 wrong usage, 5 nothing was run, 6 something
    is not known. With --prove-fix: 0 all is proven, 1 something is not.

    \b
    Example:
      elkyn-leakcheck compare base/results.json head/results.json --html changes.html
      elkyn-leakcheck compare v1.4 HEAD scenarios/
      elkyn-leakcheck compare --prove-fix main my-fix scenarios/hub.py
    """
    if page is not None:
        folder("--html", page.parent)
    if Path(base).exists() and Path(head).exists():
        bases, heads = [results.read(Path(base))], [results.read(Path(head))]
    else:
        options = [*(["--time-budget", str(time_budget)] if time_budget else []), *(["-k", keyword] if keyword else [])]
        bases, heads = _revisions(base, head, targets or ("scenarios",), build, repeat, options)
    changes = compare.compare(bases, heads)
    if page is not None:
        from leakcheck.report import side_by_side  # dear to import, and only for this

        atomic.write(page, side_by_side.render(bases, heads, changes).encode())
    if prove_fix:
        click.get_current_context().exit(_proven(bases, heads, form))
    code = compare.exit_code(changes, [*bases, *heads])
    if form == "json":
        echo(msgspec.json.format(msgspec.json.encode({"exit_code": code, "changes": changes}), indent=1).decode())
    else:
        _print(changes, [*bases, *heads])
    click.get_current_context().exit(code)


def _proven(bases: Sequence[RunResult], heads: Sequence[RunResult], form: str) -> int:
    proofs = proof.prove(bases, heads)
    code = proof.exit_code(proofs, [*bases, *heads])
    if form == "json":
        echo(msgspec.json.format(msgspec.json.encode({"exit_code": code, "proofs": proofs}), indent=1).decode())
        return code
    for each in proofs:
        mark = click.style("✓ proven", fg="green") if each.proven else click.style("✗ not proven", fg="red")
        echo(f"{mark} {line(each.scenario)}: {line(each.sentence, 600)}")
    return code


def _revisions(
    base: str, head: str, targets: Sequence[str], build: str | None, repeat: int, options: Sequence[str]
) -> tuple[list[RunResult], list[RunResult]]:
    current = Path.cwd()
    missing = next(name for name in (base, head) if not Path(name).exists())
    try:
        repository = git.root(current)
    except UsageError as error:
        raise UsageError(f"{missing}: no such result; for a revision: {error}") from None
    for name in (base, head):
        git.commit_of(repository, name)
    with Workspace() as place:
        before = git.checked_out(current, base, place / "base" / "source")
        after = git.checked_out(current, head, place / "head" / "source")
        scenarios = [_scenario(after, target) for target in targets]
        sides = []
        for revision in (before, after):
            echo(f"building {revision.name} ({revision.commit[:12]})", err=True)
            sides.append(git.build(revision, scenarios, build, revision.source.parent))
        runs = git.measure(sides, targets, repeat, options, place, lambda text: echo(text, err=True))
    return runs[0], runs[1]


def _scenario(head: git.Revision, target: str) -> git.Scenario:
    relative = target.partition("::")[0]
    if Path(relative).is_absolute() or ".." in Path(relative).parts:
        raise UsageError(f"{target}: give scenarios of revisions relative to the current directory, inside of it")
    path = head.directory / relative
    if not path.exists():
        raise UsageError(f"{relative} does not exist in {head.name}; name scenario files or folders of that revision")
    return git.Scenario(path=path, relative=relative)


def _print(changes: Sequence[compare.Change], runs: Sequence[RunResult]) -> None:
    """What changed, a line each; what is the same is counted."""
    console = make_console()
    told = [change for change in changes if change.kind != "same"]
    width = max(10, *(len(change.kind) for change in told)) if told else 0
    for change in told:
        style = _COLORS.get(change.kind, "")
        text = Text(f"{sentences.CHANGES[change.kind]} {change.kind:<{width}} ", style=style)
        say(console, text.append(f"{line(change.scenario)}: {line(change.message, 600)}", style="default"))
    failed = [run for run in runs if run.control.status == "failed"]
    if failed:
        echo(f"The control failed, so nothing here can be relied on: {line(failed[0].control.reason)}")
    counts = {kind: sum(change.kind == kind for change in changes) for kind in compare.ORDER}
    said = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
    echo(f"{units.count(len(changes), 'scenario')}: {said or 'nothing to compare'}")
