"""What is told when memory runs out."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import span, trace_fn
from gpu_narration._types import Kind, Level
from gpu_narration.cuda import CudaError, MockGpu
from gpu_narration.cuda.nesting import Nesting
from gpu_narration.cuda.oom import Failure, recognise
from gpu_narration.cuda.takers import OTHERS, Takers
from tests.support.recording import ManualClock, Seen, recorded, recorded_on_mock
from tests.support.run import run_python
from tests.support.sample import build_sample

GIB, MIB = 1 << 30, 1 << 20


class OutOfMemoryError(MemoryError):
    """Named as CuPy's and PyTorch's."""


def _post_mortems(seen: Seen) -> list[Any]:
    return [event for event in seen.events if event.names[1] == "out_of_memory"]


# ---- what an error says ----

TORCH = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 1 has a total capacity of 23.65 GiB "
    "of which 5.12 GiB is free. Of the allocated memory 17.90 GiB is allocated by PyTorch, and "
    "123.40 MiB is reserved by PyTorch but unallocated."
)
CUPY = "Out of memory allocating 1,073,741,824 bytes (allocated so far: 512 bytes)."
CUPY_LIMIT = (
    "Out of memory allocating 4,096 bytes (allocated so far: 512 bytes, limit set to: 2,048 bytes)."
)


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (TORCH, Failure("OutOfMemoryError", False, 20 * GIB, True, None, 1)),
        (CUPY, Failure("OutOfMemoryError", False, GIB)),
        (CUPY_LIMIT, Failure("OutOfMemoryError", False, 4096, limit_bytes=2048)),
        ("something else", Failure("OutOfMemoryError")),
        ("Tried to allocate ,,,.. GiB", Failure("OutOfMemoryError", rounded=True)),
        (17, Failure("OutOfMemoryError")),
    ],
)
def test_an_errors_text_is_read_as_far_as_it_goes(text: object, failure: Failure) -> None:
    assert recognise(OutOfMemoryError(text)) == failure


def test_an_error_of_the_runtime_is_known_by_its_number() -> None:
    class CUDARuntimeError(RuntimeError):
        status = 2

    assert recognise(CUDARuntimeError()) == Failure("CUDARuntimeError")


@pytest.mark.parametrize("status", [1, 700, None, "2"])
def test_other_errors_of_the_runtime_are_none_of_memory(status: object) -> None:
    class CUDARuntimeError(RuntimeError):
        pass

    error = CUDARuntimeError()
    error.status = status  # type: ignore[attr-defined]
    assert recognise(error) is None


def test_an_error_whose_number_cannot_be_asked_is_none_of_memory() -> None:
    class CUDARuntimeError(RuntimeError):
        @property
        def status(self) -> int:
            raise ZeroDivisionError

    assert recognise(CUDARuntimeError()) is None


# ---- on the simulated GPU ----


def _fills_up(gpu: MockGpu, clock: ManualClock) -> None:
    with span("engine", "load_model", vram=True):
        gpu.malloc(15 * GIB)
    with span("engine", "warm_up", vram=True):
        gpu.pool().malloc(2 * GIB)
        kept = gpu.pool().malloc(GIB)
        gpu.pool().malloc(GIB // 2)
        gpu.pool().free(kept)
    prefill = span("engine", "prefill", vram=True)
    with contextlib.suppress(CudaError), span("server", "request"), prefill:
        gpu.malloc(3 * GIB)
        gpu.malloc(8 * GIB)


ONE_LINE = (
    'ERROR vram out_of_memory gpu0 failed="CudaError" simulated=true '
    '"Out of memory on simulated gpu0 in prefill: 8.0 GiB were asked for, '
    "2.5 GiB of 24.0 GiB were free, pools held 3.5 GiB, 1.0 GiB of it unused; "
    'taken by engine load_model 15.0 GiB, engine prefill 3.0 GiB, engine warm_up 2.5 GiB"'
)


def test_a_failed_allocation_is_one_line_with_who_took_what(tmp_path: Path) -> None:
    seen = recorded_on_mock(tmp_path, _fills_up, vram=True)

    assert seen.lines(Kind.NARRATION) == [ONE_LINE]


def test_a_post_mortem_has_every_number_for_machines(tmp_path: Path) -> None:
    [event] = _post_mortems(recorded_on_mock(tmp_path, _fills_up, vram=True))

    assert event.level is Level.ERROR
    assert event.fields == {
        "failed": "CudaError", "null": False, "device": 0, "in_scope": "prefill",
        "vram_requested_bytes": 8 * GIB, "vram_free_bytes": 5 * GIB // 2,
        "vram_used_bytes": 43 * GIB // 2, "vram_total_bytes": 24 * GIB, "vram_source": "exact",
        "vram_reserved_bytes": 7 * GIB // 2, "vram_cached_bytes": GIB, "vram_pool": "mock",
        "taken_1": "engine load_model", "taken_1_bytes": 15 * GIB,
        "taken_2": "engine prefill", "taken_2_bytes": 3 * GIB,
        "taken_3": "engine warm_up", "taken_3_bytes": 5 * GIB // 2,
        "simulated": True,
    }  # fmt: skip


def test_it_lies_in_the_scope_that_failed(tmp_path: Path) -> None:
    seen = recorded_on_mock(tmp_path, _fills_up, vram=True)

    [event] = _post_mortems(seen)
    [prefill] = [begin for begin in seen.begins() if begin.names[1] == "prefill"]
    assert event.span == prefill.id


def test_an_exception_is_told_of_once_however_many_scopes_it_leaves(tmp_path: Path) -> None:
    @trace_fn
    def fails(gpu: MockGpu) -> None:
        with span("a", "inner"):
            gpu.malloc(25 * GIB)

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        for _ in range(2):  # and a second one is another one
            with contextlib.suppress(CudaError), span("a", "outer", vram=True):
                fails(gpu)

    assert len(_post_mortems(recorded_on_mock(tmp_path, program, vram=True))) == 2


def test_an_exception_that_is_raised_again_later_is_told_of_once(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        error = OutOfMemoryError(CUPY)
        for _ in range(3):
            with contextlib.suppress(MemoryError), span("a", "step"):
                raise error

    assert len(_post_mortems(recorded_on_mock(tmp_path, program, vram=True))) == 1


@pytest.mark.parametrize("error", [MemoryError, ValueError, KeyboardInterrupt])
def test_other_exceptions_are_no_post_mortem(tmp_path: Path, error: type[BaseException]) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with contextlib.suppress(error), span("a", "step", vram=True):
            raise error("out of memory")

    assert _post_mortems(recorded_on_mock(tmp_path, program, vram=True)) == []


def test_another_error_of_the_gpu_is_no_post_mortem(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with contextlib.suppress(CudaError), span("a", "step", vram=True):
            gpu.free(17)

    assert _post_mortems(recorded_on_mock(tmp_path, program, vram=True)) == []


def test_what_was_given_back_is_said_beside_who_took(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("a", "load", vram=True):
            address = gpu.malloc(2 * GIB)
        with span("a", "unload", vram=True):
            gpu.free(address)
        with contextlib.suppress(CudaError), span("a", "step"):
            gpu.malloc(25 * GIB)

    [event] = _post_mortems(recorded_on_mock(tmp_path, program, vram=True))
    assert event.fields["given_back_bytes"] == 2 * GIB


def test_without_a_gpu_it_says_what_is_unknown_and_why(tmp_path: Path) -> None:
    def program() -> None:
        with contextlib.suppress(MemoryError), span("a", "step"):
            raise OutOfMemoryError(CUPY)

    seen = recorded(tmp_path, program)

    [line] = seen.lines(Kind.NARRATION)
    assert line == (
        'ERROR vram out_of_memory gpu0 failed="OutOfMemoryError" "Out of memory on gpu0 in step: '
        '1.0 GiB were asked for, how much was free is unknown (VRAM is switched off)"'
    )


def test_an_exception_is_not_kept_alive_by_having_been_told_of(tmp_path: Path) -> None:
    import weakref

    kept = []

    def program() -> None:
        try:
            with span("a", "step"):
                raise OutOfMemoryError(CUPY)
        except MemoryError as error:
            kept.append(weakref.ref(error))

    recorded(tmp_path, program)

    assert kept[0]() is None


# ---- who took what ----


def test_a_scope_counts_without_the_scopes_inside_it() -> None:
    nesting, takers = Nesting(), Takers()
    outer = nesting.enter(1, ("a", "outer"), 0, 0)
    inner = nesting.enter(2, ("a", "inner"), 0, 1)
    nesting.leave(inner)
    takers.ended(inner, 5)
    nesting.leave(outer)
    takers.ended(outer, 7)

    assert [(each.name[1], each.bytes) for each in takers.listed(0, {})] == [
        ("inner", 5), ("outer", 2),
    ]  # fmt: skip


def test_a_scope_of_an_earlier_recording_is_round_nothing_in_a_later_one() -> None:
    """GIVEN a scope that its recording did not outlive WHEN another begins THEN it is no ancestor."""
    earlier, later = Nesting(), Nesting()
    stale = earlier.enter(1, ("a", "stale"), 0, 0)

    place = later.enter(7, ("a", "new"), 0, 5)

    assert place.outer is None
    later.leave(place)
    earlier.leave(stale)


def test_open_scopes_count_with_what_they_took_until_now() -> None:
    nesting, takers = Nesting(), Takers()
    outer = nesting.enter(1, ("a", "outer"), 0, 0)
    inner = nesting.enter(2, ("a", "inner"), 0, 1)

    listed = takers.listed(0, {outer: 9, inner: 4})

    assert [(each.name[1], each.bytes) for each in listed] == [("outer", 5), ("inner", 4)]
    nesting.leave(inner)
    nesting.leave(outer)


def test_scopes_beside_each_other_took_at_most_so_much() -> None:
    nesting, takers = Nesting(), Takers()
    one = nesting.enter(1, ("a", "one"), 0, 0)
    two = nesting.enter(1 << 40, ("a", "two"), 0, 0)
    for place in (one, two):
        nesting.leave(place)
        takers.ended(place, 3)

    assert [each.at_most for each in takers.listed(0, {})] == [True, True]


def test_the_table_is_bounded_and_loses_no_bytes() -> None:
    nesting, takers = Nesting(), Takers()
    for number in range(1, 1001):
        place = nesting.enter(number, ("a", f"step_{number}"), 0, 0)
        nesting.leave(place)
        takers.ended(place, number)

    listed = takers.listed(0, {})
    assert len(listed) == 256
    assert sum(each.bytes for each in listed) == sum(range(1, 1001))
    assert listed[0].name == OTHERS


# ---- NULL instead of an object ----

NULL = """
import ctypes, sys
import gpu_narration as gn
from gpu_narration import ffi
lib = ctypes.CDLL(sys.argv[1])
lib.llama_model_load_from_file.restype = {restype}
lib.llama_model_name.restype = ctypes.c_char_p
with gn.start(sys.argv[2], backend="mock", nvtx="off"), ffi.trace_library(lib, vram={vram}):
    lib.llama_model_load_from_file(1)
    lib.llama_model_load_from_file(0)
    lib.llama_model_name(0)
