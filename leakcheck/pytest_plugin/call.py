"""The fixture `leakcheck`: in the user's process it measures a call, in the measured one it is what is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pytest

from leakcheck.pytest_plugin import HOST

if TYPE_CHECKING:
    from leakcheck.checking import Result


class LeakcheckCall:
    """What the fixture gives; see there. One for each test; its calls are numbered by those before."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._item = request.node
        self._config = request.config
        self._before: list[Result] = []

    def __call__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        expect: Literal["clean", "leak"] = "clean",
        budget: Mapping[str, float] | None = None,
        time_budget: float | None = None,
        max_iterations: int | None = None,
        raises: type[BaseException] | tuple[type[BaseException], ...] | None = None,
    ) -> Result:
        """Measure `function(*arguments)`, plain or async; the options are those of `leakcheck.check`."""
        __tracebackhide__ = True
        host = self._config.stash.get(HOST, None)
        if host is not None:
            return host.call(self._item, function, arguments, raises)  # type: ignore[no-any-return]
        return self._measured(
            expect=expect, budget=dict(budget or {}), time_budget=time_budget, max_iterations=max_iterations
        )

    async def awaiting(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        expect: Literal["clean", "leak"] = "clean",
        budget: Mapping[str, float] | None = None,
        time_budget: float | None = None,
        max_iterations: int | None = None,
        raises: type[BaseException] | tuple[type[BaseException], ...] | None = None,
    ) -> Result:
        """The same for an async function inside an async test: it runs in the loop of the test."""
        __tracebackhide__ = True
        host = self._config.stash.get(HOST, None)
        if host is not None:
            return await host.call_in_loop(self._item, function, arguments, raises)  # type: ignore[no-any-return]
        return self._measured(
            expect=expect, budget=dict(budget or {}), time_budget=time_budget, max_iterations=max_iterations
        )

    def _measured(self, **options: Any) -> Result:
        from leakcheck.checking import LeakFoundError
        from leakcheck.pytest_plugin.measuring import measure_call

        __tracebackhide__ = True
        result = measure_call(self._item, self._before, options)
        if not result.ok:
            raise LeakFoundError(result)
        self._before.append(result)
        return result
