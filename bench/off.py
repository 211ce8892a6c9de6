"""What the levels of off cost: stripped, not started, filtered, thinned, recording.

    python bench/off.py
    python bench/off.py --json

Each is a loop with a ``trace_loop`` in it beside the same loop without.  Instructions are
counted by valgrind's callgrind and do not depend on how busy the machine is; times are
CPU times of the calling thread, medians of turns.  The stripped loop is compiled by the import hook's own compiler.

The last table is a loop of 10,000 iterations in the manner of the benchmark that this
package is measured against: an event with a sentence made for each iteration, by
``narrate`` and by ``trace_loop``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import callgrind
import gpu_narration
import machine
import showing
from calls import States
from gpu_narration.stripping.transform import compile_stripped

ITERATIONS = 10_000
ONE, THREE = 1_000, 3_000
TURNS = 41
#: How many times faster the light call is there, by its authors' figures.
REFERENCE_RATIO = 12.5

SOURCE = """
from gpu_narration import narrate, span, trace_fn, trace_loop

def loop(count):
    for i in range(count):
        trace_loop("worker", "select", i, count, f"worker={i % 8}, load={i % 5}/8")

@trace_fn
def step(i):
    return i

def functions(count):
    for i in range(count):
        step(i)

def blocks(count):
    for i in range(count):
        with span("engine", f"step {i % 8}"):
            pass
"""
BARE = """
def loop(count):
    for i in range(count):
        pass

def step(i):
    return i

def functions(count):
    for i in range(count):
        step(i)

def blocks(count):
    for i in range(count):
        pass
