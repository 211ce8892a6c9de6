"""Which functions of a library are traced, from when, and until when."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_narration._errors import AlreadyTracedError
from gpu_narration._types import Kind
from gpu_narration.ffi import TracedLibrary, ctypes_calls, trace_library
from tests.support.recording import Seen, recorded
from tests.support.run import run_python
from tests.support.sample import build_sample


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


def test_a_name_bound_before_tracing_is_traced(tmp_path: Path, lib: Any) -> None:
    add = lib.add

    with trace_library(lib):
        seen = recorded(tmp_path, lambda: add(2, 3))

    assert _names(seen) == ["add"]


@pytest.mark.parametrize("look_up", [lambda lib: lib.add, lambda lib: lib["add"]])
def test_a_function_looked_up_while_traced_is_traced(
    tmp_path: Path, traced: Any, look_up: Any
) -> None:
    seen = recorded(tmp_path, lambda: look_up(traced)(2, 3))

    assert _names(seen) == ["add"]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ({"include": ["add"]}, ["add"]),
        ({"exclude": ["add"]}, ["nothing"]),
        ({"include": ["no*", "a*"]}, ["add", "nothing"]),
        ({"include": ["*"], "exclude": ["*"]}, []),
        ({"include": []}, []),
        ({"include": "a*"}, ["add"]),
        ({"exclude": "a*"}, ["nothing"]),
    ],
)
def test_patterns_choose_the_functions(
    tmp_path: Path, lib: Any, patterns: dict[str, Any], names: list[str]
) -> None:
    def program() -> None:
        lib.add(2, 3)
        lib.nothing()

    with trace_library(lib, **patterns):
        seen = recorded(tmp_path, program)

    assert _names(seen) == names


def test_two_libraries_are_traced_each_for_itself(tmp_path: Path, lib: Any, traced: Any) -> None:
    other = ctypes.CDLL(None)

    def program() -> None:
        traced.nothing()
        other.abs(-3)

    assert _names(recorded(tmp_path, program)) == ["nothing"]


@pytest.mark.parametrize("nonsense", [None, "libm.so", 7, object()])
def test_what_is_no_library_is_a_type_error(nonsense: Any) -> None:
    with pytest.raises(TypeError, match=type(nonsense).__name__):
        trace_library(nonsense)


# ---- and back ----


def test_untrace_restores_the_exact_class(lib: Any) -> None:
    before = type(lib.add)

    trace_library(lib).untrace()

    assert type(lib.add) is before


def test_untrace_restores_functions_looked_up_while_traced(lib: Any) -> None:
    original = lib._FuncPtr
    handle = trace_library(lib)
    late = lib.nothing

    handle.untrace()

    assert type(late) is original


def test_untrace_restores_how_the_library_makes_functions(lib: Any) -> None:
    before = lib._FuncPtr

    trace_library(lib).untrace()

    assert lib._FuncPtr is before


def test_untrace_stops_the_recording_of_calls(tmp_path: Path, lib: Any) -> None:
    handle = trace_library(lib)

    def program() -> None:
        lib.add(1, 1)
        handle.untrace()
        lib.add(2, 2)

    assert _names(recorded(tmp_path, program)) == ["add"]


def test_untrace_twice_is_no_error(lib: Any) -> None:
    handle = trace_library(lib)
    handle.untrace()
    handle.untrace()

    assert lib.add(2, 3) == 5


def test_tracing_twice_is_tracing_once(tmp_path: Path, lib: Any) -> None:
    with trace_library(lib), trace_library(lib):
        seen = recorded(tmp_path, lambda: lib.add(2, 3))

    assert _names(seen) == ["add"]


def test_tracing_twice_gives_the_first_handle(lib: Any) -> None:
    with trace_library(lib) as first:
        assert trace_library(lib) is first


def test_tracing_twice_with_other_options_is_an_error_that_names_them(lib: Any) -> None:
    with (
        trace_library(lib),
        pytest.raises(AlreadyTracedError, match="another actor and include"),
    ):
        trace_library(lib, actor="other", include="a*")


def test_a_block_that_found_the_library_traced_leaves_it_so(tmp_path: Path, lib: Any) -> None:
    handle = trace_library(lib)

    with trace_library(lib):
        pass
    seen = recorded(tmp_path, lambda: lib.add(2, 3))
    handle.untrace()

    assert _names(seen) == ["add"]


def test_an_old_handle_does_not_end_a_newer_tracing(tmp_path: Path, lib: Any) -> None:
    old = trace_library(lib)
    old.untrace()

    with trace_library(lib):
        old.untrace()
        seen = recorded(tmp_path, lambda: lib.add(2, 3))

    assert _names(seen) == ["add"]


def test_tracing_again_believes_the_new_actor(tmp_path: Path, lib: Any) -> None:
    """GIVEN a function whose calls were recorded, WHEN its library is traced anew."""
    with trace_library(lib, actor="old"):
        recorded(tmp_path / "first", lambda: lib.add(2, 3))

    with trace_library(lib, actor="new"):
        seen = recorded(tmp_path / "second", lambda: lib.add(2, 3))

    assert _calls(seen) == [("new", "add")]


def test_tracing_again_believes_the_new_patterns(tmp_path: Path, lib: Any) -> None:
    with trace_library(lib):
        recorded(tmp_path / "first", lambda: lib.add(2, 3))

    with trace_library(lib, exclude=["add"]):
        seen = recorded(tmp_path / "second", lambda: lib.add(2, 3))

    assert _names(seen) == []


def test_untrace_keeps_no_function_alive(tmp_path: Path, lib: Any) -> None:
    handle = trace_library(lib)
    recorded(tmp_path, lambda: lib.add(2, 3))
    with_tracing = sys.getrefcount(lib.add)

    handle.untrace()

    without = sys.getrefcount(lib.add)  # an assert would hold one more
    assert without == with_tracing - 1


def test_a_call_in_the_midst_of_untrace_does_not_outlive_it(
    tmp_path: Path, lib: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of another thread, between the forgetting of the descriptions and the classes."""
    add = lib.add
    handle = trace_library(lib)
    look = ctypes_calls._all_functions

    def look_after_a_call(within: Any) -> Iterator[Any]:
        add(1, 1)
        return look(within)

    def program() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(ctypes_calls, "_all_functions", look_after_a_call)
            handle.untrace()
        with trace_library(lib, actor="again"):
            add(2, 3)

    assert _calls(recorded(tmp_path, program)) == [("again", "add")]


