"""The calling thread's cost with console output on, over without.

The console is another process that follows the trace, so the thread itself does the
same work.  Where there are fewer cores than busy threads (the caller, the drain, the
follower), the wall clock also counts the time in which the caller was not running; the
thread's CPU time does not.  Both are measured.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import calls
from calls import TINY, WARM_UP, States
from gate import Unknown
from gpu_narration._core import trace_tiny
from turns import Spread, ns_per_call, undisturbed

#: The follower formats every event: few enough that it is done soon after the end.
CALLS = 2_000
BLOCKS = 8
PATIENCE_S = 30.0


def measure(directory: Path, pairs: int) -> dict[str, Spread | Unknown]:
    """Pairs of recordings, one without and one with a console."""
    place = directory / "console"
    place.mkdir()
    states = States(place)
    cpu, wall = [], []
    with undisturbed():
        for _ in range(pairs):
            cpu_off, wall_off = _once(states, place, console=False)
            cpu_on, wall_on = _once(states, place, console=True)
            cpu.append(cpu_on / cpu_off)
            wall.append(wall_on / wall_off)
    return {"console": Spread.of(cpu), "console_wall": Spread.of(wall)}


def _once(states: States, place: Path, *, console: bool) -> tuple[float, float]:
    """ns per call, by the thread's CPU time and by the wall clock; the best block of a few."""
    cpu, wall = [], []
    shown = place / "shown.txt"
    with _stderr_to(shown), states.state(calls.RECORDING, console=console):
        TINY.run(trace_tiny, WARM_UP)
        if console:
            _wait_for_text(shown)
        for _ in range(BLOCKS):
            begin = time.perf_counter_ns()
            cpu.append(ns_per_call(TINY, trace_tiny, CALLS, time.thread_time_ns))
            wall.append((time.perf_counter_ns() - begin) / CALLS)
    return sorted(cpu)[BLOCKS // 2], sorted(wall)[BLOCKS // 2]


@contextlib.contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """The follower writes to the program's stderr; here that is a file."""
    before: Any = sys.stderr
    with path.open("w", encoding="utf-8") as file:
        sys.stderr = file
        try:
            yield
        finally:
            sys.stderr = before


def _wait_for_text(path: Path) -> None:
    """Until the follower shows events: its start is not to be measured."""
    end = time.monotonic() + PATIENCE_S
    while path.stat().st_size == 0:
        if time.monotonic() > end:
            raise AssertionError(f"the console showed nothing within {PATIENCE_S:.0f} s")
        time.sleep(0.01)
