"""What the product's own judge says of suspects: `elkyn-leakcheck run`, in an isolated place, on a file for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from leakcheck.errors import LeakcheckError
from leakcheck.records import RunResult, ScenarioResult
from leakcheck.sweep.apart import Apart
from leakcheck.sweep.scenario_file import LEAK, NEIGHBOUR
from leakcheck.versions import sandbox


class Judged:
    """The results of one run, by the names of the files."""

    def __init__(self, run: RunResult) -> None:
        self.run = run
        self._by_file: dict[tuple[str, str], ScenarioResult] = {}
        for result in run.scenarios:
            file, _, function = result.id.partition("::")
            self._by_file[Path(file).stem, function] = result

    def of(self, name: str) -> ScenarioResult | None:
        """What became of the step that should leak."""
        return self._by_file.get((name, LEAK))

    def neighbour_is_clean(self, name: str) -> bool:
        """Whether the nearest other step was measured, and keeps nothing."""
        result = self._by_file.get((name, NEIGHBOUR))
        return result is not None and result.verdict == "clean"


def judge(
    files: Mapping[str, str],
    python: str,
    jobs: int,
    *,
    folder: Path | None = None,
    diagnose: bool,
) -> Judged:
    """Run files of scenarios, given by name and content, in fresh processes of `python`.

    They and the report are left in `folder`, where there is one. Raises `LeakcheckError` where the run has no result.
    """
    with Apart() as place:
        kept = folder or place.results
        targets = []
        for name, content in files.items():
            target = kept / f"{name}.py"
            target.write_text(content, encoding="utf-8")
            targets.append(str(target))
        options = ["--jobs", str(jobs), *([] if diagnose else ["--tools", "growth"])]
        run = sandbox.run(Path(python), targets, place.work, kept / "report", options, before=place.before(kept))
    if run.interrupted:
        raise LeakcheckError("the judge was interrupted")
    return Judged(run)
