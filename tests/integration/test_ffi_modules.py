"""Tracing what modules offer, single functions of C code, and names that escape."""

from __future__ import annotations

import ctypes
import functools
import math
import pickle
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gpu_narration import _core, trace_fn
from gpu_narration._errors import AlreadyTracedError, NothingToTraceError
from gpu_narration._types import Kind, Outcome
from gpu_narration.ffi import Function, trace_function, trace_library, traced, untrace
from tests.support.recording import Seen, recorded
from tests.support.sample import build_sample


@pytest.fixture(scope="session")
def library_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def binding(library_path: Path) -> Iterator[Any]:
    """A module as bindings are written: a library, bare functions and wrapped ones."""
    module: Any = ModuleType("sample_binding")
    lib: Any = ctypes.CDLL(str(library_path))

    @functools.wraps(lib.half)
    def half(value: float) -> float:
        result: float = lib.half(ctypes.c_double(value))
        return result

    lib.half.restype = ctypes.c_double
    module.add, module.half = lib.add, half
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


@pytest.fixture
def extension() -> Iterator[Any]:
    """A module with functions of C code that are its own."""
    module: Any = ModuleType("zlib_binding")
    exec("from zlib import crc32, adler32\n", vars(module))
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def _names(seen: Seen) -> list[str | None]:
    return [event.names[1] for event in seen.begins(Kind.FOREIGN)]


# ---- modules of function pointers ----


def test_functions_of_a_binding_are_traced_bare_and_wrapped(tmp_path: Path, binding: Any) -> None:
    with trace_library(binding, actor="binding"):
        seen = recorded(tmp_path, lambda: (binding.add(2, 3), binding.half(5)))

    assert [event.names[:2] for event in seen.begins(Kind.FOREIGN)] == [
        ("binding", "add"),
        ("binding", "half"),
    ]


def test_a_name_that_was_imported_from_a_binding_is_traced(tmp_path: Path, binding: Any) -> None:
    add = binding.add
    with trace_library(binding) as handle:
        seen = recorded(tmp_path, lambda: add(2, 3))

    assert (_names(seen), handle.escaped, handle.actor) == (["add"], (), "sample_binding")


def test_untracing_a_binding_untraces_its_library(tmp_path: Path, binding: Any) -> None:
    before = type(binding.add)
    untrace(trace_library(binding))
    seen = recorded(tmp_path, lambda: binding.add(2, 3))

    assert (type(binding.add) is before, _names(seen)) == (True, [])


def test_a_module_without_such_functions_is_an_error() -> None:
    with pytest.raises(NothingToTraceError, match="has no functions of C code"):
        trace_library(sys.modules["tests.support.sample"])


# ---- modules of C code ----


def test_functions_of_c_code_are_replaced_in_their_module(tmp_path: Path) -> None:
    with trace_library(zlib, include="crc32"):
        results: list[int] = []
        seen = recorded(tmp_path, lambda: results.append(zlib.crc32(b"hello")))

    assert (_names(seen), results) == (["crc32"], [zlib.crc32(b"hello")])


def test_the_module_has_its_own_functions_back(tmp_path: Path) -> None:
    before = zlib.crc32
    handle = trace_library(zlib, include="crc32")
    assert zlib.crc32 is not before
    handle.untrace()
    handle.untrace()

    assert zlib.crc32 is before


def test_what_somebody_else_put_there_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zlib, "crc32", zlib.crc32)  # puts it back afterwards
    handle = trace_library(zlib, include="crc32")
    other: Any = len  # stands for another tool's wrapper
    zlib.crc32 = other
    handle.untrace()

    assert zlib.crc32 is other


def test_names_that_escape_are_found_and_told_once(
    capsys: pytest.CaptureFixture[str], extension: Any
) -> None:
    class Holder:
        held = zlib.adler32

    partial = functools.partial(zlib.adler32)
    with trace_library(zlib, include="adler32") as handle:
        places = {escaped.place for escaped in handle.escaped}

    assert partial(b"x") == Holder.held(b"x") == extension.adler32(b"x")
    assert {"zlib_binding.adler32", "attribute of Holder", "a partial"} <= places
    said = [line for line in capsys.readouterr().err.splitlines() if "[escaped-names]" in line]
    assert len(said) == 1
    assert "zlib_binding.adler32 (adler32)" in said[0]


def test_what_was_never_bound_elsewhere_does_not_escape() -> None:
    with trace_library(zlib, include="compressobj") as handle:
        assert handle.escaped == ()


# ---- single functions ----


def test_a_stand_in_looks_like_the_function(tmp_path: Path) -> None:
    stand_in = trace_function(math.hypot)

    assert (stand_in.__name__, stand_in.__doc__, isinstance(stand_in, type(math.hypot))) == (
        "hypot", math.hypot.__doc__, True,
    )  # fmt: skip
    assert repr(stand_in) == "<traced <built-in function hypot>>"


