"""Values: stored as they are where they are plain, else as a short summary."""

from __future__ import annotations

import ctypes
import enum
import math
import pathlib
import struct
import uuid
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_narration import narrate, trace_tiny, trace_with_correlation
from gpu_narration.tracefile.format import CutBytes, CutText, Pointer, Summary

numpy = pytest.importorskip("numpy")

RECORD_ONCE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def through(record, *values):
    """The values after a recording."""
    record.start()
    trace_tiny("a", "b", "c", "d", *values)
    (event,) = record.stop().events
    assert event.left_out == 0
    return [argument.value for argument in event.arguments]


EDGES = sorted(
    {sign * (1 << bits) + shift for bits in (7, 8, 15, 16, 31, 32, 63, 64, 65, 200, 599) for shift in (-1, 0, 1) for sign in (1, -1)}
)  # fmt: skip


@pytest.mark.parametrize("number", EDGES)
def test_an_int_of_any_width_comes_back(record, number):
    assert through(record, number) == [number]


def test_an_int_beyond_600_bits_is_its_size(record):
    assert through(record, 1 << 5000) == [Summary("<int, 5001 bits>")]


@pytest.mark.parametrize("number", [0.0, -0.0, 1e308, 5e-324, math.inf, -math.inf, math.pi])
def test_a_float_comes_back_bit_by_bit(record, number):
    (back,) = through(record, number)
    assert struct.pack("d", back) == struct.pack("d", number)


def test_nan_comes_back_as_nan(record):
    (back,) = through(record, math.nan)
    assert math.isnan(back)


@pytest.mark.parametrize(
    "text",
    ["", "plain", "naïve", "日本語", "🚀👩‍🚀", "\ud800", "a\udcffb", "\x00", "\x1b[31mred\x1b[0m", "\u202eevil", "x" * 255, "x" * 256, "é" * 200, "x" * 1024],
)  # fmt: skip
def test_a_text_comes_back_whole(record, text):
    assert through(record, text) == [text]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nTRACE forged", r"a\nTRACE forged"),
        ("a\rb", r"a\rb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202eevil", r"\u202eevil"),
        ("in\u200bvisible", r"in\u200bvisible"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
        ("tab\t", r"tab\t"),
    ],
)
def test_what_could_forge_a_line_is_escaped(record, text, shown):
    record.start()
    trace_tiny("a", "b", "c", "{}", text)
    assert record.stop().lines == [f'TRACE a b c "{shown}"']


@pytest.mark.parametrize("value", [None, True, False, b"", b"\x00\xff", b"x" * 1024])
def test_a_plain_constant_comes_back_with_its_type(record, value):
    (back,) = through(record, value)
    assert (type(back), back) == (type(value), value)


def test_a_text_of_100_mb_is_cut_and_its_length_noted(record):
    (back,) = through(record, "x" * 100_000_000)
    assert back == CutText("x" * 1024, 100_000_000)


def test_a_wide_text_is_cut_between_characters(record):
    (back,) = through(record, "é" * 5000)
    assert back == CutText("é" * 512, 5000)


def test_long_bytes_are_cut_and_their_length_noted(record):
    (back,) = through(record, b"\xff" * 5000)
    assert back == CutBytes(b"\xff" * 1024, 5000)


def test_a_cut_text_says_so_in_its_line(record):
    record.start()
    narrate("a", "b", text="x" * 2000)
    (line,) = record.stop().lines
    assert line == f'INFO a b text="{"x" * 1024}"…(2000 characters) ""'


class Hostile:
    """Everything about it raises; none of it may be touched."""

    def _refuse(self, *_):
        raise AssertionError("the program's own code was run")

    __repr__ = __str__ = __len__ = __bool__ = __eq__ = __iter__ = __int__ = __float__ = _refuse
    __format__ = __index__ = __bytes__ = __getattr__ = _refuse
    __hash__ = None
    __class__ = property(_refuse)


class HostileStr(str):
    __slots__ = ()
    __str__ = __repr__ = __len__ = __format__ = __eq__ = Hostile._refuse
    __hash__ = None


class HostileInt(int):
    __str__ = __repr__ = __int__ = __index__ = __eq__ = __bool__ = Hostile._refuse
    __hash__ = None


class HostileFloat(float):
    __str__ = __repr__ = __float__ = __eq__ = Hostile._refuse
    __hash__ = None


