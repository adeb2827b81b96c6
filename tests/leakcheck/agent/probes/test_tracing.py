"""`tracemalloc` notes what the step allocates, and stands still while what it left is looked at."""

import tracemalloc

from leakcheck.agent.probes.births import user_part
from leakcheck.agent.probes.tracing import Tracing


class Made:
    """Of a size that nothing else here has: what a pause frees keeps its trace, and another may take its place."""

    __slots__ = tuple(f"part{number}" for number in range(27))


def has_trace(value):
    return tracemalloc.get_object_traceback(value) is not None


def test_what_is_made_in_a_pause_has_no_trace():
    with Tracing() as tracing:
        before = Made()
        with tracing.paused():
            meanwhile = Made()
        after = Made()
        assert [has_trace(before), has_trace(meanwhile), has_trace(after)] == [True, False, True]


def test_what_was_made_before_a_pause_keeps_its_trace_in_it():
    with Tracing() as tracing:
        before = Made()
        with tracing.paused():
            assert has_trace(before)


def test_memory_goes_back_to_where_it_is_from_whenever_it_is_freed():
    with Tracing() as tracing:
        made_before = [bytearray(100) for _ in range(1000)]
        with tracing.paused():
            made_before.clear()
            made_meanwhile = [bytearray(100) for _ in range(1000)]
        made_meanwhile.clear()
    made_after = [bytearray(100) for _ in range(1000)]
    assert all(len(each) == 100 for each in made_after)


def test_a_second_pause_is_a_pause():
    with Tracing() as tracing:
        with tracing.paused():
            pass
        with tracing.paused():
            assert not has_trace(Made())
    assert not tracemalloc.is_tracing()


def test_what_is_made_where_no_python_code_runs_has_no_place():
    assert user_part((("<unknown>", 0),)) == ()
