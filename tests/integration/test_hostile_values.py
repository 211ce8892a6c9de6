"""Values made to do harm: no code of theirs runs, the program goes on, the trace says what came."""

from __future__ import annotations

import datetime as dt
import enum
import fractions
import pathlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from gpu_narration import narrate, span, trace_fn, trace_tiny, trace_with_correlation
from gpu_narration.tracefile.format import Summary
from tests.conftest import Record

HUGE = 100 << 20


def lines(record: Record, call: Any) -> list[str]:
    """The lines that a call leaves."""
    record.start()
    call()
    return record.stop().lines


def summary(record: Record, value: object) -> object:
    record.start()
    trace_tiny("app", "step", "", "", value)
    (event,) = record.stop().events
    return event.arguments[0].value


# ---- code of the program's own ----


#: Which methods of the values below were called; none may be.
CALLED: list[str] = []


@pytest.fixture(autouse=True)
def nothing_of_a_value_is_called() -> Iterator[None]:
    CALLED.clear()
    yield
    assert CALLED == []


class Loud:
    """Everything that a careless tracer would call."""

    def _called(self, *_: object) -> Any:
        CALLED.append(object.__repr__(self))
        raise AssertionError("code of a value was run")

    __repr__ = __str__ = __format__ = __bool__ = __len__ = __iter__ = __hash__ = _called
    __eq__ = __int__ = __float__ = __index__ = __bytes__ = __fspath__ = __getattr__ = _called
    __call__ = _called
    __class__ = property(_called)  # type: ignore[assignment]


class LoudStr(str):
    __slots__ = ()
    __repr__ = __str__ = __format__ = __len__ = __iter__ = __eq__ = Loud._called
    __hash__ = encode = __getitem__ = Loud._called


class LoudInt(int):
    __repr__ = __str__ = __format__ = __index__ = __int__ = __abs__ = __eq__ = Loud._called
    __hash__ = bit_length = to_bytes = __bool__ = Loud._called


class LoudDict(dict):
    __repr__ = __len__ = __iter__ = items = keys = __getitem__ = __eq__ = Loud._called
    __hash__ = None


class LoudMeta(type):
    __repr__ = __str__ = __hash__ = __eq__ = Loud._called


class LoudByItsClass(metaclass=LoudMeta):
    __slots__ = ()


LOUD = {
    "object": (Loud(), Summary("<Loud>")),
    "str": (LoudStr("abc"), "abc"),
    "int": (LoudInt(7), 7),
    "dict": (LoudDict(a=1), Summary("LoudDict[1]")),
    "class": (Loud, Summary("<type>")),
    "metaclass": (LoudByItsClass(), Summary("<LoudByItsClass>")),
    "in a list": ([Loud()], Summary("list[1]")),
}


@pytest.mark.parametrize("name", LOUD)
def test_no_code_of_a_value_runs(record: Record, name: str) -> None:
    value, expected = LOUD[name]
    back = summary(record, value)
    assert back == expected


@pytest.mark.parametrize("name", LOUD)
def test_no_code_of_a_value_runs_in_a_traced_function(record: Record, name: str) -> None:
    """GIVEN it as argument, keyword, default and result THEN none of its code runs."""
    value, _ = LOUD[name]

    @trace_fn
    def take(one: object, two: object = value, **more: object) -> object:
        return value

    assert len(lines(record, lambda: take(value, more=value))) == 2


@pytest.mark.parametrize("name", LOUD)
def test_no_code_of_a_value_runs_as_a_name(record: Record, name: str) -> None:
    value, _ = LOUD[name]
    record.start()
    trace_tiny(value, value, value, value, 1)  # type: ignore[arg-type]
    assert len(record.stop().events) == 1


@pytest.mark.parametrize("name", LOUD)
def test_no_code_of_a_value_runs_as_a_field_or_correlation(record: Record, name: str) -> None:
    value, _ = LOUD[name]
    record.start()
    narrate("app", "step", field=value)
    trace_with_correlation("app", "step", "", "", value)  # type: ignore[arg-type]
    assert len(record.stop().events) == 2


