"""How often memory is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpu_narration.cuda.pace import FAST_S, SLOW_S, TIME_SHARE, Pace

CHEAP_NS = 20_000


def test_while_memory_moves_it_is_read_fast() -> None:
    pace = Pace()

    assert [pace.next(moved=True, cost_ns=CHEAP_NS) for _ in range(3)] == [FAST_S] * 3


def test_at_rest_the_pause_doubles_up_to_the_longest() -> None:
    pace = Pace()

    pauses = [pace.next(moved=False, cost_ns=CHEAP_NS) for _ in range(8)]

    assert pauses == [0.04, 0.08, 0.16, 0.32, 0.64, SLOW_S, SLOW_S, SLOW_S]


def test_a_move_ends_the_rest_at_once() -> None:
    pace = Pace()
    for _ in range(10):
        pace.next(moved=False, cost_ns=CHEAP_NS)

    assert pace.next(moved=True, cost_ns=CHEAP_NS) == FAST_S


def test_a_move_seen_between_two_rounds_ends_the_rest_too() -> None:
    pace = Pace()
    for _ in range(10):
        pace.next(moved=False, cost_ns=CHEAP_NS)

    assert pace.hurry() == FAST_S


@given(st.lists(st.tuples(st.booleans(), st.integers(50_000_000, 10**9)), min_size=1))
def test_slow_calls_take_no_more_than_their_share_of_the_time(
    rounds: list[tuple[bool, int]],
) -> None:
    """GIVEN calls of 50 ms or more, moving or not, THEN the pause allows for the cheapest."""
    pace = Pace()
    for place, (moved, cost_ns) in enumerate(rounds):
        pause_s = pace.next(moved=moved, cost_ns=cost_ns)
        recent = [cost for _, cost in rounds[max(0, place - 7) : place + 1]]
        assert pause_s * TIME_SHARE >= min(recent) / 1e9 * 0.999


def test_one_round_that_waited_for_the_interpreter_changes_nothing() -> None:
    pace = Pace()
    pace.next(moved=True, cost_ns=CHEAP_NS)

    assert pace.next(moved=True, cost_ns=500_000_000) == FAST_S
