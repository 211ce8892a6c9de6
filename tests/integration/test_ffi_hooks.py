"""What a preset tells of a function: failures, formatters, hooks; and what needs no telling."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import _core
from gpu_narration._errors import OptionError, internal_error
from gpu_narration._types import Kind, Outcome
from gpu_narration.ffi import Address, Function, trace_library
from gpu_narration.tracefile.format import Pointer, Value
from tests.support.recording import Seen, recorded
from tests.support.sample import build_sample


@pytest.fixture(scope="session")
def library_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def lib(library_path: Path) -> Any:
    """The library, not yet traced; each test has functions of its own."""
    return ctypes.CDLL(str(library_path), use_errno=True)


@pytest.fixture
def contained(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """What was contained while failures of ours do not end the process."""
    monkeypatch.delenv("GPU_NARRATION_RAISE_INTERNAL", raising=False)
    monkeypatch.setattr(internal_error, "counts", {})
    return internal_error.counts


def _calls(tmp_path: Path, lib: Any, program: Any, **how: Any) -> Seen:
    with trace_library(lib, **how):
        return recorded(tmp_path, program)


def _arguments(seen: Seen) -> dict[str | None, Value]:
    return {argument.name: argument.value for argument in seen.begins(Kind.FOREIGN)[0].arguments}


def _values(seen: Seen) -> list[Value]:
    return [argument.value for argument in seen.begins(Kind.FOREIGN)[0].arguments]


# ---- failures ----


def test_a_code_that_means_failure_ends_the_span_as_an_error(tmp_path: Path, lib: Any) -> None:
    preset = {"add": Function(failure={5: "there is no five"})}
    seen = _calls(tmp_path, lib, lambda: lib.add(2, 3), describe=preset)

    end = seen.ends(Kind.FOREIGN)[0]
    assert (end.outcome, end.error_type, end.error_text, end.fields) == (
        Outcome.ERROR, "status 5", "there is no five", {"status": 5},
    )  # fmt: skip


@pytest.mark.parametrize("code", [1 << 63, -(1 << 64)], ids=["unsigned", "wide"])
def test_a_code_beyond_64_bits_is_told(tmp_path: Path, lib: Any, code: int) -> None:
    lib.add.errcheck = lambda *_: code
    preset = {"add": Function(failure=lambda _: "too far")}
    seen = _calls(tmp_path, lib, lambda: lib.add(2, 3), describe=preset)

    end = seen.ends(Kind.FOREIGN)[0]
    assert (end.error_type, end.error_text) == (f"status {code}", "too far")


def test_a_code_that_means_nothing_is_a_result(tmp_path: Path, lib: Any) -> None:
    preset = {"add": Function(failure={5: "there is no five"})}
    seen = _calls(tmp_path, lib, lambda: lib.add(2, 4), describe=preset)

    end = seen.ends(Kind.FOREIGN)[0]
    assert (end.outcome, end.arguments[0].value, end.fields) == (Outcome.OK, 6, {})


@pytest.mark.parametrize(
    ("meaning", "shown"),
    [(("E_FIVE", "no five"), ("E_FIVE", "no five")), ("no five", ("status 5", "no five"))],
)
def test_a_callable_says_what_a_result_means(
    tmp_path: Path, lib: Any, meaning: Any, shown: tuple[str, str]
) -> None:
    preset = {"add": Function(failure=lambda result: meaning if result == 5 else None)}
    seen = _calls(tmp_path, lib, lambda: lib.add(2, 3), describe=preset)

    end = seen.ends(Kind.FOREIGN)[0]
    assert (end.error_type, end.error_text) == shown


def test_null_is_a_failure_by_name(tmp_path: Path, lib: Any) -> None:
    lib.llama_model_load_from_file.restype = ctypes.c_void_p
    preset = {"*": Function(failure=lambda result: None if result else "no model")}
    seen = _calls(tmp_path, lib, lambda: lib.llama_model_load_from_file(0), describe=preset)

    end = seen.ends(Kind.FOREIGN)[0]
    assert (end.outcome, end.error_type, end.error_text) == (Outcome.ERROR, "NULL", "no model")


def test_a_failure_reads_as_an_error(tmp_path: Path, lib: Any) -> None:
    preset = {"add": Function(failure={5: ("E_FIVE", "there is no five")})}
    line = _calls(tmp_path, lib, lambda: lib.add(2, 3), describe=preset).lines()[1]

    assert line.startswith('TRACE sample add error="E_FIVE: there is no five" elapsed_ms=')


# ---- errno ----


def test_errno_is_recorded_where_the_call_has_changed_it(tmp_path: Path, lib: Any) -> None:
    ctypes.set_errno(0)
    seen = _calls(tmp_path, lib, lambda: lib.fail_with(77))

    assert seen.ends(Kind.FOREIGN)[0].fields == {"errno": 77}


def test_an_errno_of_before_is_not_the_calls(tmp_path: Path, lib: Any) -> None:
    ctypes.set_errno(33)
    seen = _calls(tmp_path, lib, lambda: lib.add(2, 3))

    assert seen.ends(Kind.FOREIGN)[0].fields == {}


def test_the_errno_is_still_the_programs(tmp_path: Path, lib: Any) -> None:
    numbers: list[int] = []
    _calls(tmp_path, lib, lambda: numbers.append((lib.fail_with(77), ctypes.get_errno())[1]))

    assert numbers == [77]


def test_without_use_errno_there_is_none(tmp_path: Path, library_path: Path) -> None:
    lib = ctypes.CDLL(str(library_path))
    seen = _calls(tmp_path, lib, lambda: lib.fail_with(77))

    assert seen.ends(Kind.FOREIGN)[0].fields == {}


# ---- pointers ----


def test_an_int_for_a_pointer_is_an_address(tmp_path: Path, lib: Any) -> None:
    lib.add.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    seen = _calls(tmp_path, lib, lambda: lib.add(0x10, 16))

    assert _values(seen) == [Pointer(16), 16]


@pytest.mark.parametrize(
    "make",
    [
        ctypes.byref,
        ctypes.pointer,
        lambda number: ctypes.c_void_p(ctypes.addressof(number)),
        lambda number: ctypes.cast(ctypes.byref(number), ctypes.c_char_p),
    ],
    ids=["byref", "pointer", "c_void_p", "c_char_p"],
)
def test_a_pointer_is_recorded_by_its_address(tmp_path: Path, lib: Any, make: Any) -> None:
    number = ctypes.c_int64(5)
    pointer = make(number)
    seen = _calls(tmp_path, lib, lambda: lib.is_there(pointer))

    assert seen.begins(Kind.FOREIGN)[0].arguments[0].value == Pointer(ctypes.addressof(number))


def test_a_pointer_that_comes_back_is_an_address(tmp_path: Path, lib: Any) -> None:
    lib.greeting.restype = ctypes.c_void_p
    addresses: list[int] = []
    seen = _calls(tmp_path, lib, lambda: addresses.append(lib.greeting()))

    assert seen.ends(Kind.FOREIGN)[0].arguments[0].value == Pointer(addresses[0])


def test_an_array_is_recorded_by_type_and_length(tmp_path: Path, lib: Any) -> None:
    array = (ctypes.c_int32 * 12)()
    line = _calls(tmp_path, lib, lambda: lib.is_there(array)).lines()[0]

    assert 'arg0="c_int[12]"' in line


# ---- formatters ----


def test_a_formatter_may_follow_a_pointer(tmp_path: Path, lib: Any) -> None:
    number = ctypes.c_int32(42)
    args = {"is_*": (lambda pointer: f"→ {pointer[0]}",)}
    seen = _calls(tmp_path, lib, lambda: lib.is_there(ctypes.pointer(number)), args=args)

    assert seen.begins(Kind.FOREIGN)[0].arguments[0].value == "→ 42"


def test_names_of_parameters_are_shown(tmp_path: Path, lib: Any) -> None:
    args: Any = {"add": {"left": None, "right": hex}}
    seen = _calls(tmp_path, lib, lambda: lib.add(2, 255), args=args)

    assert _arguments(seen) == {"left": 2, "right": "0xff"}


def test_formatters_by_number_leave_the_others_alone(tmp_path: Path, lib: Any) -> None:
    line = _calls(tmp_path, lib, lambda: lib.add(2, 255), args={"add": {1: Address}}).lines()[0]

    assert "arg0=2 arg1=0xff" in line


def test_a_parameter_with_a_secret_name_is_masked(tmp_path: Path, lib: Any) -> None:
    args: Any = {"add": {"password": None, "right": None}}
    line = _calls(tmp_path, lib, lambda: lib.add(2, 3), args=args).lines()[0]

    assert "password=2" not in line
    assert "right=3" in line


def test_a_formatter_that_raises_is_contained_and_counted(
    tmp_path: Path, lib: Any, contained: dict[str, int]
) -> None:
    seen = _calls(tmp_path, lib, lambda: lib.add(2, 3), args={"add": (lambda _: 1 // 0,)})

    assert _values(seen) == [2, 3]
    assert contained == {"hook of a foreign function": 1}


@pytest.mark.parametrize(
    "nonsense",
    [{"add": 7}, {"add": "text"}, {"add": {"a": None, 1: None}}, {"add": (7,)}, {"add": {-1: hex}}],
)
def test_formatters_that_are_none_are_refused_at_once(lib: Any, nonsense: Any) -> None:
    with pytest.raises(OptionError, match="add"):
        trace_library(lib, args=nonsense)


# ---- hooks ----


def test_what_before_gives_stands_in_the_first_record(tmp_path: Path, lib: Any) -> None:
    preset = {"add": Function(before=lambda args: {"total": sum(args)})}
    seen = _calls(tmp_path, lib, lambda: lib.add(2, 3), describe=preset)

    assert seen.begins(Kind.FOREIGN)[0].fields == {"total": 5}


def test_what_after_gives_stands_in_the_last_record(tmp_path: Path, lib: Any) -> None:
    preset = {
        "add": Function(after=lambda args, result, *_: {"doubled": 2 * result, "n": len(args)})
    }
    seen = _calls(tmp_path, lib, lambda: lib.add(2, 3), describe=preset)

    end = seen.ends(Kind.FOREIGN)[0]
    assert (end.fields, end.arguments[0].value) == ({"doubled": 10, "n": 2}, 5)


def test_after_is_given_what_before_gave_and_the_spans_id(tmp_path: Path, lib: Any) -> None:
    given: list[Any] = []
    preset = {
        "add": Function(
            before=lambda args: ["state", *args],
            after=lambda _args, _result, _ns, begun, span_id: given.append((begun, span_id)),
        )
    }
    seen = _calls(tmp_path, lib, lambda: lib.add(2, 3), describe=preset)

    assert given == [(["state", 2, 3], seen.begins(Kind.FOREIGN)[0].id)]


def test_after_is_told_how_long_the_call_took(tmp_path: Path, lib: Any) -> None:
    told: list[int] = []
    preset = {"add": Function(after=lambda _a, _r, elapsed_ns, *_: told.append(elapsed_ns))}

    def program() -> None:
        for _ in range(50):
            lib.add(2, 3)

    seen = _calls(tmp_path, lib, program, describe=preset)

    measured = [end.elapsed_ns or 0 for end in seen.ends(Kind.FOREIGN)]
    assert all(
        abs(one - other) <= 2 + other // 50 for one, other in zip(told, measured, strict=True)
    )


def test_an_annotation_by_a_hook_is_found_with_the_span(tmp_path: Path, lib: Any) -> None:
    def after(_args: Any, _result: Any, _ns: int, _begun: Any, span_id: int) -> None:
        _core.annotate(span_id, {"later": 9})

    seen = _calls(tmp_path, lib, lambda: lib.add(2, 3), describe={"add": Function(after=after)})

    assert "later=9" in seen.lines()[1]


def test_calls_inside_a_hook_are_not_recorded(tmp_path: Path, lib: Any) -> None:
    preset = {"add": Function(before=lambda _: lib.nothing(), after=lambda *_: lib.nothing())}
    seen = _calls(tmp_path, lib, lambda: lib.add(2, 3), describe=preset)

    assert [event.names[1] for event in seen.begins(Kind.FOREIGN)] == ["add"]


def test_after_is_not_asked_of_a_call_that_raised(tmp_path: Path, lib: Any) -> None:
    asked: list[int] = []
    lib.add.argtypes = [ctypes.c_int32, ctypes.c_int32]
    preset = {"add": Function(before=lambda _: 1, after=lambda *_: asked.append(1))}

    def program() -> None:
        with pytest.raises(ctypes.ArgumentError):
            lib.add("two", 3)

    seen = _calls(tmp_path, lib, program, describe=preset)

    assert (seen.ends(Kind.FOREIGN)[0].error_type, asked) == ("ArgumentError", [])


@pytest.mark.parametrize("hook", ["before", "after", "failure"])
def test_a_hook_that_raises_is_contained_and_counted(
    tmp_path: Path, lib: Any, contained: dict[str, int], hook: str
) -> None:
    results: list[int] = []
    preset = {"add": Function(**{hook: lambda *_: 1 // 0})}
    seen = _calls(tmp_path, lib, lambda: results.append(lib.add(2, 3)), describe=preset)

    assert (results, len(seen.ends(Kind.FOREIGN)), contained) == (
        [5], 1, {"hook of a foreign function": 1},
    )  # fmt: skip


def test_an_interrupt_inside_a_hook_is_the_programs(tmp_path: Path, lib: Any) -> None:
    import signal

    def before(_args: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    def program() -> None:
        with pytest.raises(KeyboardInterrupt):
            [lib.add(2, 3) for _ in range(2)]

    seen = _calls(tmp_path, lib, program, describe={"add": Function(before=before)})

    assert [end.outcome for end in seen.ends(Kind.FOREIGN)] == [Outcome.OK]


def test_a_preset_may_be_a_callable(tmp_path: Path, lib: Any) -> None:
    seen = _calls(
        tmp_path,
        lib,
        lambda: lib.add(2, 3),
        describe=lambda name: Function(action=f"{name}_ints", actor="arithmetic"),
    )

    assert seen.begins(Kind.FOREIGN)[0].names[:2] == ("arithmetic", "add_ints")


def test_untracing_inside_the_call_still_ends_the_span(tmp_path: Path, lib: Any) -> None:
    preset = {"call_back": Function(after=lambda *_: {"ended": True})}
    handle = trace_library(lib, describe=preset)
    callback = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)(lambda n: (handle.untrace(), n)[1])
    seen = recorded(tmp_path, lambda: lib.call_back(callback, 21))

    assert seen.ends(Kind.FOREIGN)[0].fields == {"ended": True}