class Recursive(dt.tzinfo):
    """The one kind of code of a value that runs: a time zone's."""

    def utcoffset(self, _: object) -> dt.timedelta:
        trace_tiny("zone", "asked", "", "", dt.datetime.now(self))
        return dt.timedelta(0)


def test_recursion_from_a_value_into_a_trace_call_ends(record: Record) -> None:
    """GIVEN a value that traces itself while it is summarised THEN the program goes on."""
    record.start()
    trace_tiny("app", "step", "", "", dt.datetime(2020, 1, 1, tzinfo=Recursive()))
    trace_tiny("app", "after", "", "")
    assert record.stop().named("after")


# ---- half-made and closed objects ----


class Color(enum.Enum):
    RED = 1


class Slots:
    __slots__ = ("a",)


def half_made(kind: type) -> object:
    return object.__new__(kind)


def released() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


HALF_MADE = {
    "path": (lambda: half_made(pathlib.PurePosixPath), "<PurePosixPath, unreadable: "),
    "uuid": (lambda: half_made(uuid.UUID), "<UUID, unreadable: AttributeError>"),
    "fraction": (lambda: half_made(fractions.Fraction), "<Fraction, unreadable: AttributeError>"),
    "enum": (lambda: half_made(Color), "<Color, unreadable: AttributeError>"),
    "slots": (lambda: half_made(Slots), "<Slots>"),
    "memoryview": (released, "<memoryview, unreadable: ValueError>"),
    "exception": (lambda: OSError.__new__(OSError), "<OSError>"),
    "a range of huge numbers": (lambda: range(10**5000), "<range, unreadable: ValueError>"),
    "generator": (lambda: (i for i in ()), "<generator>"),
}


@pytest.mark.parametrize("name", HALF_MADE)
def test_a_half_made_object_is_shown_by_its_type(record: Record, name: str) -> None:
    make, expected = HALF_MADE[name]
    back = summary(record, make())
    assert isinstance(back, Summary)
    assert back.text.startswith(expected)


PARTIAL = {
    "unicode": lambda: UnicodeDecodeError.__new__(UnicodeDecodeError),
    "os": lambda: OSError.__new__(OSError, 1, 2),
    "syntax": lambda: SyntaxError.__new__(SyntaxError),
    "import": lambda: ImportError.__new__(ImportError),
    "key": lambda: KeyError(Loud()),
    "stop": lambda: StopAsyncIteration(Loud()),
    "exit": lambda: SystemExit(Loud()),
    "group": lambda: ExceptionGroup("m", [ValueError(Loud())]),
    "huge": lambda: ValueError("x" * HUGE),
    "digits": lambda: ValueError(10**100_000),
}


@pytest.mark.parametrize("name", PARTIAL)
def test_a_half_made_exception_ends_its_span(record: Record, name: str) -> None:
    """GIVEN an exception that cannot show itself THEN it goes through and the span names it."""
    error = PARTIAL[name]()

    @trace_fn
    def fail() -> None:
        raise error

    record.start()
    with pytest.raises(type(error)) as caught:
        fail()
    (end,) = record.stop().ends("fail")
    assert caught.value is error
    assert end.error_type == type(error).__name__


class BadError(Exception):
    def __str__(self) -> str:
        raise AssertionError("code of an exception was run")

    __repr__ = __str__
    args = property(__str__)  # type: ignore[assignment]
    __cause__ = property(__str__)  # type: ignore[assignment]
    __context__ = property(__str__)  # type: ignore[assignment]
    __class__ = property(__str__)  # type: ignore[assignment]


def test_an_exception_whose_attributes_raise_ends_its_span(record: Record) -> None:
    @trace_fn
    def fail() -> None:
        raise BadError("why")

    record.start()
    with pytest.raises(BadError), span("app", "part"):
        fail()
    done = record.stop()
    assert [end.error_type for end in (*done.ends("fail"), *done.ends("part"))] == ["BadError"] * 2


def with_attribute(error: Exception, name: str) -> Exception:
    setattr(error, name, Loud())
    return error