"""


def _run_null(tmp_path: Path, restype: str, *, vram: bool = False) -> list[dict[str, Any]]:
    library, trace = build_sample(tmp_path), tmp_path / "null.gnt"
    code = NULL.format(restype=restype, vram=vram)
    run_python(code, str(library), str(trace))
    show = "from gpu_narration.cli.app import main; import sys; sys.exit(main())"
    shown = run_python(show, "show", "--json", str(trace))
    return [json.loads(line) for line in shown.stdout.splitlines()]


@pytest.mark.parametrize("restype", ["ctypes.c_void_p", "ctypes.POINTER(ctypes.c_int)"])
def test_a_model_that_comes_back_as_null_is_told_of_once(tmp_path: Path, restype: str) -> None:
    """GIVEN one model that loads and one that does not THEN the second is told of, in its call."""
    events = _run_null(tmp_path, restype)

    [event] = [event for event in events if event["action"] == "out_of_memory"]
    assert event["text"] == (
        "llama_model_load_from_file gave NULL on simulated gpu0, perhaps for want of memory: "
        "how much was asked for is unknown, 24.0 GiB of 24.0 GiB were free"
    )
    calls = [event for event in events if event["action"] == "llama_model_load_from_file"]
    assert event["span"] == calls[2]["id"]


def test_a_zero_that_is_no_pointer_is_no_failure(tmp_path: Path) -> None:
    events = _run_null(tmp_path, "ctypes.c_int")

    assert [event for event in events if event["action"] == "out_of_memory"] == []


def test_calls_of_a_library_read_memory_where_they_are_asked_to(tmp_path: Path) -> None:
    events = _run_null(tmp_path, "ctypes.c_void_p", vram=True)

    ends = [event for event in events if event["kind"] == "foreign" and event["phase"] == "end"]
    assert [event["fields"]["vram_delta_bytes"] for event in ends] == [0, 0, 0]
