"""Whole sessions: sqlite3 and zlib through ctypes, eight threads with a tool attached."""

from __future__ import annotations

import ctypes
import ctypes.util
import threading
import zlib as python_zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import trace_fn
from gpu_narration._types import Kind
from gpu_narration.ffi import Function, trace_library
from tests.support.nvtx import observe
from tests.support.recording import recorded
from tests.support.sample import build_sample

ROWS = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_char_p),
    ctypes.POINTER(ctypes.c_char_p),
)


def _library(name: str) -> Any:
    path = ctypes.util.find_library(name)
    if path is None:
        pytest.skip(f"lib{name} is not on this machine")
    return ctypes.CDLL(path)


def _sqlite() -> Any:
    lib = _library("sqlite3")
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    lib.sqlite3_open.argtypes = [text, ctypes.POINTER(pointer)]
    lib.sqlite3_exec.argtypes = [pointer, text, ROWS, pointer, pointer]
    lib.sqlite3_close.argtypes = [pointer]
    lib.sqlite3_errstr.argtypes, lib.sqlite3_errstr.restype = [number], text
    return lib


def test_a_session_of_sqlite_is_traced_whole_with_its_callbacks(tmp_path: Path) -> None:
    """GIVEN a database in memory, WHEN three rows are asked for, THEN each comes inside the call."""
    lib = _sqlite()
    rows: list[bytes] = []

    @trace_fn(actor="demo")
    def row(_data: int, _count: int, values: Any, _names: Any) -> int:
        rows.append(values[0])
        return 0

    on_row = ROWS(row)

    def program() -> None:
        database = ctypes.c_void_p()
        assert lib.sqlite3_open(b":memory:", ctypes.byref(database)) == 0
        for statement in (b"create table t (n)", b"insert into t values (1), (2), (3)"):
            assert lib.sqlite3_exec(database, statement, ROWS(), None, None) == 0
        assert lib.sqlite3_exec(database, b"select n from t", on_row, None, None) == 0
        assert lib.sqlite3_exec(database, b"select nothing", ROWS(), None, None) == 1
        assert lib.sqlite3_close(database) == 0

    preset = {"*": Function(failure=lambda r: lib.sqlite3_errstr(r).decode() if r else None)}
    with trace_library(lib, actor="sqlite", describe=preset):
        seen = recorded(tmp_path, program)

    calls = [event.names[1] for event in seen.begins(Kind.FOREIGN)]
    assert calls == ["sqlite3_open", *["sqlite3_exec"] * 4, "sqlite3_close"]
    query = seen.begins(Kind.FOREIGN)[3]
    inside = [event for event in seen.begins(Kind.FUNCTION) if event.span == query.id]
    assert (rows, len(inside)) == ([b"1", b"2", b"3"], 3)
    errors = [(e.error_type, e.error_text) for e in seen.ends(Kind.FOREIGN) if e.error_type]
    assert errors == [("status 1", "SQL logic error")]


def test_a_session_of_zlib_is_traced_whole(tmp_path: Path) -> None:
    lib = _library("z")
    text = b"a llama, " * 1000
    size = ctypes.c_ulong(len(text))
    packed = ctypes.create_string_buffer(len(text))

    def program() -> None:
        assert lib.compress(packed, ctypes.byref(size), text, ctypes.c_ulong(len(text))) == 0
        lib.crc32(0, text, len(text))

    with trace_library(lib):
        seen = recorded(tmp_path, program)

    assert python_zlib.decompress(packed.raw[: size.value]) == text
    assert [event.names[:2] for event in seen.begins(Kind.FOREIGN)] == [
        ("z", "compress"),
        ("z", "crc32"),
    ]


EIGHT_THREADS = """
import ctypes, threading
from gpu_narration.ffi import trace_library
lib = ctypes.CDLL({library!r})
trace_library(lib)
callback = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)(lambda value: lib.add(value, 1))
def work():
    for _ in range(50):
        lib.add(2, 3)
        lib.call_back(callback, 4)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_ranges_of_eight_threads_are_balanced_in_each(tmp_path: Path) -> None:
    """GIVEN a tool, WHEN eight threads call one library, THEN each pops what it pushed."""
    library = str(build_sample(tmp_path))
    seen = observe(tmp_path, EIGHT_THREADS.format(library=library))

    pushes = Counter(push.tid for push in seen.log.of("push"))
    assert (sorted(pushes.values()), seen.log.unbalanced()) == ([150] * 8, [])


def test_threads_may_trace_and_untrace_while_others_call(tmp_path: Path) -> None:
    lib: Any = ctypes.CDLL(str(build_sample(tmp_path)))
    results: list[int] = []
    end = threading.Event()

    def work() -> None:
        while not end.is_set():
            results.append(lib.add(2, 3))

    def program() -> None:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(8):
            trace_library(lib).untrace()
        end.set()
        for thread in threads:
            thread.join()

    seen = recorded(tmp_path, program)

    assert set(results) == {5}
    assert len(seen.begins(Kind.FOREIGN)) == len(seen.ends(Kind.FOREIGN))
