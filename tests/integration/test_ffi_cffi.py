"""Tracing a library through cffi: its functions stay what they are, and every call is a span."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import pytest

from gpu_narration._errors import NothingToTraceError
from gpu_narration._types import Kind, Outcome
from gpu_narration.ffi import Function, trace_function, trace_library, untrace
from gpu_narration.tracefile.format import Pointer, Summary, Value
from tests.support import cffi_sample
from tests.support.recording import Seen, recorded
from tests.support.sample import SOURCE, build_sample

MODES = ("in line", "out of line", "compiled")


@pytest.fixture(scope="session")
def modes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """ffi and lib, by mode."""
    directory = tmp_path_factory.mktemp("cffi")
    library = build_sample(directory)
    module = cffi_sample.compiled(SOURCE, directory)
    return {
        "in line": cffi_sample.in_line(library),
        "out of line": cffi_sample.out_of_line(library, directory),
        "compiled": (module.ffi, module.lib),
    }


@pytest.fixture(params=MODES)
def both(request: pytest.FixtureRequest, modes: dict[str, Any]) -> Any:
    return modes[request.param]


def _names(seen: Seen) -> list[str | None]:
    return [event.names[1] for event in seen.begins(Kind.FOREIGN)]


def _arguments(seen: Seen) -> list[Value]:
    return [argument.value for argument in seen.begins(Kind.FOREIGN)[0].arguments]


def test_a_call_is_a_begin_and_an_end_with_its_result(tmp_path: Path, both: Any) -> None:
    _, lib = both
    with trace_library(lib, actor="engine"):
        first, last = recorded(tmp_path, lambda: lib.add(2, 3)).lines()

    assert (first, last.partition(" elapsed_ms=")[0]) == (
        'TRACE engine add arg0=2 arg1=3 "add started"',
        "TRACE engine add result=5",
    )


def test_results_are_what_they_were(tmp_path: Path, both: Any) -> None:
    _, lib = both
    results: list[object] = []
    with trace_library(lib):
        recorded(tmp_path, lambda: results.extend((lib.add(2, 3), lib.half(5))))

    assert results == [5, 2.5]


def test_a_function_stays_the_same_object(both: Any) -> None:
    _, lib = both
    before = lib.add
    with trace_library(lib):
        assert lib.add is before


def test_a_name_bound_before_tracing_is_traced(tmp_path: Path, both: Any) -> None:
    _, lib = both
    add = lib.add
    with trace_library(lib) as handle:
        seen = recorded(tmp_path, lambda: add(2, 3))

    assert (_names(seen), handle.escaped) == (["add"], ())


def test_cffi_still_knows_the_function(tmp_path: Path, both: Any) -> None:
    """GIVEN a traced function, WHEN cffi is asked for its type and its address."""
    ffi, lib = both
    with trace_library(lib):
        pointer = ffi.addressof(lib, "add")
        kind = ffi.typeof(lib.add)

    assert (ffi.typeof(pointer) is kind, pointer(2, 3)) == (True, 5)


def test_a_callback_is_inside_the_call(tmp_path: Path, both: Any) -> None:
    ffi, lib = both
    callback = ffi.callback("int(int)", lambda value: lib.add(value, 1))
    with trace_library(lib):
        seen = recorded(tmp_path, lambda: lib.call_back(callback, 21))

    outer, inner = seen.begins(Kind.FOREIGN)
    assert (inner.names[1], inner.span) == ("add", outer.id)


def test_a_callback_from_a_thread_of_c_is_a_thread_of_the_trace(tmp_path: Path, both: Any) -> None:
    ffi, lib = both
    callback = ffi.callback("int(int)", lambda value: lib.add(value, 1))
    results: list[int] = []
    with trace_library(lib):
        seen = recorded(tmp_path, lambda: results.append(lib.call_back_on_a_thread(callback, 21)))

    outer, inner = seen.begins(Kind.FOREIGN)
    assert (results, outer.thread == inner.thread, inner.span) == ([22], False, None)


def test_pointers_are_addresses_and_arrays_are_lengths(tmp_path: Path, both: Any) -> None:
    ffi, lib = both
    array = ffi.new("int[3]")
    pointer = ffi.cast("void *", array)
    with trace_library(lib):
        seen = recorded(tmp_path, lambda: (lib.is_there(pointer), lib.is_there(array)))

    values = [event.arguments[0].value for event in seen.begins(Kind.FOREIGN)]
    assert values == [Pointer(int(ffi.cast("uintptr_t", array))), Summary("int[3]")]


def test_a_returned_pointer_is_not_followed_and_can_be_freed(tmp_path: Path, both: Any) -> None:
    ffi, lib = both
    texts: list[bytes] = []

    def program() -> None:
        copy = lib.copy_text(b"to be freed")
        texts.append(ffi.string(copy))
        lib.free_text(copy)

    with trace_library(lib):
        seen = recorded(tmp_path, program)

    returned = seen.ends(Kind.FOREIGN)[0].arguments[0].value
    freed = seen.begins(Kind.FOREIGN)[1].arguments[0].value
    assert (texts, isinstance(returned, Pointer), returned == freed) == (
        [b"to be freed"], True, True,
    )  # fmt: skip


def test_a_structure_by_value_is_its_type_and_size(tmp_path: Path, modes: Any) -> None:
    ffi, lib = modes["compiled"]
    point = ffi.new("struct point *", (1, 2, 0.5))
    results: list[int] = []
    with trace_library(lib):
        seen = recorded(tmp_path, lambda: results.append(lib.sum_point(point[0])))

    assert (results, _arguments(seen)) == ([3], [Summary("<struct point, 16 bytes>")])


def test_an_error_of_cffi_comes_through_and_is_recorded(tmp_path: Path, both: Any) -> None:
    _, lib = both

    def program() -> None:
        with pytest.raises(TypeError):
            lib.add("two", 3)

    with trace_library(lib):
        seen = recorded(tmp_path, program)

    end = seen.ends(Kind.FOREIGN)[0]
    assert (end.outcome, end.error_type) == (Outcome.ERROR, "TypeError")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_wrong_number_of_arguments_is_the_same_error(both: Any, count: int) -> None:
    _, lib = both
    errors = []
    for how in (None, lib):
        handle = None if how is None else trace_library(lib)
        for function, extra in ((lib.add, 3), (lib.half, 2), (lib.call_back, 5)):
            with pytest.raises(TypeError) as caught:
                function(*range(extra + count))
            errors.append(str(caught.value))
        if handle is not None:
            handle.untrace()

    assert errors[:3] == errors[3:]


def test_keywords_are_refused_as_before(both: Any) -> None:
    _, lib = both
    with trace_library(lib), pytest.raises(TypeError, match="keyword"):
        lib.add(a=2, b=3)


def test_a_specialised_call_is_traced_too(tmp_path: Path, both: Any) -> None:
    """GIVEN a loop whose call the interpreter has a shortcut for, WHEN it is traced."""
    _, lib = both

    def loop() -> None:
        for _ in range(200):
            lib.half(1.0)

    loop()
    with trace_library(lib):
        seen = recorded(tmp_path, loop)

    assert len(_names(seen)) == 200


def test_patterns_choose_the_functions(tmp_path: Path, both: Any) -> None:
    _, lib = both
    with trace_library(lib, include="*a*", exclude="*back*"):
        seen = recorded(tmp_path, lambda: (lib.add(2, 3), lib.is_there(lib_null(both))))

    assert _names(seen) == ["add"]


def lib_null(both: Any) -> Any:
    return both[0].NULL


def test_hooks_and_failures_are_as_of_ctypes(tmp_path: Path, both: Any) -> None:
    _, lib = both
    preset = {"add": Function(before=lambda args: {"n": len(args)}, failure={5: "five"})}
    with trace_library(lib, describe=preset):
        seen = recorded(tmp_path, lambda: lib.add(2, 3))

    begin, end = seen.begins(Kind.FOREIGN)[0], seen.ends(Kind.FOREIGN)[0]
    assert (begin.fields, end.error_text) == ({"n": 2}, "five")


def test_untrace_stops_the_recording_and_twice_is_no_error(tmp_path: Path, both: Any) -> None:
    _, lib = both
    handle = trace_library(lib)
    handle.untrace()
    handle.untrace()
    seen = recorded(tmp_path, lambda: lib.add(2, 3))

    assert _names(seen) == []


def test_untrace_keeps_no_function_alive(both: Any) -> None:
    _, lib = both
    before = sys.getrefcount(lib.half)
    trace_library(lib).untrace()
    gc.collect()

    after = sys.getrefcount(lib.half)
    assert after == before


def test_other_data_of_cffi_is_called_as_before(tmp_path: Path, both: Any) -> None:
    """GIVEN a traced library, WHEN a function pointer that is none of its functions is called."""
    ffi, lib = both
    double = ffi.callback("int(int)", lambda value: value * 2)
    with trace_library(lib):
        results: list[int] = []
        seen = recorded(tmp_path, lambda: results.append(double(21)))

    assert (results, _names(seen)) == ([42], [])


def test_one_function_alone_is_traced(tmp_path: Path, both: Any) -> None:
    _, lib = both
    assert trace_function(lib.add, actor="one") is lib.add
    seen = recorded(tmp_path / "a", lambda: (lib.add(2, 3), lib.half(1.0)))
    untrace(lib.add)
    later = recorded(tmp_path / "b", lambda: lib.add(2, 3))

    assert (_names(seen), _names(later)) == (["add"], [])


def test_the_actor_is_the_library(modes: dict[str, Any]) -> None:
    actors = []
    for mode in MODES:
        with trace_library(modes[mode][1]) as handle:
            actors.append(handle.actor)

    assert actors == ["sample", "sample", "sample_api"]


@pytest.mark.parametrize("mode", ["in line", "out of line"])
def test_the_actor_of_a_function_alone_is_its_library(
    tmp_path: Path, modes: dict[str, Any], mode: str
) -> None:
    _, lib = modes[mode]
    trace_function(lib.add)
    seen = recorded(tmp_path, lambda: lib.add(2, 3))
    untrace(lib.add)
    assert seen.begins(Kind.FOREIGN)[0].names[0] == "sample"


def test_a_library_without_such_functions_is_an_error(both: Any) -> None:
    _, lib = both
    with pytest.raises(NothingToTraceError, match="cdef"):
        trace_library(lib, include="no_such_*")
