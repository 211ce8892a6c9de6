"""Whether GPU work is placed rightly on the CPU's timeline.

Work lies between the moment before its launch was called and the moment after a
synchronise returned, both read here on CLOCK_MONOTONIC.  A placement that leaves that
window by more than the error it states is wrong.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from bench.gpu_check.answers import figures, launches, number, reasons
from bench.gpu_check.machines import Machine
from bench.gpu_check.plan import Plan

#: Long enough to be no accident, short against the window of an anchor.
_LENGTH_NS = 200_000


def measure(machine: Machine, plan: Plan, directory: Path) -> dict[str, object]:
    path = directory / "placement.gnt"
    draw = random.Random(1)
    windows: list[tuple[int, int]] = []
    with machine.recording(path):
        lane = machine.lane()
        launch = lane.traced("ruler", 1)
        for _ in range(plan.placed):
            begin_ns = time.monotonic_ns()
            launch(_LENGTH_NS)
            lane.wait()
            windows.append((begin_ns, time.monotonic_ns()))
            time.sleep(draw.uniform(0, 0.02))
    answers = launches(path, "ruler")
    bounds, outside = [], []
    for answer, (begin_ns, end_ns) in zip(answers, windows, strict=True):
        start, end = number(answer.get("gpu_start_ns")), number(answer.get("gpu_end_ns"))
        bound = number(answer.get("gpu_place_error_ns"))
        if start is None or end is None or bound is None:
            continue
        bounds.append(bound)
        beyond = max(begin_ns - start, end - end_ns) - bound
        if beyond > 0:
            outside.append(beyond)
    return {
        "launches": len(windows),
        "placed": len(bounds),
        "not_placed": reasons(answers, "gpu_start_ns", "gpu_place_reason"),
        "outside": len(outside),
        "farthest_outside_ns": max(outside, default=None),
        "stated_error": figures(bounds),
        "window": figures(end - begin for begin, end in windows),
    }
