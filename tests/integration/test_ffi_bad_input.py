"""Foreign functions that go wrong, or are not what their declaration says."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_narration._errors import RAISE_VARIABLE, OptionError, internal_error
from gpu_narration._types import Kind
from gpu_narration.ffi import Function, llama, trace_function, trace_library, untrace
from gpu_narration.tracefile import Phase, Trace
from gpu_narration.tracefile.format import Pointer, Summary
from tests.support.recording import Seen, recorded
from tests.support.run import run_python
from tests.support.sample import build_sample


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int32), ("y", ctypes.c_int32), ("weight", ctypes.c_double))


@pytest.fixture(scope="session")
def library_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def lib(library_path: Path) -> Any:
    return ctypes.CDLL(str(library_path))


def _values(seen: Seen, call: int = 0) -> list[object]:
    return [argument.value for argument in seen.begins(Kind.FOREIGN)[call].arguments]


def _called(seen: Seen) -> list[str | None]:
    return [event.names[1] for event in seen.begins(Kind.FOREIGN)]


# ---- calls that never come back ----

CFFI_CRASH = """
    import sys
    import cffi
    import gpu_narration
    from gpu_narration.ffi import trace_library

    ffi = cffi.FFI()
    ffi.cdef("int add(int, int); void crash(void);")
    lib = ffi.dlopen(sys.argv[1])
    trace_library(lib)
    gpu_narration.start(sys.argv[2], backend="none", vram=False, nvtx="off", ring_bytes=1 << 20)
    lib.add(2, 3)
    lib.crash()
"""
HOOKED_CRASH = """
    import ctypes, sys
    import gpu_narration
    from gpu_narration.ffi import Function, trace_library

    lib = ctypes.CDLL(sys.argv[1])
    trace_library(lib, describe={"crash": Function(before=lambda args: {"loading": "file.gguf"})})
    gpu_narration.start(sys.argv[2], backend="none", vram=False, nvtx="off", ring_bytes=1 << 20)
    lib.add(2, 3)
    lib.crash()
