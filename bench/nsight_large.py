"""A large report of Nsight Systems: how long it takes to explain, and in how much memory.

    python -m bench.nsight_large --gib 1.5

It writes a generated export (a thread of nested ranges, a launch in each, all kernels with
their names, over two processes), explains it in a process of its own and judges the peak of
that process's memory against 1 GiB.  Needs as much disk again as the report has, for
SQLite's sorting.  Exit status: 0, or 1 if the limit is passed or a count is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

GIB = 1 << 30
LIMIT_BYTES = GIB
PIDS = (111, 112)
_BATCH = 20_000
#: Bytes of a step: a range of two levels, a call, a kernel, each padded as nsys's rows are.
_STEP_BYTES = 470

_TABLES = """
CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE META_DATA_EXPORT (name TEXT NOT NULL, value TEXT);
CREATE TABLE NVTX_EVENTS (start INTEGER NOT NULL, "end" INTEGER, eventType INTEGER NOT NULL,
    text TEXT, globalTid INTEGER, endGlobalTid INTEGER, textId INTEGER, domainId INTEGER,
    int64Value INTEGER, jsonText TEXT);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    globalTid INTEGER, correlationId INTEGER, nameId INTEGER NOT NULL, callchain TEXT);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    deviceId INTEGER NOT NULL, streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER,
    shortName INTEGER NOT NULL, graphNodeId INTEGER, tensorSizes TEXT);
"""


def generate(path: Path, steps: int) -> None:
    """Writes a report of ``steps`` launches; rows lie in no order that would help."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.executescript(_TABLES)
    connection.execute("INSERT INTO META_DATA_EXPORT VALUES ('EXPORT_SCHEMA_VERSION', '3.25.0')")
    names = [(0, "cudaLaunchKernel_v7000"), *((n, f"kernel_{n}") for n in range(1, 200))]
    connection.executemany("INSERT INTO StringIds VALUES (?, ?)", names)
    for first in range(0, steps, _BATCH):
        batch = range(first, min(first + _BATCH, steps))
        connection.execute("BEGIN")
        connection.executemany(
            f"INSERT INTO NVTX_EVENTS VALUES (?, ?, 59, ?, ?, NULL, NULL, 0, NULL, '{'j' * 60}')",
            _ranges(batch),
        )
        connection.executemany(
            f"INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (?, ?, ?, ?, 0, '{'c' * 30}')",
            ((_at(n) + 200, _at(n) + 400, _tid(n), n // 2) for n in batch),
        )
        connection.executemany(
            f"INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?, ?, 7, ?, ?, ?, NULL, '{'t' * 100}')",
            (
                (_at(n) + 5_000, _at(n) + 5_700, n % 2, n // 2, _tid(n) & ~0xFFFFFF, 1 + n % 199)
                for n in reversed(batch)
            ),
        )
        connection.execute("COMMIT")
    connection.close()


def _ranges(batch: range) -> Iterator[tuple[int, int, str, int]]:
    for n in batch:
        yield _at(n) + 100, _at(n) + 900, f"aten::op_{n % 300}, op_id = {n}", _tid(n)
        yield _at(n), _at(n) + 1_000, f"layer {n % 40}", _tid(n)


def _at(step: int) -> int:
    return step // 2 * 1_000 + 7


def _tid(step: int) -> int:
    return 0x1000000000000 | PIDS[step % 2] << 24 | PIDS[step % 2]


_EXPLAIN = """
import json, resource, sys, time
from pathlib import Path
from gpu_narration.nsight.report import opened
from gpu_narration.timeline.nsys.explain import explain
began = time.monotonic()
with opened(Path(sys.argv[1])) as report:
    told = explain(report)
print(json.dumps({
    "seconds": time.monotonic() - began,
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "kernels": told.work.kernels,
    "attributed": told.attributed.kernels,
    "ranges": sum(row.calls for row in told.ranges),
    "busy_ns": told.busy.covered_ns,
}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--gib", type=float, default=1.5, help="size of the report")
    parser.add_argument("--directory", type=Path, help="where to write it, for a while")
    options = parser.parse_args()
    steps = int(options.gib * GIB / _STEP_BYTES)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        report = Path(directory) / "large.sqlite"
        began = time.monotonic()
        generate(report, steps)
        size = report.stat().st_size
        print(f"report: {size / GIB:.2f} GiB, {steps:,} launches, written in {time.monotonic() - began:.0f} s")  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", _EXPLAIN, str(report)], stdout=subprocess.PIPE, check=True,
            env={**os.environ, "TMPDIR": directory},
        )  # fmt: skip
    told = json.loads(done.stdout)
    print(
        f"explained in {told['seconds']:.0f} s, peak of memory {told['peak_bytes'] / GIB:.3f} GiB"
    )
    right = (told["kernels"], told["attributed"], told["ranges"]) == (steps, steps, 2 * steps)
    print(f"counts: {told} {'right' if right else 'WRONG'}")
    return 0 if right and told["peak_bytes"] <= LIMIT_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
