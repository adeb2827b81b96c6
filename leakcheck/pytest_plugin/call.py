"""The fixture `leakcheck`: in the user's process it measures a call, in the measured one it is what is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

import pytest

from leakcheck.pytest_plugin.keys import HOST

if TYPE_CHECKING:
    from leakcheck.checking import CallOptions, Result


class LeakcheckCall:
    """What the fixture gives; see there. One for each test; its calls are numbered by those before."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._item = request.node
        self._host = request.config.stash.get(HOST, None)
        self._before: list[Result] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any, **options: Unpack[CallOptions]) -> Result:
        """Measure `function(*arguments)`, plain or async; the options are those of `leakcheck.check`.

        They are `expect`, `budget`, `time_budget`, `max_iterations`, `max_growth`, `tools`, `timeouts` and `raises`.
        """
        __tracebackhide__ = True
        if self._host is not None:
            return self._host.call(self._item, function, arguments, options.get("raises"))  # type: ignore[no-any-return]
        return self._measured(options)

    def __enter__(self) -> NoReturn:
        from leakcheck.checking import refuse_with_statement

        refuse_with_statement()

    def __exit__(self, *_: object) -> None:
        """Never reached; see `leakcheck.Result`."""

    async def awaiting(self, function: Callable[..., Any], *arguments: Any, **options: Unpack[CallOptions]) -> Result:
        """The same for an async function inside an async test: it runs in the loop of the test."""
        __tracebackhide__ = True
        if self._host is not None:
            call = self._host.call_in_loop(self._item, function, arguments, options.get("raises"))
            return await call  # type: ignore[no-any-return]
        return self._measured(options)

    def _measured(self, options: CallOptions) -> Result:
        from leakcheck.checking import LeakFoundError
        from leakcheck.pytest_plugin.measuring import measure_call

        __tracebackhide__ = True
        result = measure_call(self._item, self._before, options)
        if not result.ok:
            raise LeakFoundError(result)
        self._before.append(result)
        return result
