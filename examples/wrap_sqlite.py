"""sqlite3 traced whole through ctypes: errors by meaning, rows as they come.

python examples/wrap_sqlite.py
"""

import ctypes
import ctypes.util
import tempfile
from typing import Any

import gpu_narration as gn
from gpu_narration import ffi
from gpu_narration.tracefile import Trace
from gpu_narration.views.text import line

TEXTS = ctypes.POINTER(ctypes.c_char_p)
ON_ROW = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, TEXTS, TEXTS)


@gn.trace_fn(actor="rows")
def row(_data: int, _count: int, values: Any, _names: Any) -> int:
    print("a row:", values[0].decode())
    return 0


def session(sqlite: Any) -> None:
    database = ctypes.c_void_p()
    sqlite.sqlite3_open(b":memory:", ctypes.byref(database))
    on_row = ON_ROW(row)
    for sql in (b"create table t (n)", b"insert into t values (7), (8)", b"select n from t",
                b"select nothing"):  # fmt: skip
        sqlite.sqlite3_exec(database, sql, on_row, None, None)
    sqlite.sqlite3_close(database)


def main() -> None:
    name = ctypes.util.find_library("sqlite3")
    if name is None:
        print("sqlite3 is not on this machine")
        return
    sqlite: Any = ctypes.CDLL(name)
    sqlite.sqlite3_errstr.restype = ctypes.c_char_p

    def meaning(status: int) -> str | None:
        return sqlite.sqlite3_errstr(status).decode() if status else None

    preset = {
        "sqlite3_open": ffi.Function(arguments={"file": None, "out_db": None}, failure=meaning),
        "sqlite3_exec": ffi.Function(arguments={"db": None, "sql": bytes.decode}, failure=meaning),
    }
    with tempfile.TemporaryDirectory() as directory:
        with (
            gn.start(f"{directory}/sqlite", backend="none", vram=False) as recorder,
            ffi.trace_library(sqlite, actor="sqlite", describe=preset),
        ):
            session(sqlite)
        trace = Trace(recorder.path)
        for event in trace.events():
            print(line(event, trace.annotations(event)))


if __name__ == "__main__":
    main()
