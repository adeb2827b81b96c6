"""The rules that name a growing container, one synthetic heap each."""

from __future__ import annotations

import pytest
from synthetic_heap import growing_paths


def test_a_list_that_gains_an_element_each_iteration_is_named() -> None:
    found = growing_paths("""
        app             1    1
          .hub          1    1
            .listeners  1    +1
    """)
    assert list(found) == ["app.hub.listeners"]
    assert found["app.hub.listeners"].per_iteration == pytest.approx(1)


def test_what_lies_below_a_growing_container_is_explained_by_it() -> None:
    found = growing_paths("""
        app             1    1
          .listeners    1    5+1
            [*]         5+1  10+2
              .closure  5+1  5+1
    """)
    assert list(found) == ["app.listeners"]


def test_one_object_in_a_hundred_iterations_is_enough() -> None:
    found = growing_paths("""
        app       1  1
          ._kept  1  +0.01
    """)
    assert found["app._kept"].per_iteration == pytest.approx(0.01)


def test_a_container_that_does_not_grow_is_not_named() -> None:
    assert not growing_paths("""
        app      1  1
          .table 1  5000
    """)


def test_a_cache_that_is_full_before_the_end_is_not_named() -> None:
    assert not growing_paths("""
        app      1  1
          .cache 1  <350
    """)


def test_growth_that_fades_is_not_named() -> None:
    assert not growing_paths("""
        app      1  1
          .names 1  /
    """)


def test_a_buffer_that_is_emptied_now_and_then_is_not_named() -> None:
    assert not growing_paths("""
        app       1  1
          .buffer 1  %400
    """)


def test_two_entries_that_came_late_are_no_growth() -> None:
    assert not growing_paths("""
        app      1  1
          .table 1  10+0.004
    """)


def test_a_chain_that_gets_longer_is_named_as_a_chain() -> None:
    found = growing_paths("""
        app                   1   1
          ._ERR               1   1
            .__traceback__    1   2
              .tb_next        +2  +4  ...
                .tb_frame     +2  +6
    """)
    assert list(found) == ["app._ERR.__traceback__.tb_next"]
    assert found["app._ERR.__traceback__.tb_next"].shape == "deeper"


def test_a_chain_below_a_growing_list_is_explained_by_the_list() -> None:
    found = growing_paths("""
        app           1    1
          .errors     1    +1
            [*]       +1   +1
              .next   +3   +3  ...
    """)
    assert list(found) == ["app.errors"]


def test_trees_that_new_elements_bring_along_as_the_old_ones_did_are_explained_by_their_list() -> None:
    found = growing_paths("""
        app            1      1
          .models      1      10+1
            [*]        10+1   10+1
              .schema  160+16 320+32  ...
    """)
    assert list(found) == ["app.models"]


def test_a_tree_of_its_own_below_a_growing_list_is_named_beside_the_list() -> None:
    found = growing_paths("""
        app            1      1
          .models      1      10+1
            [*]        10+1   10+1
              .schema  10+16  20+32  ...
    """)
    assert list(found) == ["app.models[*].schema", "app.models"]


def test_lists_of_many_objects_that_grow_in_turn_are_one_container() -> None:
    found = growing_paths("""
        app            1    1
          .users       1    500
            [*]        500  500
              .history 500  +1
    """)
    assert list(found) == ["app.users[*].history"]


def test_two_faults_are_two_containers_the_faster_first() -> None:
    found = growing_paths("""
        app        1  2
          .errors  1  +1
          .events  1  +3
    """)
    assert list(found) == ["app.events", "app.errors"]


def test_a_slow_container_above_does_not_hide_a_fast_one_below() -> None:
    found = growing_paths("""
        app            1        1
          .users       1        100+0.01
            [*]        100+0.01 100+0.01
              .history 100+0.01 200+1
    """)
    assert list(found) == ["app.users[*].history", "app.users"]


def test_a_container_that_is_replaced_by_a_longer_copy_is_named() -> None:
    found = growing_paths("""
        app           1  1
          .handlers   1  3+1
    """)
    assert list(found) == ["app.handlers"]


def test_a_node_that_was_not_there_at_first_counts_from_nothing() -> None:
    found = growing_paths(
        """
        app       1  1
          .late   1  +1
    """,
        at=(100, 400, 700),
    )
    assert list(found) == ["app.late"]


def test_two_points_are_enough_for_a_first_choice() -> None:
    found = growing_paths(
        """
        app        1  2
          .events  1  +1
          .table   1  40
    """,
        at=(100, 400),
    )
    assert list(found) == ["app.events"]


def test_a_text_that_gets_longer_is_named() -> None:
    found = growing_paths("""
        app         1  2
          ._text    1  300+13B
          ._notice  1  5000B
    """)
    assert list(found) == ["app._text"]
    assert found["app._text"].shape == "heavier"
    assert found["app._text"].per_iteration == pytest.approx(13)


def test_texts_that_become_more_are_explained_by_what_holds_them() -> None:
    found = growing_paths("""
        app         1     1
          .pages    1     5+1
            [*]     5+1   5+1
              .body 5+1   1000+400B
    """)
    assert list(found) == ["app.pages"]


def test_two_that_come_late_do_not_make_each_other_heavier() -> None:
    """The three pictures show none, one and two of them."""
    assert not growing_paths("""
        app         1      1
          .pages    1      +0.004
            [*]     +0.004 +300B
    """)


def test_a_buffer_that_is_sent_now_and_then_is_not_named() -> None:
    assert not growing_paths("""
        app       1  1
          .buffer 1  %400B
    """)


def test_buffers_of_many_sessions_that_grow_are_named() -> None:
    found = growing_paths("""
        app           1    1
          .sessions   1    9
            [*]       9    9
              .inbox  9    3000+50B
    """)
    assert list(found) == ["app.sessions[*].inbox"]


def test_what_several_new_objects_bring_along_is_their_own() -> None:
    found = growing_paths(
        """
        app         1   1
          .readers  1   +1
            [*]     +1  +8
    """,
        at=(0, 400),
    )
    assert list(found) == ["app.readers"]
    assert not growing_paths(
        """
        <method>    2+1  2+1
        [*]         +1   +8
    """,
        at=(0, 400),
    )
