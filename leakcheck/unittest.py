"""For `python -m unittest`: a test case with `assertDoesNotLeak`, and a mark for tests that are measured as a whole."""

from __future__ import annotations

import json
import sys
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

if TYPE_CHECKING:
    from leakcheck.checking import CallOptions, JudgementOptions, Result, WholeTestOptions

__unittest = True  # unittest leaves the frames of such modules out of its tracebacks

_MARK = "__leakcheck_test__"
Marked = TypeVar("Marked", bound=Callable[..., Any])


@overload
def does_not_leak(test: Marked, /) -> Marked: ...
@overload
def does_not_leak(**options: Unpack[WholeTestOptions]) -> Callable[[Marked], Marked]: ...
def does_not_leak(test: Marked | None = None, /, **options: Any) -> Marked | Callable[[Marked], Marked]:
    """Mark a test method of a `LeakTestCase`, or a whole class: the test, `setUp` to clean-ups, must not leak.

    The test runs once as ever. If it passes, it is repeated in a process of its own, with `setUpClass` and
    `setUpModule` run once there. The options are `expect`, `budget`, `time_budget`, `max_iterations`, `max_growth`,
    `tools` and `timeouts`, which mean what they do for `leakcheck.check`, and `errors`, see `leakcheck.scenario`; a
    method's mark goes before its class's.
    """
    from leakcheck import validation

    validation.examine("@does_not_leak", options, validation.names("test"))

    def mark(marked: Marked) -> Marked:
        if isinstance(marked, type) and not issubclass(marked, LeakTestCase):
            raise TypeError(
                f"@does_not_leak: {marked.__qualname__} is no LeakTestCase; "
                "derive it from leakcheck.unittest.LeakTestCase"
            )
        setattr(marked, _MARK, options)
        return marked

    return mark if test is None else mark(test)


class LeakTestCase(unittest.TestCase):
    """A `unittest.TestCase` that can say of a function, or by `@does_not_leak` of its tests, whether they leak.

    What is measured runs in a process of its own: the test is run there up to the assertion, or as a whole, so that
    whatever `setUp` and the test make is there.
    """

    leakcheck_host: Any = None
    """Set in the measured process only."""

    def doCleanups(self) -> None:  # noqa: N802 - unittest's own style
        """Run the clean-ups, and as the last of them the measurement of a test that carries the mark and has passed."""
        super().doCleanups()
        options = getattr(getattr(self, self._testMethodName), _MARK, getattr(type(self), _MARK, None))
        passed = getattr(getattr(self, "_outcome", None), "success", False)  # neither failed nor skipped
        if options is not None and passed and self.leakcheck_host is None:
            self.addCleanup(self._measured, self.id(), options, whole=True)
            super().doCleanups()

    def assertDoesNotLeak(  # noqa: N802 - unittest's own style
        self, function: Callable[..., Any], *arguments: Any, **options: Unpack[CallOptions]
    ) -> Result:
        """Fail where `function(*arguments)`, plain or async, leaks; the options are those of `leakcheck.check`.

        They are `expect`, `budget`, `time_budget`, `max_iterations`, `max_growth`, `tools`, `timeouts` and `raises`.
        """
        host, raises = self.leakcheck_host, options.pop("raises", None)
        if host is not None:
            from leakcheck.agent.hosts.host import MEASURED
            from leakcheck.agent.loading import of_call

            if host.wants():
                host.hold(of_call(function, arguments, raises))
                raise unittest.SkipTest(MEASURED)
            return host.answer()  # type: ignore[no-any-return]
        from leakcheck import validation

        validation.examine("assertDoesNotLeak", {**options, "raises": raises}, validation.names("call"))
        before = self._results_before()
        result = self._measured(f"{self.id()}::call {len(before) + 1}", options, whole=False)
        before.append(result)
        return result

    def _results_before(self) -> list[Result]:
        found: list[Result] = self.__dict__.setdefault("_leakcheck_before", [])
        return found

    def leakcheck_results(self) -> list[Result]:
        """What has been measured of this test so far, whatever came of it; the pytest plugin puts it in its summary."""
        found: list[Result] = self.__dict__.setdefault("_leakcheck_results", [])
        return found

    def _measured(self, identifier: str, options: JudgementOptions, *, whole: bool) -> Result:
        from leakcheck.agent.protocol import UnittestRequest
        from leakcheck.checking import Result, measured_with_errors
        from leakcheck.execution.job import Job, ScenarioInfo, asked

        file = sys.modules[type(self).__module__].__file__ or ""
        request = UnittestRequest(
            module=type(self).__module__,
            file=file,
            class_name=type(self).__qualname__,
            method=self._testMethodName,
            whole=whole,
            before=[each.summary for each in self._results_before()],
            sys_path=sys.path,
        )
        info = ScenarioInfo(
            id=identifier,
            target=f"unittest_test://{json.dumps(request)}",
            name="test" if whole else "call",
            file=file,
            command=["python", "-m", "unittest", self.id()],
            **asked(options),
        )
        results = list(map(Result, measured_with_errors(Job(scenario=info, cwd=Path.cwd()))))
        self.leakcheck_results().extend(results)
        if wrong := [str(result) for result in results if not result.ok]:
            self.fail("\n\n".join(wrong))
        return results[0]
