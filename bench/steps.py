"""Where the nanoseconds of an event go: calls that differ in one step, less one another.

    python bench/steps.py
    python bench/steps.py --markdown          # the table of docs/performance.md

All of them are measured in turns in one process, the loop round them taken off; a step
is the median of its differences turn by turn.  Steps that take a nanosecond or two are
within the machine's mood: bench/instructions.py counts them exactly.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import calls
import machine
import showing
from calls import NEW_NAME, NO_VALUES, STRING, TINY, WARM_UP, States
from gpu_narration import _core
from gpu_narration._core import trace_tiny
from turns import Spread, Turns, undisturbed

CALLS = 5_000
TURNS_A_RECORDING = 30


class Step(NamedTuple):
    """`rows` are added, `less` are taken off."""

    what: str
    rows: tuple[str, ...]
    less: tuple[str, ...] = ()


STEPS = (
    Step("call with four constant strings: arguments, vectorcall, None", ("empty",)),
    Step("is something recorded? (all that a call does when nothing is)", ("stopped",), ("empty",)),
    Step("the caller's module, the call site, the filter", ("off",), ("stopped",)),
    Step("thread, context, counter, head of the record, commit", ("on",), ("off",)),
    Step("two ints: passing them", ("empty, ints",), ("empty",)),
    Step("two ints: writing them", ("on, ints", "empty"), ("on", "empty, ints")),
    Step("a 20-byte string: passing it", ("empty, string",), ("empty",)),
    Step("a 20-byte string: writing it", ("on, string", "empty"), ("on", "empty, string")),
    Step("a new string as a name instead of a constant", ("on, name",), ("on",)),
    Step("no steady counter: a system clock instead", ("on, system clock",), ("on",)),
)


def measure(directory: Path, turns: int) -> Turns:
    rows = Turns()
    states = States(directory)

    def add(row: str, block: calls.Block, call: Callable[..., object]) -> None:
        rows.measure(row, block, call, CALLS)

    with undisturbed():
        for begin in range(0, turns, TURNS_A_RECORDING):
            count = min(TURNS_A_RECORDING, turns - begin)
            for _ in range(count):
                add("stopped", NO_VALUES, trace_tiny)
            with states.state(calls.RECORDING, clock="monotonic"):
                for _ in range(count):
                    add("on, system clock", NO_VALUES, trace_tiny)
            with states.state(calls.RECORDING):
                for _ in range(count):
                    add("empty", NO_VALUES, _core.nothing)
                    add("on", NO_VALUES, trace_tiny)
                    add("empty, ints", TINY, _core.nothing)
                    add("on, ints", TINY, trace_tiny)
                    add("empty, string", STRING, _core.nothing)
                    add("on, string", STRING, trace_tiny)
                    add("on, name", NEW_NAME, trace_tiny)
                    with calls.filtered_off():
                        NO_VALUES.run(trace_tiny, WARM_UP)
                        add("off", NO_VALUES, trace_tiny)
    return rows


def ns_of(step: Step, rows: Turns) -> Spread:
    """Turn by turn: what is added, less what is taken off."""
    turns = range(len(rows.rows[step.rows[0]]))
    return Spread.of(
        [
            sum(rows.rows[row][turn] for row in step.rows)
            - sum(rows.rows[row][turn] for row in step.less)
            for turn in turns
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=240, help="how often each row is measured")
    parser.add_argument("--markdown", action="store_true", help="a Markdown table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rows = measure(Path(directory), options.turns)
    facts = machine.facts(clock=_core.clock_source(), turns=options.turns)
    head = ("step", "ns", "quartiles")
    table = []
    for step in STEPS:
        ns = ns_of(step, rows)
        spread = f"{showing.number(ns.low)} to {showing.number(ns.high)}"
        table.append((step.what, showing.number(ns.median), spread))
    if options.markdown:
        print(showing.markdown(head, table))
        print(f"\nMeasured on: {machine.line(facts)}.")
    else:
        print(machine.line(facts) + "\n")
        showing.show(head, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
