"""Tracing a C library through ctypes: it works as before, and every call is a span."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import span, trace_fn
from gpu_narration._types import Kind, Outcome
from gpu_narration.ffi import trace_library
from gpu_narration.tracefile import Event, Phase, Trace
from gpu_narration.tracefile.format import Value
from tests.support.recording import Seen, recorded
from tests.support.sample import build_sample

Callback = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)
Compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int32), ("y", ctypes.c_int32), ("weight", ctypes.c_double)]


@pytest.fixture(scope="session")
def library_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def lib(library_path: Path) -> ctypes.CDLL:
    """The library, not yet traced; each test has functions of its own."""
    return ctypes.CDLL(str(library_path), use_errno=True)


@pytest.fixture
def traced(lib: ctypes.CDLL) -> Iterator[ctypes.CDLL]:
    with trace_library(lib):
        yield lib


def _calls(seen: Seen) -> list[tuple[str | None, str | None]]:
    """Actor and function of every call, in order."""
    return [(event.names[0], event.names[1]) for event in seen.begins(Kind.FOREIGN)]


def _names(seen: Seen) -> list[str | None]:
    return [name for _, name in _calls(seen)]


def _arguments(seen: Seen) -> list[Value]:
    return [argument.value for argument in seen.begins(Kind.FOREIGN)[0].arguments]


def _end(seen: Seen) -> Event:
    return seen.ends(Kind.FOREIGN)[0]


# ---- what is recorded ----


def test_a_call_is_a_begin_and_an_end(tmp_path: Path, traced: Any) -> None:
    seen = recorded(tmp_path, lambda: traced.add(2, 3))

    assert [(event.phase, event.names[1]) for event in seen.events] == [
        (Phase.BEGIN, "add"),
        (Phase.END, "add"),
    ]


def test_arguments_are_recorded_as_they_are(tmp_path: Path, traced: Any) -> None:
    seen = recorded(tmp_path, lambda: traced.add(2, -3))

    assert _arguments(seen) == [2, -3]


def test_the_result_is_recorded(tmp_path: Path, traced: Any) -> None:
    seen = recorded(tmp_path, lambda: traced.add(2, 3))

    assert [argument.value for argument in _end(seen).arguments] == [5]


def test_a_call_reads_as_two_lines(tmp_path: Path, traced: Any) -> None:
    first, last = recorded(tmp_path, lambda: traced.add(2, 3)).lines()

    assert (first, last.partition(" elapsed_ms=")[0]) == (
        'TRACE sample add arg0=2 arg1=3 "add started"',
        "TRACE sample add result=5",
    )


def test_a_structure_is_recorded_by_type_and_size(tmp_path: Path, traced: Any) -> None:
    traced.sum_point.argtypes = [Point]
    seen = recorded(tmp_path, lambda: traced.sum_point(Point(1, 2, 0.5)))

    assert 'arg0="<Point, 16 bytes>"' in seen.lines()[0]


@pytest.mark.parametrize("wrap", [ctypes.byref, ctypes.pointer])
def test_no_pointer_is_followed(tmp_path: Path, traced: Any, wrap: Any) -> None:
    seen = recorded(tmp_path, lambda: traced.move_point(wrap(Point(1, 2, 0.5)), 7))

    assert "Point" not in seen.lines()[0].replace("LP_Point", "")


def test_simple_ctypes_values_are_recorded_by_value(tmp_path: Path, traced: Any) -> None:
    seen = recorded(tmp_path, lambda: traced.add(ctypes.c_int32(2), ctypes.c_int32(3)))

    assert _arguments(seen) == [2, 3]


def test_a_call_belongs_to_the_span_round_it(tmp_path: Path, traced: Any) -> None:
    def program() -> None:
        with span("demo", "step"):
            traced.nothing()

    seen = recorded(tmp_path, program)

    assert seen.begins(Kind.FOREIGN)[0].span == seen.begins(Kind.SPAN)[0].id


@pytest.mark.parametrize(("actor", "shown"), [(None, "sample"), ("engine", "engine")])
def test_the_actor_is_the_library_or_what_was_given(
    tmp_path: Path, lib: Any, actor: str | None, shown: str
) -> None:
    with trace_library(lib, actor=actor):
        seen = recorded(tmp_path, lib.nothing)

    assert _calls(seen) == [(shown, "nothing")]


def test_nothing_is_recorded_without_a_recording(traced: Any) -> None:
    assert traced.add(2, 3) == 5


# ---- what must stay as it was ----


def test_results_are_what_they_were(tmp_path: Path, traced: Any) -> None:
    traced.half.argtypes, traced.half.restype = [ctypes.c_double], ctypes.c_double
    results: list[float] = []

    recorded(tmp_path, lambda: results.append(traced.half(5)))

    assert results == [2.5]


def test_restype_set_before_tracing_stays(lib: Any) -> None:
    lib.greeting.restype = ctypes.c_char_p

    with trace_library(lib):
        assert lib.greeting() == b"hello"


def test_argtypes_set_while_traced_stay_afterwards(lib: Any) -> None:
    with trace_library(lib):
        lib.half.argtypes = [ctypes.c_double]

    assert lib.half.argtypes == [ctypes.c_double]


def test_errcheck_is_asked(tmp_path: Path, traced: Any) -> None:
    traced.add.errcheck = lambda result, function, args: (result, function is traced.add, args)
    results: list[object] = []

    recorded(tmp_path, lambda: results.append(traced.add(2, 3)))

    assert results == [(5, True, (2, 3))]


def test_an_error_from_errcheck_comes_through_and_is_recorded(tmp_path: Path, traced: Any) -> None:
    def check(result: int, function: object, args: object) -> int:
        raise OSError("refused")

    traced.add.errcheck = check

    def program() -> None:
        with pytest.raises(OSError, match="refused"):
            traced.add(2, 3)

    end = _end(recorded(tmp_path, program))

    assert (end.outcome, end.error_type, end.error_text) == (Outcome.ERROR, "OSError", "refused")


def test_an_argument_error_comes_through_and_is_recorded(tmp_path: Path, traced: Any) -> None:
    traced.add.argtypes = [ctypes.c_int32, ctypes.c_int32]

    def program() -> None:
        with pytest.raises(ctypes.ArgumentError):
            traced.add("two", 3)

    assert _end(recorded(tmp_path, program)).error_type == "ArgumentError"


def test_a_function_can_be_cast(traced: Any) -> None:
    assert ctypes.cast(traced.add, ctypes.c_void_p).value


def test_a_function_stays_the_same_object(lib: Any) -> None:
    before = lib.add

    with trace_library(lib):
        assert lib.add is before


def test_a_function_keeps_its_name(traced: Any) -> None:
    assert traced.add.__name__ == "add"


def test_an_unknown_function_is_still_an_attribute_error(traced: Any) -> None:
    with pytest.raises(AttributeError):
        _ = traced.no_such_function


def test_errno_is_what_the_function_set(tmp_path: Path, traced: Any) -> None:
    numbers: list[int] = []

    def program() -> None:
        traced.fail_with(77)
        numbers.append(ctypes.get_errno())

    recorded(tmp_path, program)

    assert numbers == [77]


def test_a_structure_behind_a_pointer_is_changed(tmp_path: Path, traced: Any) -> None:
    point = Point(1, 2, 0.5)

    recorded(tmp_path, lambda: traced.move_point(ctypes.byref(point), 7))

    assert (point.x, point.y) == (8, 9)


def test_a_library_that_holds_the_gil_is_traced(tmp_path: Path, library_path: Path) -> None:
    lib = ctypes.PyDLL(str(library_path))

    with trace_library(lib):
        seen = recorded(tmp_path, lambda: lib.add(2, 3))

    assert _names(seen) == ["add"]


def test_pythons_own_functions_are_traced_and_keep_their_results(tmp_path: Path) -> None:
    api = ctypes.PyDLL(None)
    api.Py_GetVersion.restype = ctypes.c_char_p

    with trace_library(api):
        results: list[bytes] = []
        recorded(tmp_path, lambda: results.append(api.Py_GetVersion()))

    assert results == [sys.version.encode()]


# ---- callbacks ----


def test_a_python_callback_is_a_span_inside_the_call(tmp_path: Path, traced: Any) -> None:
    @trace_fn(actor="demo")
    def double(value: int) -> int:
        return value * 2

    callback = Callback(double)

    seen = recorded(tmp_path, lambda: traced.call_back(callback, 21))

    assert seen.begins(Kind.FUNCTION)[0].span == seen.begins(Kind.FOREIGN)[0].id


def test_a_call_from_a_callback_is_a_span_inside_it(tmp_path: Path, traced: Any) -> None:
    callback = Callback(lambda value: traced.add(value, 1))

    seen = recorded(tmp_path, lambda: traced.call_back(callback, 21))

    outer, inner = seen.begins(Kind.FOREIGN)
    assert (inner.names[1], inner.span) == ("add", outer.id)


def test_qsort_calls_back_for_every_comparison(tmp_path: Path) -> None:
    libc = ctypes.CDLL(None)
    compared: list[int] = []

    @trace_fn(actor="demo")
    def compare(first: Any, second: Any) -> int:
        compared.append(1)
        return int(first[0]) - int(second[0])

    numbers = (ctypes.c_int * 5)(5, 1, 4, 2, 3)
    with trace_library(libc, actor="libc"):
        seen = recorded(
            tmp_path, lambda: libc.qsort(numbers, 5, ctypes.sizeof(ctypes.c_int), Compare(compare))
        )

    assert (list(numbers), len(seen.ends(Kind.FUNCTION))) == ([1, 2, 3, 4, 5], len(compared))


# ---- threads, the GIL, death ----


def test_calls_of_eight_threads_are_all_recorded(tmp_path: Path, traced: Any) -> None:
    def work(number: int) -> None:
        for index in range(500):
            traced.add(number, index)

    def program() -> None:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seen = recorded(tmp_path, program)
    by_thread = Counter(event.arguments[0].value for event in seen.begins(Kind.FOREIGN))

    assert by_thread == dict.fromkeys(range(8), 500)


def test_calls_of_eight_threads_all_end_once(tmp_path: Path, traced: Any) -> None:
    def program() -> None:
        threads = [
            threading.Thread(target=lambda: [traced.nothing() for _ in range(500)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seen = recorded(tmp_path, program)

    assert sorted(event.id for event in seen.begins(Kind.FOREIGN)) == sorted(
        event.span_id or 0 for event in seen.ends(Kind.FOREIGN)
    )


def test_other_python_threads_run_during_a_call(tmp_path: Path, traced: Any) -> None:
    """GIVEN a call that returns 1 only if Python code of another thread runs inside it."""
    begun, end = ctypes.c_int32(0), ctypes.c_int32(0)
    results: list[int] = []

    def wait() -> None:
        results.append(traced.wait_for_word(ctypes.byref(begun), ctypes.byref(end)))

    def program() -> None:
        waiting = threading.Thread(target=wait)
        waiting.start()
        while not begun.value:
            time.sleep(0.001)
        end.value = 1
        waiting.join()

    recorded(tmp_path, program)

    assert results == [1]


CRASHING = """
    import ctypes, sys
    import gpu_narration
    from gpu_narration.ffi import trace_library

    lib = ctypes.CDLL(sys.argv[1])
    trace_library(lib)
    gpu_narration.start(sys.argv[2], backend="none", vram=False, nvtx="off", ring_bytes=1 << 20)
    lib.add(2, 3)
    lib.crash()
"""


def test_a_call_that_kills_the_process_is_in_the_trace(tmp_path: Path, library_path: Path) -> None:
    trace = tmp_path / "dead.gnt"

    died = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CRASHING), str(library_path), str(trace)],
        cwd=tmp_path,  # not a source tree, which would hide the installed package
        check=False,
        capture_output=True,
    )
    events = [(event.phase, event.names[1]) for event in Trace(trace).events()]

    assert (died.returncode < 0, events) == (
        True,
        [(Phase.BEGIN, "add"), (Phase.END, "add"), (Phase.BEGIN, "crash")],
    )