def test_a_description_that_untrace_overtakes_is_not_kept(
    tmp_path: Path, lib: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = lib.add
    entered, forgotten = threading.Event(), threading.Event()
    caller = threading.Thread(target=add, args=(1, 1))
    look = ctypes_calls._all_functions

    def describe(_: str) -> None:
        entered.set()
        forgotten.wait(30)

    def look_after_the_call(within: Any) -> Iterator[Any]:
        forgotten.set()
        caller.join()
        return look(within)

    def program() -> None:
        handle = trace_library(lib, describe=describe)
        caller.start()
        entered.wait(30)
        with monkeypatch.context() as patch:
            patch.setattr(ctypes_calls, "_all_functions", look_after_the_call)
            handle.untrace()
        with trace_library(lib, actor="again"):
            add(2, 3)

    assert sorted(_calls(recorded(tmp_path, program))) == [("again", "add"), ("sample", "add")]


# Freed memory is filled with what no pointer can be, so that a use of it ends the process.
FORGOTTEN = """
    import ctypes, sys
    import gpu_narration as gn
    from gpu_narration import _core
    from gpu_narration.ffi import Function, trace_library

    path, kind = sys.argv[1:]
    if kind == "ctypes":
        lib = ctypes.CDLL(path)
    else:
        import cffi
        ffi = cffi.FFI()
        ffi.cdef("int add(int a, int b);")
        lib = ffi.dlopen(path)
    add = lib.add
    preset = {"add": Function(arguments={"a": None, "b": None})}
    handles = [trace_library(lib, describe=preset)]
    with gn.start("t.gnt", backend="none", nvtx="off"):
        add(1, 2)

        def untrace(*asked):
            while handles:
                handles.pop().untrace()
            return 0

        _core.set_hooks(threshold=untrace)
        _core.refilter()
        print(add(2, 3))
"""


@pytest.mark.parametrize("kind", ["ctypes", "cffi"])
def test_untrace_while_the_filter_is_asked_leaves_the_call_whole(
    library_path: Path, kind: str
) -> None:
    done = run_python(FORGOTTEN, str(library_path), kind, env={"PYTHONMALLOC": "debug"})

    assert done.stdout == "5\n"


def test_a_handle_says_its_actor(lib: Any) -> None:
    with trace_library(lib) as handle:
        assert isinstance(handle, TracedLibrary)
        assert handle.actor == "sample"