"""


@pytest.mark.parametrize("program", [CFFI_CRASH, HOOKED_CRASH], ids=["cffi", "with a hook"])
def test_the_call_that_killed_the_process_is_the_last_in_the_trace(
    tmp_path: Path, library_path: Path, program: str
) -> None:
    trace = tmp_path / "dead.gnt"
    died = run_python(program, str(library_path), str(trace), check=False)
    events = [(event.phase, event.names[1]) for event in Trace(trace).events()]

    assert (died.returncode < 0, events) == (
        True,
        [(Phase.BEGIN, "add"), (Phase.END, "add"), (Phase.BEGIN, "crash")],
    )


def test_what_before_gave_outlives_a_crash(tmp_path: Path, library_path: Path) -> None:
    trace = tmp_path / "dead.gnt"
    run_python(HOOKED_CRASH, str(library_path), str(trace), check=False)

    assert list(Trace(trace).events())[-1].fields == {"loading": "file.gguf"}


# ---- declarations ----


def test_without_argtypes_arguments_are_what_was_given(tmp_path: Path, lib: Any) -> None:
    assert lib.add.argtypes is None
    with trace_library(lib):
        seen = recorded(tmp_path, lambda: lib.add(2, ctypes.c_int32(3)))

    assert _values(seen) == [2, 3]


def test_variable_arguments_are_all_there(tmp_path: Path) -> None:
    libc: Any = ctypes.CDLL(None)
    buffer = ctypes.create_string_buffer(64)
    libc.snprintf.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p]
    with trace_library(libc, actor="libc"):
        seen = recorded(
            tmp_path,
            lambda: libc.snprintf(buffer, 64, b"%d %s %.1f", 7, b"eight", ctypes.c_double(9)),
        )

    assert (buffer.value, _values(seen)[1:]) == (
        b"7 eight 9.0",
        [64, b"%d %s %.1f", 7, b"eight", 9.0],
    )


def test_printf_prints_what_it_did(tmp_path: Path) -> None:
    program = """
        import ctypes, sys
        import gpu_narration
        from gpu_narration.ffi import trace_library

        libc = ctypes.CDLL(None)
        trace_library(libc, actor="libc")
        gpu_narration.start(sys.argv[1], backend="none", vram=False, nvtx="off")
        libc.printf(b"%s %d\\n", b"answer", 42)
        libc.fflush(None)
    """
    done = run_python(program, str(tmp_path / "printf.gnt"))

    calls = [e.names[1] for e in Trace(tmp_path / "printf.gnt").events() if e.phase is Phase.BEGIN]
    assert (done.stdout, calls) == ("answer 42\n", ["printf", "fflush"])


def test_a_structure_by_value_arrives_and_is_shown_by_type(tmp_path: Path, lib: Any) -> None:
    lib.sum_point.argtypes, lib.sum_point.restype = [Point], ctypes.c_int64
    results: list[int] = []
    with trace_library(lib):
        seen = recorded(tmp_path, lambda: results.append(lib.sum_point(Point(1, 2, 0.5))))

    assert (results, _values(seen)) == ([3], [Summary("<Point, 16 bytes>")])


def test_a_pointer_to_be_freed_is_shown_and_not_followed(tmp_path: Path, lib: Any) -> None:
    """GIVEN a pointer that is freed, WHEN the trace is read, THEN both calls name it."""
    lib.copy_text.argtypes, lib.copy_text.restype = [ctypes.c_char_p], ctypes.c_void_p
    lib.free_text.argtypes = [ctypes.c_void_p]
    texts: list[bytes] = []

    def program() -> None:
        copy = lib.copy_text(b"to be freed")
        texts.append(ctypes.string_at(copy))
        lib.free_text(copy)

    with trace_library(lib):
        seen = recorded(tmp_path, program)

    returned = seen.ends(Kind.FOREIGN)[0].arguments[0].value
    assert isinstance(returned, Pointer)
    assert (texts, _values(seen, 1)) == ([b"to be freed"], [returned])


def test_a_pointer_into_nowhere_is_shown(tmp_path: Path, lib: Any) -> None:
    nowhere = [
        ctypes.cast(0xDEAD0, kind)
        for kind in (ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(Point))
    ]
    with trace_library(lib):
        seen = recorded(tmp_path, lambda: [lib.is_there(pointer) for pointer in nowhere])

    assert [_values(seen, call) for call in range(3)] == [[Pointer(0xDEAD0)]] * 3


# ---- functions that are not the library's own ----


@pytest.mark.parametrize(
    "make",
    [
        lambda lib: ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32, ctypes.c_int32)(("add", lib)),
        lambda lib: ctypes.cast(
            lib.add, ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32, ctypes.c_int32)
        ),
        lambda lib: ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32, ctypes.c_int32)(
            ctypes.cast(lib.add, ctypes.c_void_p).value
        ),
    ],
    ids=["prototype", "cast", "address"],
)
def test_a_function_made_of_a_prototype_is_traced_and_restored(
    tmp_path: Path, lib: Any, make: Callable[[Any], Any]
) -> None:
    function = make(lib)
    before = type(function)
    with trace_library(lib):
        seen = recorded(tmp_path, lambda: function(2, 3))

    assert (_called(seen), type(function) is before) == (["add"], True)


def test_a_callback_of_the_same_prototype_is_left_alone(tmp_path: Path, lib: Any) -> None:
    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)
    callback = prototype(lambda value: value)
    bound = prototype(("fail_with", lib))
    with trace_library(lib):
        kept = type(callback) is prototype
        seen = recorded(tmp_path, lambda: (callback(3), bound(3)))

    assert (kept, _called(seen)) == (True, ["fail_with"])


def test_a_callback_on_a_thread_of_c_is_a_thread_of_the_trace(tmp_path: Path, lib: Any) -> None:
    callback = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)(lambda value: lib.add(value, 1))
    results: list[int] = []
    with trace_library(lib):
        seen = recorded(
            tmp_path,
            lambda: results.extend(lib.call_back_on_a_thread(callback, n) for n in range(20)),
        )

    outer = [event for event in seen.begins(Kind.FOREIGN) if event.names[1] != "add"]
    inner = [event for event in seen.begins(Kind.FOREIGN) if event.names[1] == "add"]
    assert (results, len(outer), len(inner)) == (list(range(1, 21)), 20, 20)
    assert {event.thread for event in outer}.isdisjoint(event.thread for event in inner)
    assert len(seen.ends(Kind.FOREIGN)) == 40


# ---- ends ----


def test_a_library_that_was_closed_can_be_untraced(tmp_path: Path) -> None:
    """GIVEN a traced library, WHEN it is closed under it, THEN undoing touches no code of it."""
    own_copy = tmp_path / "libclosed.so"
    own_copy.write_bytes(build_sample(tmp_path).read_bytes())
    lib: Any = ctypes.CDLL(str(own_copy))
    handle = trace_library(lib)
    recorded(tmp_path, lambda: lib.add(2, 3))
    closing: Any = ctypes.CDLL(None).dlclose
    closing.argtypes = [ctypes.c_void_p]
    assert closing(lib._handle) == 0
    assert str(own_copy) not in Path("/proc/self/maps").read_text(encoding="utf-8")

    handle.untrace()

    assert type(lib.__dict__["add"]).__name__ == "_FuncPtr"
    assert not handle.traced


def test_a_library_that_was_closed_and_opened_again_is_another(tmp_path: Path) -> None:
    cffi = pytest.importorskip("cffi", reason="cffi is not installed")
    ffi = cffi.FFI()
    ffi.cdef("int add(int, int);")
    path = str(build_sample(tmp_path))
    lib = ffi.dlopen(path)
    handle = trace_library(lib)
    ffi.dlclose(lib)
    handle.untrace()
    again = ffi.dlopen(path)
    with trace_library(again):
        seen = recorded(tmp_path, lambda: again.add(2, 3))

    assert _called(seen) == ["add"]


def test_many_functions_keep_their_descriptions(tmp_path: Path) -> None:
    """GIVEN more functions than the core has seats for, WHEN all are called in turns."""
    count = 4500
    source = tmp_path / "many.c"
    source.write_text("".join(f"int f{i}(void) {{ return {i}; }}\n" for i in range(count)))
    many = tmp_path / "libmany.so"
    os.spawnlp(os.P_WAIT, "cc", "cc", "-shared", "-fPIC", "-O0", "-o", str(many), str(source))
    lib: Any = ctypes.CDLL(str(many))

    def program() -> None:
        for _ in range(2):
            for i in range(count):
                getattr(lib, f"f{i}")()

    with trace_library(lib):
        seen = recorded(tmp_path, program)

    assert _called(seen) == [f"f{i}" for _ in range(2) for i in range(count)]


def test_a_function_alone_is_traced_where_it_is_and_twice_is_once(tmp_path: Path, lib: Any) -> None:
    before = type(lib.add)
    assert trace_function(trace_function(lib.add)) is lib.add
    seen = recorded(tmp_path / "a", lambda: (lib.add(2, 3), lib.is_there(None)))
    assert untrace(untrace(lib.add)) is lib.add
    later = recorded(tmp_path / "b", lambda: lib.add(2, 3))

    assert (_called(seen), _called(later), type(lib.add) is before) == (["add"], [], True)


def test_a_function_that_was_traced_alone_goes_over_to_its_library(
    tmp_path: Path, lib: Any
) -> None:
    def program() -> None:
        trace_function(lib.add, actor="alone")
        with trace_library(lib, actor="whole"):
            lib.add(1, 2)
            untrace(lib.add)
            lib.add(1, 2)

    seen = recorded(tmp_path, program)
    assert [event.names[0] for event in seen.begins(Kind.FOREIGN)] == ["alone", "whole"]
    assert type(lib.add) is lib._FuncPtr


def test_a_libllama_that_is_open_twice_is_traced_through_both(
    tmp_path: Path, library_path: Path
) -> None:
    first, second = ctypes.CDLL(str(library_path)), ctypes.CDLL(str(library_path))

    def program() -> None:
        with llama.install(first, second) as installed:
            first.add(1, 2)
            second.add(3, 4)
            # Beside bindings that this process has imported already.
            assert installed.libraries.count(str(library_path)) == 1

    seen = recorded(tmp_path, program)
    assert _called(seen) == ["add", "add"]
    assert type(second.add) is second._FuncPtr


@pytest.mark.parametrize(
    "odd",
    [
        {"include": None},
        {"exclude": [3]},
        {"gpu": None},
        {"vram": [1]},
        {"args": ["a"]},
        {"actor": 3},
        {"own_streams": "x"},
        {"describe": {"*": 3}},
        {"describe": {1: Function()}},
        {"describe": {"*": Function(action=3)}},  # type: ignore[arg-type]
        {"describe": {"*": Function(before="x")}},  # type: ignore[arg-type]
        {"describe": {"*": Function(gpu="x")}},  # type: ignore[arg-type]
        {"describe": {"*": Function(pace_ns=-1)}},
        {"describe": {"*": Function(failure={3: 7})}},  # type: ignore[dict-item]
        {"describe": {"*": Function(failure=3)}},  # type: ignore[arg-type]
        {"describe": {"*": Function(arguments="ab")}},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused_at_once(lib: Any, odd: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        trace_library(lib, **odd)
    assert "_gpu_narration_original" not in vars(lib._FuncPtr)


def _raises(name: str) -> None:
    raise LookupError(name)


@pytest.mark.parametrize("describe", [_raises, lambda _: 3])
def test_a_function_whose_description_fails_is_recorded_without(
    tmp_path: Path, lib: Any, describe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RAISE_VARIABLE, raising=False)

    def program() -> None:
        with trace_library(lib, describe=describe):
            assert lib.add(2, 3) == 5

    seen = recorded(tmp_path, program)
    assert _called(seen) == ["add"]
    assert internal_error.counts.pop("description of a foreign function") == 1
