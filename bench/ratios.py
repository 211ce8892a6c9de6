"""What the recorder costs, as ratios to calls that do nothing and to other libraries.

    python bench/ratios.py
    python bench/ratios.py --turns 600 --json
    python bench/ratios.py --markdown         # the table of docs/performance.md

All calls are measured in turns in one process, the loop round them taken off, and a
figure is the median of its ratios turn by turn.  Ceilings come from budgets.toml.

The strings of `a fresh 20-byte string` are made before, each used once a turn: making a
string is the program's cost, not the tracer's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import calls
import console
import gate
import gpu_narration
import machine
import narrate_cost
import peers
import showing
from calls import CASES, ONE_ARGUMENT, STRING, TINY, TWO_ARGUMENTS, WARM_UP, WITH, States
from gate import Budget, Unknown
from gpu_narration import _core
from gpu_narration._core import trace_tiny
from turns import Spread, Turns, undisturbed

#: Calls of a row in one turn: some 0.2 ms, so that a turn ends before the machine drifts.
CALLS = 5_000
#: A recording for that many turns.
TURNS_A_RECORDING = 30
EVENTS_ON_DISK = 200_000
IMPORTS = 11

#: None of them may be loaded by `import gpu_narration`.
HEAVY = ("numpy", "cupy", "pynvml", "nvtx", "cuda")

Figures = dict[str, Spread | Unknown]


def measure(directory: Path, turns: int) -> Figures:
    """All figures of budgets.toml, by their keys."""
    figures = of_calls(directory, turns)
    figures |= of_peers(directory, max(11, turns // 6))
    figures |= narrate_cost.measure(directory, max(31, turns // 4))[1]
    figures |= console.measure(directory, pairs=max(5, turns // 40))
    figures["bytes_per_event"] = bytes_per_event(directory)
    figures["import"] = import_ms(IMPORTS)
    return figures


def of_calls(directory: Path, turns: int) -> Figures:
    """Our calls over those that do nothing."""
    rows = Turns()
    states = States(directory)
    span = gpu_narration.span("engine", "prefill")
    empty_with = calls.EmptyBlock()

    def add(row: str, block: calls.Block, call: object) -> None:
        rows.measure(row, block, call, CALLS)

    with undisturbed():
        for begin in range(0, turns, TURNS_A_RECORDING):
            count = min(TURNS_A_RECORDING, turns - begin)
            for case in CASES:
                case.block.run(case.call, WARM_UP)
            for _ in range(count):
                add("empty, not started", TINY, _core.nothing)
                add("not started", TINY, trace_tiny)
                add("ctypes, not started", ONE_ARGUMENT, calls.plain_abs)
                add("ffi, not started", ONE_ARGUMENT, calls.traced_abs)
            with states.state(calls.RECORDING):
                for case in CASES:
                    case.block.run(case.call, WARM_UP)
                for _ in range(count):
                    add("empty", TINY, _core.nothing)
                    add("recording", TINY, trace_tiny)
                    add("empty, string", STRING, _core.nothing)
                    add("string", STRING, trace_tiny)
                    with calls.of_a_request():
                        add("empty, correlated", TINY, _core.nothing)
                        add("correlated", TINY, trace_tiny)
                    add("empty with", WITH, empty_with)
                    add("span", WITH, span)
                    add("function", TWO_ARGUMENTS, calls.pick)
                    add("trace_fn", TWO_ARGUMENTS, calls.traced_pick)
                    add("ctypes", ONE_ARGUMENT, calls.plain_abs)
                    add("ffi", ONE_ARGUMENT, calls.traced_abs)
                    with calls.filtered_off():
                        TINY.run(trace_tiny, WARM_UP)
                        add("empty, filtered off", TINY, _core.nothing)
                        add("filtered off", TINY, trace_tiny)
    assert states.dropped == 0
    return {
        "tiny_recording": rows.ratio("recording", "empty"),
        "tiny_filtered_off": rows.ratio("filtered off", "empty, filtered off"),
        "tiny_not_started": rows.ratio("not started", "empty, not started"),
        "tiny_string": rows.ratio("string", "empty, string"),
        "tiny_correlated": rows.ratio("correlated", "empty, correlated"),
        "span_reused": rows.ratio("span", "empty with"),
        "trace_fn_added": rows.difference("trace_fn", "function"),
        "ffi_added": rows.difference("ffi", "ctypes"),
        "ffi_added_not_started": rows.difference("ffi, not started", "ctypes, not started"),
    }


def of_peers(directory: Path, turns: int) -> Figures:
    """How many calls of trace_tiny one event of another library costs."""
    rows, absent = peers.measure(directory, turns, (peers.OURS, peers.LOGGING, peers.VIZTRACER))
    return {
        key: Unknown(absent[peer.name])
        if peer.name in absent
        else rows.ratio(peer.name, peers.OURS.name)
        for key, peer in (("logging", peers.LOGGING), ("viztracer", peers.VIZTRACER))
    }


def bytes_per_event(directory: Path) -> Spread:
    """What the trace directory holds after the end, by what it was told: a counter and a
    small int."""
    states = States(directory)
    with states.state(calls.RECORDING):
        TINY.run(trace_tiny, EVENTS_ON_DISK)
    return Spread.exactly(states.disk_bytes / EVENTS_ON_DISK)


def import_ms(runs: int) -> Spread:
    """What -X importtime says in fresh interpreters, warm caches; asserts that nothing heavy loads."""
    program = (
        "import sys, gpu_narration\n"
        f"assert not set({HEAVY!r}) & set(sys.modules), 'import gpu_narration loads too much'\n"
        "maps = open('/proc/self/maps').read()\n"
        "assert 'libcuda' not in maps and 'libnvidia' not in maps, 'import loads a driver'\n"
    )
    command = [sys.executable, "-P", "-X", "importtime", "-c", program]
    spent = []
    for _ in range(runs + 1):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        # import time:   self [us] | cumulative | package
        (line,) = (s for s in done.stderr.splitlines() if s.endswith("| gpu_narration"))
        spent.append(int(line.split("|")[1]) / 1000)
    return Spread.of(spent[1:])


# ---- showing ----


def _shown(figure: Spread | Unknown, unit: str) -> tuple[str, str]:
    """The figure and its quartiles."""
    if isinstance(figure, Unknown):
        return "-", figure.reason
    suffix = " x" if unit == "ratio" else f" {unit}"
    spread = ""
    if figure.low != figure.high:
        spread = f"{showing.number(figure.low)} to {showing.number(figure.high)}"
    return showing.number(figure.median) + suffix, spread


def rows_of(budgets: list[Budget], figures: Mapping[str, Spread | Unknown]) -> list[list[str]]:
    """What, figure, must, aim, quartiles."""
    rows = []
    for budget in budgets:
        figure, spread = _shown(figures[budget.key], budget.unit)
        sign = "≥" if budget.at_least else "≤"
        aim = "" if budget.aim is None else showing.number(budget.aim)
        rows.append([budget.what, figure, f"{sign} {showing.number(budget.must)}", aim, spread])
    return rows


HEAD = ("what", "figure", "must", "aim", "quartiles")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=240, help="how often each row is measured")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the figures as JSON")
    form.add_argument("--markdown", action="store_true", help="the figures as a Markdown table")
    options = parser.parse_args()
    budgets = gate.figure_budgets()
    with tempfile.TemporaryDirectory() as directory:
        figures = measure(Path(directory), options.turns)
    facts = machine.facts(clock=_core.clock_source(), turns=options.turns, calls_a_turn=CALLS)
    if options.json:
        print(json.dumps({"machine": facts, "figures": _as_json(budgets, figures)}, indent=2))
    elif options.markdown:
        print(showing.markdown(HEAD, rows_of(budgets, figures)))
        print(f"\nMeasured on: {machine.line(facts)}.")
    else:
        print(machine.line(facts))
        print("medians of all turns, quartiles beside them\n")
        showing.show(HEAD, rows_of(budgets, figures))
    return 0


def _as_json(budgets: list[Budget], figures: Figures) -> dict[str, object]:
    out: dict[str, object] = {}
    for budget in budgets:
        figure = figures[budget.key]
        limits = {"must": budget.must, "aim": budget.aim, "at_least": budget.at_least}
        if isinstance(figure, Unknown):
            measured: dict[str, object] = {"median": None, "reason": figure.reason}
        else:
            measured = {**figure._asdict()}
        out[budget.key] = {"what": budget.what, "unit": budget.unit, **measured, **limits}
    return out


if __name__ == "__main__":
    sys.exit(main())