class HostileList(list):
    __str__ = __repr__ = __len__ = __iter__ = __getitem__ = Hostile._refuse


class HostileDict(dict):
    __str__ = __repr__ = __len__ = __iter__ = __getitem__ = Hostile._refuse


class HostileBytearray(bytearray):
    __str__ = __repr__ = __len__ = Hostile._refuse


class HostileMeta(type):
    def __instancecheck__(cls, _):
        raise AssertionError("the metaclass was asked")

    __subclasscheck__ = __instancecheck__

    def __repr__(cls):
        raise AssertionError("the metaclass was shown")

    __hash__ = None


class MadeByHostileMeta(metaclass=HostileMeta):
    pass


class Colour(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    BIG = 7


class Flags(enum.Flag):
    A = 1
    B = 2


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int))


TEXT = ctypes.c_char_p(b"abc")
SUMMARIES = {
    "list": ([1, 2, 3], Summary("list[3]")),
    "tuple": ((), Summary("tuple[0]")),
    "dict": ({"a": 1}, Summary("dict[1]")),
    "set": ({1, 2}, Summary("set[2]")),
    "frozenset": (frozenset({1}), Summary("set[1]")),
    "bytearray": (bytearray(5), Summary("bytearray[5]")),
    "memoryview": (memoryview(b"abc"), Summary("memoryview[3]")),
    "range": (range(0, 10, 2), Summary("range(0, 10, 2)")),
    "object": (object(), Summary("<object>")),
    "class": (int, Summary("<type>")),
    "hostile object": (Hostile(), Summary("<Hostile>")),
    "hostile list": (HostileList([1, 2]), Summary("HostileList[2]")),
    "hostile dict": (HostileDict(a=1), Summary("HostileDict[1]")),
    "hostile bytearray": (HostileBytearray(4), Summary("HostileBytearray[4]")),
    "hostile metaclass": (MadeByHostileMeta(), Summary("<MadeByHostileMeta>")),
    "enum": (Colour.RED, Summary("Colour.RED")),
    "int enum": (Size.BIG, Summary("Size.BIG")),
    "flag": (Flags.A | Flags.B, Summary("Flags.A|B")),
    "path": (pathlib.PurePosixPath("/a/b"), Summary("/a/b")),
    "uuid": (uuid.UUID(int=1), Summary("00000000-0000-0000-0000-000000000001")),
    "decimal": (Decimal("1.50"), Summary("1.50")),
    "fraction": (Fraction(1, 3), Summary("1/3")),
    "ctypes int": (ctypes.c_int(-5), -5),
    "ctypes float": (ctypes.c_double(1.5), 1.5),
    "ctypes null": (ctypes.c_void_p(None), Pointer(0)),
    "ctypes text": (TEXT, Pointer(ctypes.cast(TEXT, ctypes.c_void_p).value)),
    "ctypes array": ((ctypes.c_float * 4)(), Summary("c_float[4]")),
    "ctypes structure": (Point(1, 2), Summary("<Point, 8 bytes>")),
    "numpy array": (numpy.zeros((2, 3), numpy.float32), Summary("float32[2,3]")),
    "numpy no dimension": (numpy.array(1.5), Summary("float64[]")),
    "numpy float": (numpy.float32(1.5), 1.5),
    "numpy int": (numpy.int64(-3), -3),
    "numpy bool": (numpy.bool_(True), True),
    "numpy text": (numpy.str_("abc"), "abc"),
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_value_that_is_not_plain_is_summarised(record, name):
    value, expected = SUMMARIES[name]
    (back,) = through(record, value)
    assert back == expected


@pytest.mark.parametrize(
    ("subtype", "plain"), [(HostileStr, "abc"), (HostileInt, 5), (HostileFloat, 1.5)]
)
def test_a_subtype_of_a_plain_type_is_stored_as_that(record, subtype, plain):
    assert through(record, subtype(plain)) == [plain]


class BrokenArray(numpy.ndarray):
    @property
    def shape(self):
        raise RuntimeError("no shape here")


def test_an_object_whose_facts_cannot_be_read_says_so(record):
    """GIVEN an array whose shape raises THEN its summary names the error, and nothing failed."""
    (back,) = through(record, numpy.zeros(3).view(BrokenArray))
    assert back in (Summary("<BrokenArray, unreadable: RuntimeError>"), Summary("float64[3]"))


def test_a_type_with_a_long_name_is_cut(record):
    value = type("N" * 5000, (), {})()
    assert through(record, value) == [Summary(f"<{'N' * 200}>")]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_many_arguments_come_back_in_order(record, count):
    values = list(range(count))
    assert through(record, *values) == values


def test_summaries_beyond_the_64th_value_are_shown_as_text(record):
    record.start()
    trace_tiny("a", "b", "c", "{69}", *[[] for _ in range(70)])
    assert record.stop().lines == ['TRACE a b c "list[0]"']


def test_what_does_not_fit_the_record_is_counted(record):
    record.start()
    trace_tiny("a", "b", "c", "{0}", *["x" * 1000] * 10)
    (event,) = record.stop().events
    assert (len(event.arguments), event.left_out) == (4, 6)


def test_nothing_follows_a_value_that_did_not_fit(record):
    """GIVEN names that leave no room for the correlation id THEN no argument takes its place."""
    record.start()
    trace_with_correlation(*(letter * 1000 for letter in "abcd"), "e" * 1000, "argument", 2)
    (event,) = record.stop().events
    assert (event.correlation, event.arguments, event.left_out) == (None, [], 3)


def test_a_line_says_how_many_values_were_left_out(record):
    record.start()
    trace_tiny("a", "b", "c", "said {0}", "y", *["x" * 1000] * 10)
    recorded = record.stop()
    assert recorded.lines == [f'TRACE a b c left_out={recorded.events[0].left_out} "said y"']


def test_a_record_that_is_full_does_not_hurt_the_next(record):
    record.start()
    for _ in range(50):
        trace_tiny("a", "big", "c", "{0}", *["x" * 1023] * 10)
        trace_tiny("a", "small", "c", "{}", 5)
    recorded = record.stop()
    assert [event.arguments[0].value for event in recorded.named("small")] == [5] * 50


@RECORD_ONCE
@given(
    st.lists(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none(), max_size=20)
)
def test_any_plain_numbers_come_back(record, values):
    back = through(record, *values)
    assert [(type(value), value) for value in back] == [(type(value), value) for value in values]


@RECORD_ONCE
@given(st.lists(st.text(st.characters(), max_size=50), max_size=8))
def test_any_texts_come_back(record, values):
    assert through(record, *values) == values


@RECORD_ONCE
@given(st.lists(st.binary(max_size=100), max_size=8))
def test_any_bytes_come_back(record, values):
    assert through(record, *values) == values


@RECORD_ONCE
@given(st.text(st.characters(), min_size=300, max_size=1500))
def test_a_long_text_comes_back_whole_or_as_its_beginning(record, text):
    (back,) = through(record, text)
    if isinstance(back, CutText):
        assert (text.startswith(back.text), back.length) == (True, len(text))
    else:
        assert back == text


def test_a_value_that_changes_later_is_shown_as_it_was(record):
    values = [1, 2]
    record.start()
    trace_tiny("a", "b", "c", "{}", values)
    values.append(3)
    assert record.stop().lines == ['TRACE a b c "list[2]"']


SHORT = [
    "x" * 255,
    "",
    "y" * 32,
    "z" * 33,
    "eight888",
    "four",
    "odd",
    5,
    -(1 << 40),
    2.5,
    True,
    None,
]


@pytest.mark.parametrize("length", range(40))
def test_a_short_string_of_any_length_comes_back(record, length):
    text = "".join(chr(48 + i) for i in range(length))
    assert through(record, text) == [text]


@pytest.mark.parametrize("count", [11, 12, 13, 14])
def test_short_values_come_back_however_many(record, count):
    values = (SHORT * 2)[:count]
    assert through(record, *values) == values


@pytest.mark.parametrize("place", range(12))
def test_a_value_that_needs_work_among_short_ones_leaves_one_whole_record(record, place):
    """GIVEN short values and one that cannot be written while a record is open."""
    values = list(SHORT)
    values[place] = "long " * 100
    assert through(record, *values) == values
    values[place] = [1, 2, 3]
    values[place] = through(record, *values)[place]
    assert values[place] == Summary("list[3]")


def test_twelve_strings_of_255_bytes_fit_one_record(record):
    values = [chr(65 + i) * 255 for i in range(12)]
    assert through(record, *values) == values
