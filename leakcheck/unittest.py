"""For `python -m unittest`: a test case with `assertDoesNotLeak`."""

from __future__ import annotations

import json
import sys
import unittest
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from leakcheck.checking import Result


class LeakTestCase(unittest.TestCase):
    """A `unittest.TestCase` that can say of a function whether it leaks.

    The test is run a second time in the measured process, up to the assertion: the function may use whatever `setUp`
    and the test itself have made before.
    """

    leakcheck_host: Any = None
    """Set in the measured process only."""

    def assertDoesNotLeak(  # noqa: N802 - unittest's own style
        self,
        function: Callable[..., Any],
        *arguments: Any,
        expect: Literal["clean", "leak"] = "clean",
        budget: Mapping[str, float] | None = None,
        time_budget: float = 10.0,
        max_iterations: int | None = None,
        raises: type[BaseException] | tuple[type[BaseException], ...] | None = None,
    ) -> Result:
        """Fail where `function(*arguments)`, plain or async, leaks; the options are those of `leakcheck.check`."""
        host = self.leakcheck_host
        if host is not None:
            from leakcheck.worker.hosting import of_call

            if host.wants():
                host.hold(of_call(function, arguments, raises))
            return host.answer()  # type: ignore[no-any-return]
        from leakcheck.checking import measured
        from leakcheck.execution.job import Budget, Job, ScenarioInfo

        before: list[Result] = self.__dict__.setdefault("_leakcheck_before", [])
        file = sys.modules[type(self).__module__].__file__ or ""
        request = {
            "module": type(self).__module__,
            "file": file,
            "class": type(self).__qualname__,
            "method": self._testMethodName,
            "before": [each.summary for each in before],
            "sys_path": sys.path,
        }
        info = ScenarioInfo(
            id=f"{self.id()}::call {len(before) + 1}",
            target=f"unittest_test://{json.dumps(request)}",
            name="call",
            file=file,
            expect=expect,
            budget=dict(budget or {}),
            command=["python", "-m", "unittest", self.id()],
        )
        job = Job(scenario=info, budget=Budget(time_s=time_budget, max_iterations=max_iterations), cwd=Path.cwd())
        result = measured(job)
        if not result.ok:
            self.fail(str(result))
        before.append(result)
        return result