def with_arguments(error: Exception, *arguments: object) -> Exception:
    error.args = arguments
    return error


#: Their __str__ is C, and prints attributes.
PRINTING = {
    "decode": lambda: with_attribute(UnicodeDecodeError("utf-8", b"abc", 0, 1, "why"), "reason"),
    "encode": lambda: with_attribute(UnicodeEncodeError("utf-8", "abc", 0, 1, "why"), "encoding"),
    "translate": lambda: with_attribute(UnicodeTranslateError("abc", 0, 1, "why"), "reason"),
    "import": lambda: with_attribute(ImportError("why"), "msg"),
    "syntax": lambda: with_attribute(SyntaxError("why"), "msg"),
    "file": lambda: with_attribute(OSError(2, "why", "file"), "filename"),
    "cause": lambda: OSError(2, LoudStr("why")),
    "group": lambda: with_arguments(ExceptionGroup(LoudStr("why"), [ValueError(1)])),
}


@pytest.mark.parametrize("name", PRINTING)
def test_an_attribute_of_an_exception_is_not_printed(record: Record, name: str) -> None:
    error = PRINTING[name]()

    @trace_fn
    def fail() -> None:
        raise error

    record.start()
    with pytest.raises(type(error)):
        fail()
    (end,) = record.stop().ends("fail")
    assert end.error_type == type(error).__name__


def unicode_error(kind: type[Any], made_of: object, **attributes: object) -> Any:
    first = () if kind is UnicodeTranslateError else ("utf-8",)
    error = kind(*first, made_of, 0, 1, "why")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


FAR = {"start": -(1 << 40), "end": 1 - (1 << 40)}

#: CPython's own __str__ of these reads memory that is not theirs.
MISLEADING = {
    "decode far": lambda: unicode_error(UnicodeDecodeError, b"abc", **FAR),
    "encode far": lambda: unicode_error(UnicodeEncodeError, "abc", **FAR),
    "translate far": lambda: unicode_error(UnicodeTranslateError, "abc", **FAR),
    "decode a str": lambda: unicode_error(UnicodeDecodeError, b"abc", object="abc"),
    "decode an int": lambda: unicode_error(UnicodeDecodeError, b"abc", object=1 << 90),
    "encode bytes": lambda: unicode_error(UnicodeEncodeError, "abc", object=b"abc"),
    "translate an int": lambda: unicode_error(UnicodeTranslateError, "abc", object=1 << 90),
}


@pytest.mark.parametrize("name", MISLEADING)
def test_a_unicode_error_that_points_elsewhere_is_not_followed(record: Record, name: str) -> None:
    error = MISLEADING[name]()

    @trace_fn
    def fail() -> None:
        raise error

    record.start()
    with pytest.raises(type(error)):
        fail()
    (end,) = record.stop().ends("fail")
    assert (end.error_type, end.error_text) == (type(error).__name__, error.args[0])


@pytest.mark.parametrize(("letter", "kept"), [("é", 127), ("字", 84), ("🚀", 63)])
def test_the_long_name_of_an_error_is_cut_between_characters(
    record: Record, letter: str, kept: int
) -> None:
    error = type("E" + letter * 200, (Exception,), {})
    record.start()
    with pytest.raises(error), span("app", "part"):
        raise error
    (end,) = record.stop().ends("part")
    assert end.error_type == "E" + letter * kept


WELL_MADE = [
    UnicodeDecodeError("utf-8", b"abc", 0, 1, "why"),
    ImportError("no module", name="m"),
    SyntaxError("invalid"),
    KeyError("k"),
    FileNotFoundError(2, "No such file", "f"),
]


@pytest.mark.parametrize("error", WELL_MADE, ids=lambda error: type(error).__name__)
def test_the_text_of_an_exception_of_pythons_own_is_kept(record: Record, error: Exception) -> None:
    @trace_fn
    def fail() -> None:
        raise error

    record.start()
    with pytest.raises(type(error)):
        fail()
    (end,) = record.stop().ends("fail")
    assert end.error_text == str(error)