"""
LOOPS = ("loop", "functions", "blocks")
SHOWN = {
    "loop": "trace_loop with text per iteration", "functions": "a call of a trace_fn",
    "blocks": "with span(...) with text per iteration",
}  # fmt: skip

BASE, STRIPPED = "bare", "stripped"
#: The states of a loop that has its calls, and the filter of a recording in it.
RUNNING: dict[str, str | None] = {
    "not started": None,
    "filtered off": "off_loops=off",
    "thinned to 1 in 100": "off_loops=trace/100",
    "recording": "",
}
STATES = (BASE, STRIPPED, *RUNNING)


def namespace(kind: str) -> dict[str, Any]:
    """The loops, as they are, stripped, or without calls."""
    if kind == STRIPPED:
        code = compile_stripped(SOURCE, __file__)
    else:
        code = compile(BARE if kind == BASE else SOURCE, __file__, "exec", dont_inherit=True)
    # A loaded module: in a namespace that is none every call looks its site up anew.
    module = ModuleType(f"off_loops.{kind.replace(' ', '_')}")
    sys.modules[module.__name__] = module
    exec(code, vars(module))
    return vars(module)


@contextmanager
def in_state(states: States, state: str) -> Iterator[dict[str, Any]]:
    """The loops, in a recorder of that state."""
    directives = RUNNING.get(state)
    if directives is None:
        yield namespace(state)
        return
    with states.state("recording", filter=directives):
        yield namespace(state)


# ---- instructions ----


def sections() -> list[str]:
    names = ["start"]
    for state in STATES:
        for loop in LOOPS:
            names += ["setting up", f"{state}/{loop}/one", f"{state}/{loop}/three"]
    return names


def counted() -> None:
    """What runs under callgrind: each call of getpgrp ends a section."""
    with tempfile.TemporaryDirectory() as directory:
        states = States(Path(directory))
        os.getpgrp()
        for state in STATES:
            with in_state(states, state) as loops:
                for name in LOOPS:
                    run = loops[name]
                    run(ONE)
                    os.getpgrp()
                    run(ONE)
                    os.getpgrp()
                    run(THREE)
                    os.getpgrp()


def instructions() -> dict[str, float] | str:
    """Instructions of one iteration by state/loop, or why there are none."""
    reason = callgrind.missing()
    if reason is not None:
        return reason
    with tempfile.TemporaryDirectory() as directory:
        found = callgrind.count(Path(__file__), ["--counted"], Path(directory), {})
    by_name = dict(zip(sections(), found, strict=False))
    return {
        f"{state}/{loop}": (
            by_name[f"{state}/{loop}/three"].total - by_name[f"{state}/{loop}/one"].total
        )
        / (THREE - ONE)
        for state in STATES
        for loop in LOOPS
    }


# ---- times ----


def spent_ms(run: Callable[[], object]) -> float:
    begin = time.thread_time_ns()
    run()
    return (time.thread_time_ns() - begin) / 1e6


def narrated(count: int) -> None:
    for i in range(count):
        gpu_narration.narrate(
            "worker", "select", f"worker-{i % 8}",
            f"Iteration {i}/{count}: worker={i % 8}, load={i % 5}/8", load=i % 5,
        )  # fmt: skip


def traced(count: int) -> None:
    for i in range(count):
        gpu_narration.trace_loop("worker", "select", i, count, f"worker={i % 8}, load={i % 5}/8")


def deferred(count: int) -> None:
    for i in range(count):
        gpu_narration.trace_loop("worker", "select", i, count, "worker={}, load={}/8", i % 8, i % 5)


def empty(count: int) -> None:
    for _ in range(count):
        pass


MANNERS = {"narrate": narrated, "trace_loop": traced, "trace_loop, deferred text": deferred}


def side_by_side() -> dict[str, float]:
    """Median CPU ms of 10,000 iterations, recording, in turns."""
    rows: dict[str, list[float]] = {name: [] for name in (*MANNERS, STRIPPED, "bare")}
    stripped = _stripped(traced)
    with tempfile.TemporaryDirectory() as directory:
        states = States(Path(directory))
        with states.state("recording"):
            for turn in range(TURNS + 1):
                runs = {**MANNERS, STRIPPED: stripped, "bare": empty}
                for name, run in runs.items():
                    ms = spent_ms(lambda run=run: run(ITERATIONS))  # type: ignore[misc]
                    if turn:
                        rows[name].append(ms)
        assert states.dropped == 0
    return {name: statistics.median(each) for name, each in rows.items()}


def _stripped(function: Callable[[int], None]) -> Callable[[int], None]:
    """The loop of a function of this file as the import hook compiles it."""
    assert isinstance(function, FunctionType)
    made: dict[str, Any] = {"__name__": __name__}
    source = Path(__file__).read_text(encoding="utf-8").replace("if __name__ ==", "if None ==")
    exec(compile_stripped(source, __file__), made)
    found: Callable[[int], None] = made[function.__name__]
    return found


# ---- showing ----


def show(counts: dict[str, float] | str, times: dict[str, float]) -> None:
    print(machine.line(machine.facts()))
    if isinstance(counts, str):
        print(f"\nno instructions counted: {counts}")
    else:
        print("\ninstructions of one iteration, and over the loop without calls\n")
        rows = [[SHOWN[loop], *(_cell(counts, state, loop) for state in STATES)] for loop in LOOPS]
        showing.show(("", *STATES), rows)
    print(f"\n{ITERATIONS:,} iterations with text, recording to disk, CPU time\n")
    rows = [
        [name, f"{ms:.2f} ms", f"{ms / ITERATIONS * 1e6:.0f} ns", f"{times['narrate'] / ms:.1f} x"]
        for name, ms in times.items()
    ]
    showing.show(("", "all", "one", "narrate over it"), rows)
    print(
        f"\nnarrate over trace_loop: {times['narrate'] / times['trace_loop']:.1f} x here, "
        f"{REFERENCE_RATIO} x by the reference's own figures"
    )


def _cell(counts: dict[str, float], state: str, loop: str) -> str:
    here, bare = counts[f"{state}/{loop}"], counts[f"{BASE}/{loop}"]
    return f"{here:.0f} ({here / bare:.2f} x)"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--counted", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.counted:
        counted()
        return 0
    counts = instructions()
    times = side_by_side()
    if options.json:
        figures = {"instructions": counts, "ms": times, "reference_ratio": REFERENCE_RATIO}
        print(json.dumps({"machine": machine.facts(), **figures}, indent=2))
    else:
        show(counts, times)
    if isinstance(counts, str):
        return 0
    differs = [
        each for each in LOOPS if abs(counts[f"{STRIPPED}/{each}"] - counts[f"{BASE}/{each}"]) > 1
    ]
    if differs:
        print(f"\nstripped and bare differ: {', '.join(differs)}", file=sys.stderr)
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
