"""llama.cpp's performance counters as differences: from zero, from a reset, told apart."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gpu_narration.ffi.llama.counters import Counters

CONTEXT = 0x1000


@dataclass
class Data:
    """As llama_perf_context gives it: a count of none is told as 1."""

    t_start_ms: float = 5.0
    t_p_eval_ms: float = 0.0
    t_eval_ms: float = 0.0
    n_p_eval: int = 1
    n_eval: int = 1


class Bench:
    """A context whose counters the test sets."""

    def __init__(self) -> None:
        self.data = Data()
        self.counters = Counters(self._read)

    def _read(self, context: int) -> Data:
        assert context == CONTEXT
        return self.data

    def moved(self) -> dict[str, int]:
        return self.counters.moved(CONTEXT)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_first_difference_is_from_where_the_context_began(bench: Bench) -> None:
    bench.counters.begin(CONTEXT)
    bench.data = Data(t_p_eval_ms=1.5, n_p_eval=28)

    assert bench.moved() == {"perf_prefill_tokens": 28, "perf_prefill_ns": 1_500_000}


def test_of_a_context_that_was_there_before_only_later_differences_are_known(bench: Bench) -> None:
    bench.data = Data(t_eval_ms=9.0, n_eval=90)

    assert bench.moved() == {}
    bench.data = Data(t_eval_ms=9.5, n_eval=95)
    assert bench.moved() == {"perf_decode_tokens": 5, "perf_decode_ns": 500_000}


def test_one_decode_is_told_from_none_though_llama_cpp_counts_both_as_one(bench: Bench) -> None:
    bench.counters.begin(CONTEXT)
    bench.data = Data(t_eval_ms=0.07, n_eval=1)

    assert bench.moved() == {"perf_decode_tokens": 1, "perf_decode_ns": 70_000}


def test_nothing_is_told_where_nothing_moved(bench: Bench) -> None:
    bench.counters.begin(CONTEXT)

    assert bench.moved() == {}


def test_what_is_told_before_something_new_says_that_it_came_before(bench: Bench) -> None:
    bench.counters.begin(CONTEXT)
    bench.data = Data(t_eval_ms=0.2, n_eval=2)

    told = bench.counters.settle(CONTEXT)

    assert told == {"before_perf_decode_tokens": 2, "before_perf_decode_ns": 200_000}
    assert bench.counters.settle(CONTEXT) == {}


@pytest.mark.parametrize("began_ms", [6.0, 5.0], ids=["beginning set anew", "smaller counts"])
def test_a_reset_is_seen_and_counted_from_zero(bench: Bench, began_ms: float) -> None:
    bench.counters.begin(CONTEXT)
    bench.data = Data(t_eval_ms=9.0, n_eval=90)
    bench.moved()
    bench.data = Data(t_start_ms=began_ms, t_eval_ms=0.3, n_eval=3)

    assert bench.moved() == {
        "perf_decode_tokens": 3, "perf_decode_ns": 300_000, "perf_resets": 1,
    }  # fmt: skip


def test_a_context_at_a_freed_address_begins_anew(bench: Bench) -> None:
    bench.counters.begin(CONTEXT)
    bench.data = Data(t_eval_ms=9.0, n_eval=90)
    bench.moved()
    bench.counters.forget(CONTEXT)
    bench.data = Data()
    bench.counters.begin(CONTEXT)
    bench.data = Data(t_eval_ms=0.1, n_eval=1)

    assert bench.moved() == {"perf_decode_tokens": 1, "perf_decode_ns": 100_000}


def test_a_library_without_counters_tells_nothing() -> None:
    counters = Counters(None)
    counters.begin(CONTEXT)

    assert (counters.can_read, counters.moved(CONTEXT)) == (False, {})