def test_a_stand_in_records_positions_keywords_and_the_result(tmp_path: Path) -> None:
    compress = trace_function(zlib.compress, actor="zlib")
    first, last = recorded(tmp_path, lambda: compress(b"x" * 10, level=9)).lines()

    assert 'arg0="b' in first
    assert "level=9" in first
    assert last.startswith('TRACE zlib compress result="b')


def test_a_keyword_with_a_secret_name_is_masked(tmp_path: Path) -> None:
    connect = trace_function(functools.partial(dict), name="connect", actor="db")
    line = recorded(tmp_path, lambda: connect(password="hunter2", port=1)).lines()[0]

    assert "hunter2" not in line
    assert "port=1" in line


def test_the_decorator_takes_arguments_or_none(tmp_path: Path) -> None:
    gcd = traced(math.gcd)
    hypot = traced(actor="geometry", describe=Function(failure=lambda r: "far" if r > 4 else None))(
        math.hypot
    )
    seen = recorded(tmp_path, lambda: (gcd(12, 18), hypot(3, 4)))

    ends = seen.ends(Kind.FOREIGN)
    assert [(end.names[:2], end.outcome) for end in ends] == [
        (("math", "gcd"), Outcome.OK),
        (("geometry", "hypot"), Outcome.ERROR),
    ]


def test_an_exception_comes_through_and_is_recorded(tmp_path: Path) -> None:
    sqrt = trace_function(math.sqrt)

    def program() -> None:
        with pytest.raises(ValueError, match="math domain error"):
            sqrt(-1)

    end = recorded(tmp_path, program).ends(Kind.FOREIGN)[0]

    assert (end.error_type, end.error_text) == ("ValueError", "math domain error")


def test_untrace_gives_the_function_back() -> None:
    assert untrace(trace_function(math.gcd)) is math.gcd
    assert untrace(math.gcd) is math.gcd


def test_tracing_a_stand_in_again_gives_it_back() -> None:
    gcd = trace_function(math.gcd)

    assert trace_function(gcd) is gcd


def test_a_stand_in_is_pickled_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zlib, "crc32", trace_function(zlib.crc32))

    assert pickle.loads(pickle.dumps(zlib.crc32)) is zlib.crc32


def test_a_built_in_function_in_a_class_is_no_method() -> None:
    class Shape:
        size = trace_function(math.hypot)

    assert Shape().size(3, 4) == 5


def test_a_function_of_a_traced_library_cannot_be_traced_in_another_way(
    library_path: Path,
) -> None:
    lib: Any = ctypes.CDLL(str(library_path))
    with trace_library(lib), pytest.raises(AlreadyTracedError, match="describe= to trace_library"):
        trace_function(lib.add)


@pytest.mark.parametrize(
    "nonsense",
    [None, 7, "abs", dict, lambda: None, trace_fn(lambda: None)],
    ids=["None", "int", "str", "class", "lambda", "traced"],
)
def test_what_is_no_function_of_c_code_is_a_type_error(nonsense: Any) -> None:
    with pytest.raises(TypeError, match="functions of C code"):
        trace_function(nonsense)


def test_a_python_function_is_sent_to_trace_fn() -> None:
    with pytest.raises(TypeError, match="with trace_fn"):
        trace_function(lambda: None)


def test_a_callable_object_of_c_code_is_traced_by_its_type(tmp_path: Path) -> None:
    total = trace_function(functools.partial(max, 5), actor="demo")
    seen = recorded(tmp_path, lambda: total(7))

    assert _names(seen) == ["partial"]


def test_a_stand_in_goes_when_nobody_holds_it() -> None:
    import weakref

    stand_in = trace_function(math.gcd)
    gone = weakref.ref(stand_in)
    del stand_in

    assert gone() is None


def test_gpu_and_vram_may_be_patterns(tmp_path: Path, library_path: Path) -> None:
    """GIVEN patterns for vram, WHEN two functions are called, THEN one is asked about memory."""
    lib: Any = ctypes.CDLL(str(library_path))
    with trace_library(lib, vram="add", gpu=("is_*",)):
        seen = recorded(tmp_path, lambda: (lib.add(2, 3), lib.nothing()), backend="mock", vram=True)

    learned = {
        event.names[1]: set(seen.trace.annotations(event)) for event in seen.begins(Kind.FOREIGN)
    }
    assert any(name.startswith("vram_") for name in learned["add"])
    assert not any(name.startswith("vram_") for name in learned["nothing"])


def test_the_core_refuses_what_is_no_description() -> None:
    with pytest.raises(TypeError):
        _core.ForeignFunction(7, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _core.foreign_take(math.gcd, None)  # type: ignore[arg-type]
