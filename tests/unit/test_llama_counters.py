"""llama.cpp's performance counters as differences: paced, settled, reset."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gpu_narration.ffi.llama import counters as room
from gpu_narration.ffi.llama.counters import PACE_NS, Counters

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
    """A context whose counters and whose time the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data = Data()
        self.now_ns = 0
        self.readings = 0
        self.annotated: list[tuple[int, dict[str, object]]] = []
        monkeypatch.setattr(room.time, "monotonic_ns", lambda: self.now_ns)
        monkeypatch.setattr(room, "annotate", lambda span, f: self.annotated.append((span, f)))
        self.counters = Counters(self._read)

    def _read(self, context: int) -> Data:
        assert context == CONTEXT
        self.readings += 1
        return self.data

    def moved(self, span: int = 1, later_ns: int = PACE_NS) -> dict[str, object] | None:
        self.now_ns += later_ns
        return self.counters.moved(CONTEXT, span)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_the_first_difference_is_from_where_the_context_began(bench: Bench) -> None:
    bench.counters.begin(CONTEXT)
    bench.data = Data(t_p_eval_ms=1.5, n_p_eval=28)

    assert bench.moved() == {"perf_prefill_tokens": 28, "perf_prefill_ns": 1_500_000}


def test_of_a_context_that_was_there_before_only_later_differences_are_known(bench: Bench) -> None:
    bench.data = Data(t_eval_ms=9.0, n_eval=90)

    assert bench.moved() is None
    bench.data = Data(t_eval_ms=9.5, n_eval=95)
    assert bench.moved() == {"perf_decode_tokens": 5, "perf_decode_ns": 500_000}


def test_one_decode_is_told_from_none_though_llama_cpp_counts_both_as_one(bench: Bench) -> None:
    bench.counters.begin(CONTEXT)
    bench.data = Data(t_eval_ms=0.07, n_eval=1)

    assert bench.moved() == {"perf_decode_tokens": 1, "perf_decode_ns": 70_000}


def test_counters_are_read_once_a_millisecond_at_most(bench: Bench) -> None:
    bench.counters.begin(CONTEXT)
    before = bench.readings

    for _ in range(10):
        bench.moved(later_ns=PACE_NS // 10)

    assert bench.readings - before == 1


def test_what_was_not_read_annotates_the_last_span_before_something_new(bench: Bench) -> None:
    bench.counters.begin(CONTEXT)
    bench.moved(span=1)
    bench.data = Data(t_eval_ms=0.2, n_eval=2)
    assert bench.moved(span=77, later_ns=10) is None

    bench.counters.settle(CONTEXT)
    bench.counters.settle(CONTEXT)

    assert bench.annotated == [(77, {"perf_decode_tokens": 2, "perf_decode_ns": 200_000})]


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

    assert (counters.can_read, counters.moved(CONTEXT, 1)) == (False, None)
