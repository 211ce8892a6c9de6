"""Reading caching pools: the simulator's, and stand-ins of CuPy's and PyTorch's."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from gpu_narration._errors import internal_error
from gpu_narration.cuda import CudaError, MockGpu
from gpu_narration.cuda.pools import (
    CupyPool,
    Mark,
    MockPool,
    PoolChange,
    PoolMarks,
    Pools,
    PoolState,
    PoolUnreadable,
    TorchPool,
)
from tests.support.fake_pools import FakeCupy, FakeTorch

GIB = 1 << 30


# ---- the simulator's pool ----


def test_what_is_given_back_to_a_pool_stays_taken_from_the_device() -> None:
    gpu = MockGpu()
    pool = gpu.pool()

    pool.free(pool.malloc(GIB))

    assert (gpu.memory(0)[0], pool.live_bytes, pool.reserved_bytes) == (GIB, 0, GIB)


def test_a_pool_hands_out_what_it_kept() -> None:
    gpu = MockGpu()
    pool = gpu.pool()
    pool.free(pool.malloc(GIB))

    pool.malloc(GIB // 2)

    assert (gpu.memory(0)[0], pool.live_bytes) == (GIB, GIB)


def test_a_trimmed_pool_has_given_its_cache_to_the_device() -> None:
    gpu = MockGpu()
    pool = gpu.pool()
    pool.malloc(GIB)
    pool.free(pool.malloc(2 * GIB))

    pool.trim()

    assert (gpu.memory(0)[0], pool.reserved_bytes, pool.peak_reserved_bytes) == (GIB, GIB, 3 * GIB)


def test_a_pool_empties_its_cache_before_it_fails() -> None:
    pool = MockGpu(memory_bytes=4 * GIB).pool()
    pool.free(pool.malloc(3 * GIB))

    pool.malloc(4 * GIB)

    assert pool.reserved_bytes == 4 * GIB


def test_a_full_device_fails_with_the_size_that_was_asked_for() -> None:
    with pytest.raises(CudaError) as caught:
        MockGpu(memory_bytes=GIB).pool().malloc(2 * GIB)

    assert (caught.value.code, caught.value.requested_bytes) == (2, 2 * GIB)


def test_what_is_not_of_the_pool_cannot_be_given_back_to_it() -> None:
    gpu = MockGpu()
    with pytest.raises(CudaError, match="cudaErrorInvalidValue"):
        gpu.pool().free(gpu.malloc(GIB))


def test_a_pool_nobody_has_asked_for_holds_nothing_and_is_not_made() -> None:
    gpu = MockGpu()

    assert MockPool(gpu).read(0) == PoolState(0, 0, 0)
    assert gpu.pooled_devices == frozenset()


def test_a_reset_device_has_no_pool_any_more() -> None:
    gpu = MockGpu()
    gpu.pool().malloc(GIB)

    gpu.reset_device()

    assert gpu.pool().reserved_bytes == 0


# ---- the highest that was reserved ----


@pytest.mark.parametrize(
    ("before", "after", "peak"),
    [
        (PoolState(0, 1, 5), PoolState(0, 1, 7), 7),  # exceeded
        (PoolState(0, 5, 5), PoolState(0, 1, 5), 5),  # it stood there at the beginning
        (PoolState(0, 1, 5), PoolState(0, 5, 5), 5),  # and at the end
        (PoolState(0, 1, 5), PoolState(0, 2, 5), None),  # anything between 2 and 5
        (PoolState(0, 5, 5), PoolState(0, 2, 2), None),  # the program has reset it
        (PoolState(0, 1), PoolState(0, 2), None),  # nobody counts
    ],
)
def test_a_peak_counter_tells_the_peak_between_two_readings_or_nothing(
    before: PoolState, after: PoolState, peak: int | None
) -> None:
    assert Mark(0, before).peak_bytes(after) == peak


# ---- PyTorch ----


def test_torch_tells_live_and_reserved_bytes_and_its_own_peak() -> None:
    torch = FakeTorch()
    torch.hold(live=3, reserved=8)
    torch.hold(live=1, reserved=4)

    assert TorchPool(torch).read(0) == PoolState(1, 4, 8)


def test_torch_is_not_asked_before_the_program_has_initialised_cuda() -> None:
    torch = FakeTorch()
    torch.initialized = False

    assert TorchPool(torch).read(0) == PoolState(0, 0, 0)


def test_torch_without_the_statistics_is_unreadable() -> None:
    torch = FakeTorch()
    torch.stats_missing = True

    with pytest.raises(PoolUnreadable, match="allocated_bytes"):
        TorchPool(torch).read(0)


# ---- CuPy ----


def test_cupy_tells_used_and_total_bytes_of_the_pool_that_is_set() -> None:
    cupy = FakeCupy()
    cupy.pool.malloc(8)
    cupy.pool.free(5)

    assert CupyPool(cupy).read(0) == PoolState(3, 8)


def test_an_allocator_that_is_no_pool_is_unreadable() -> None:
    cupy = FakeCupy()
    cupy.allocator = lambda size: size

    with pytest.raises(PoolUnreadable, match="not one of its memory pools"):
        CupyPool(cupy).read(0)


def test_a_device_is_not_made_current_to_read_its_pool() -> None:
    cupy = FakeCupy()
    cupy.device = 1

    with pytest.raises(PoolUnreadable, match="gpu1"):
        CupyPool(cupy).read(0)


def test_a_hook_follows_the_peak_that_no_counter_tells() -> None:
    """GIVEN a pool that grows and shrinks between two readings THEN the peak is exact."""
    cupy = FakeCupy()
    pool = CupyPool(cupy)
    mark = pool.begin(0)

    cupy.pool.malloc(10)
    cupy.pool.free(10)
    cupy.pool.free_all_blocks()

    assert mark.peak_bytes(pool.end(mark)) == 10


def test_marks_inside_each_other_follow_their_own_peaks() -> None:
    cupy = FakeCupy()
    pool = CupyPool(cupy)
    outer = pool.begin(0)
    cupy.pool.malloc(10)
    cupy.pool.free(10)
    cupy.pool.free_all_blocks()
    inner = pool.begin(0)
    cupy.pool.malloc(4)

    assert inner.peak_bytes(pool.end(inner)) == 4
    assert outer.peak_bytes(pool.end(outer)) == 10


def test_no_hook_is_left_when_the_last_mark_has_ended() -> None:
    cupy = FakeCupy()
    pool = CupyPool(cupy)
    outer, inner = pool.begin(0), pool.begin(0)
    assert len(cupy.hooks()) == 1

    pool.end(outer)
    pool.end(inner)

    assert cupy.hooks() == {}


def test_a_mark_that_ends_in_another_thread_has_no_exact_peak() -> None:
    cupy = FakeCupy()
    pool = CupyPool(cupy)
    mark = pool.begin(0)
    states = []

    thread = threading.Thread(target=lambda: states.append(pool.end(mark)))
    thread.start()
    thread.join()

    assert mark.peak_bytes(states[0]) is None


def test_a_hook_that_fails_does_not_reach_the_programs_malloc() -> None:
    cupy = FakeCupy()
    pool = CupyPool(cupy)
    mark = pool.begin(0)
    cupy.pool.broken = True

    assert cupy.pool.malloc(4) == 4

    assert internal_error.counts.pop("following of CuPy's pool") == 1
    cupy.pool.broken = False
    assert mark.peak_bytes(pool.end(mark)) is None


def test_a_mark_that_nobody_will_end_is_not_followed_any_more() -> None:
    cupy = FakeCupy()
    pool = CupyPool(cupy)
    marks = PoolMarks(0, ((pool, pool.begin(0)),))

    marks.abandon()
    cupy.pool.broken = True  # would be counted as a failure if it were read

    assert cupy.pool.malloc(4) == 4
    assert internal_error.counts == {}


# ---- all of a program's pools ----


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeCupy, FakeTorch]:
    """Both are loaded."""
    cupy, torch = FakeCupy(), FakeTorch()
    monkeypatch.setitem(sys.modules, "cupy", cupy)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "torch", torch)  # type: ignore[arg-type]
    return cupy, torch


def test_a_program_without_a_pool_has_no_change_of_one(monkeypatch: Any) -> None:
    for name in ("cupy", "torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    pools = Pools()

    assert pools.end(pools.begin(0)) is None


def test_two_pools_are_added_up_and_both_named(libraries: tuple[FakeCupy, FakeTorch]) -> None:
    cupy, torch = libraries
    pools = Pools()
    marks = pools.begin(0)

    cupy.pool.malloc(3)
    torch.hold(live=4, reserved=10)

    assert pools.end(marks) == PoolChange("cupy+torch", 7, 6, None)


def test_a_library_that_is_loaded_in_between_began_with_nothing(monkeypatch: Any) -> None:
    for name in ("cupy", "torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    pools = Pools()
    marks = pools.begin(0)
    torch = FakeTorch()
    torch.hold(live=4, reserved=10)
    monkeypatch.setitem(sys.modules, "torch", torch)

    assert pools.end(marks) == PoolChange("torch", 4, 6, 10)


def test_a_pool_that_cannot_be_read_makes_the_change_unknown(
    libraries: tuple[FakeCupy, FakeTorch],
) -> None:
    cupy, _ = libraries
    cupy.allocator = None
    pools = Pools()

    change = pools.end(pools.begin(0))

    assert change is not None
    assert (change.live_delta_bytes, change.cached_delta_bytes) == (None, None)
    assert "not one of its memory pools" in change.reason


def test_a_library_that_is_only_half_imported_has_no_pool_yet(monkeypatch: Any) -> None:
    for name in ("cupy", "torch"):
        monkeypatch.setitem(sys.modules, name, object())
    pools = Pools()

    assert pools.end(pools.begin(0)) is None
