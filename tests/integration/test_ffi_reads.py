"""Numbers of a structure that are read in C, and hooks that are asked now and then."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import _core
from gpu_narration._types import Kind
from gpu_narration.ffi import Function, trace_library
from gpu_narration.ffi.description import Read, Reads
from gpu_narration.tracefile.format import Value
from tests.support.recording import recorded
from tests.support.sample import build_sample


class Row(ctypes.Structure):
    """struct row of sample.c."""

    _fields_ = (("count", ctypes.c_int32), ("values", ctypes.POINTER(ctypes.c_int32)))


class Rows(Row):
    """The same, by another name."""


class Other(ctypes.Structure):
    _fields_ = Row._fields_


NUMBERS = (Read("count", Row.count.offset), Read("first", Row.values.offset, through=True))
READS = Reads(Row, 0, NUMBERS, usual=1, field=("kind", "single"))


@pytest.fixture(scope="session")
def library_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def lib(library_path: Path) -> Iterator[Any]:
    library = ctypes.CDLL(str(library_path))
    library.last_of_row.restype = ctypes.c_int32
    return library


def row(*values: int, kind: type[Any] = Row) -> Any:
    return kind(len(values), (ctypes.c_int32 * max(1, len(values)))(*values))


def fields_of(tmp_path: Path, lib: Any, given: Any, **how: Any) -> dict[str, Value]:
    preset = {"last_of_row": Function(reads=READS, **how)}
    with trace_library(lib, describe=preset):
        seen = recorded(tmp_path, lambda: lib.last_of_row(given))
    return dict(seen.begins(Kind.FOREIGN)[0].fields)


def test_numbers_are_fields_of_the_record(tmp_path: Path, lib: Any) -> None:
    assert fields_of(tmp_path, lib, row(7, 8, 9)) == {"count": 3, "first": 7}


def test_a_usual_call_has_its_field_and_asks_no_hook(tmp_path: Path, lib: Any) -> None:
    asked: list[object] = []

    fields = fields_of(tmp_path, lib, row(7), before=asked.append)

    assert fields == {"count": 1, "first": 7, "kind": "single"}
    assert asked == []


@pytest.mark.parametrize("values", [(), (0,), (7, 8)], ids=["none", "zero", "two"])
def test_any_other_call_asks_the_hook(tmp_path: Path, lib: Any, values: tuple[int, ...]) -> None:
    fields = fields_of(tmp_path, lib, row(*values), before=lambda args: {"told": args[0].count})

    assert (fields["told"], "kind" in fields) == (len(values), False)


def test_the_negative_ones_too(tmp_path: Path, lib: Any) -> None:
    assert fields_of(tmp_path, lib, row(-5))["first"] == -5


def test_behind_null_or_an_empty_row_nothing_is_read(tmp_path: Path, lib: Any) -> None:
    empty = Row(0, ctypes.cast(8, ctypes.POINTER(ctypes.c_int32)))

    assert fields_of(tmp_path, lib, Row(3, None)) == {"count": 3, "first": None}
    assert fields_of(tmp_path / "empty", lib, empty) == {"count": 0, "first": None}


def test_a_subclass_is_looked_into_and_another_structure_is_not(tmp_path: Path, lib: Any) -> None:
    assert fields_of(tmp_path, lib, row(7, kind=Rows))["first"] == 7
    assert fields_of(tmp_path / "other", lib, row(7, kind=Other)) == {}


def test_a_call_without_the_argument_is_recorded_without_it(tmp_path: Path, lib: Any) -> None:
    with trace_library(lib, describe={"nothing": Function(reads=READS)}):
        seen = recorded(tmp_path, lib.nothing)

    assert [event.fields for event in seen.begins(Kind.FOREIGN)] == [{}]


def test_a_structure_that_is_too_short_is_not_read(tmp_path: Path, lib: Any) -> None:
    far = Reads(Row, 0, (Read("far", ctypes.sizeof(Row)),), usual=1)
    with trace_library(lib, describe={"last_of_row": Function(reads=far)}):
        seen = recorded(tmp_path, lambda: lib.last_of_row(row(7)))

    assert [event.fields for event in seen.begins(Kind.FOREIGN)] == [{}]


@pytest.mark.parametrize(
    "wrong",
    [
        (Row, -1, (("n", 0, False),), 1, None),
        (Row, 0, (), 1, None),
        (Row, 0, tuple((f"n{i}", 0, False) for i in range(5)), 1, None),
        (Row, 0, (("n", -4, False),), 1, None),
        (Row, 0, (("n", sys.maxsize - 1, False),), 1, None),
        (Row, 0, (("n", 0, False), ("m", sys.maxsize - 6, True)), 1, None),
        (Row, 0, (("n", 0),), 1, None),
        (Row, 0, (("n", 0, False),), 1, ("name",)),
    ],
    ids=["argument", "none", "too many", "offset", "far", "far pointer", "item", "field"],
)
def test_what_cannot_be_read_is_refused(wrong: tuple[Any, ...]) -> None:
    made = _core.Foreign("a", "b", 0, 0, (), None, None, None, None, None)

    with pytest.raises((TypeError, ValueError)):
        _core.foreign_reads(made, *wrong)


def test_a_hook_with_a_pace_is_asked_once_in_it(tmp_path: Path, lib: Any) -> None:
    asked: list[int] = []
    hook = Function(after=lambda *call: asked.append(call[1]), pace_ns=3_600_000_000_000)

    def program() -> None:
        for number in range(50):
            lib.add(number, 0)

    with trace_library(lib, describe={"add": hook}):
        seen = recorded(tmp_path, program)

    assert asked == [0]
    assert len(seen.ends(Kind.FOREIGN)) == 50


def test_a_hook_without_a_pace_is_asked_each_time(tmp_path: Path, lib: Any) -> None:
    asked: list[int] = []
    hook = Function(after=lambda *call: asked.append(call[1]))

    with trace_library(lib, describe={"add": hook}):
        recorded(tmp_path, lambda: [lib.add(number, 0) for number in range(3)])

    assert asked == [0, 1, 2]
