"""How true GPU times are: the ruler's length against what the trace says of it.

An interval between two events is longer than the kernel by a floor (the launch, the
end of the grid, the events).  The floor is what ``spin(0)`` reads in between, and is
taken off.  Two ways of asking:

queued   behind a blocker, so that no launch waits for the CPU: what the events can do
idle     on an idle stream, one at a time: the first event is done before the kernel
         has arrived, so the CPU's launch time counts in, as it does for users
"""

from __future__ import annotations

import time
from pathlib import Path

from bench.gpu_check.answers import figures, launches, number, reasons
from bench.gpu_check.machines import Lane, Machine
from bench.gpu_check.plan import LENGTHS_NS, Plan


def measure(machine: Machine, plan: Plan, directory: Path) -> list[dict[str, object]]:
    """A row for each length and way."""
    rows = []
    for ns in LENGTHS_NS:
        for way in ("queued", "idle"):
            path = directory / f"{way}-{ns}.gnt"
            with machine.recording(path):
                lane = machine.lane()
                good = _queued(lane, plan, ns) if way == "queued" else _idle(lane, plan, ns)
            rows.append({"way": way, "length_ns": ns, **_errors(path, ns, good)})
    return rows


def _queued(lane: Lane, plan: Plan, ns: int) -> list[bool]:
    """Of each launch, whether it was behind its blocker."""
    bare, floor, ruler = lane.bare(), lane.traced("floor", 1), lane.traced("ruler", 1)
    good: list[bool] = []
    while len(good) < plan.samples[ns]:
        bare(plan.blocker_ns)
        begin = time.perf_counter_ns()
        for _ in range(plan.batch):
            floor(0)
            ruler(ns)
        behind = plan.was_behind(time.perf_counter_ns() - begin)
        lane.wait()
        good += [behind] * plan.batch
    return good


def _idle(lane: Lane, plan: Plan, ns: int) -> list[bool]:
    floor, ruler = lane.traced("floor", 1), lane.traced("ruler", 1)
    for _ in range(plan.samples[ns]):
        floor(0)
        lane.wait()
        ruler(ns)
        lane.wait()
    return [True] * plan.samples[ns]


def _errors(path: Path, ns: int, good: list[bool]) -> dict[str, object]:
    floors = [answer for answer, ok in zip(launches(path, "floor"), good, strict=True) if ok]
    rulers = [answer for answer, ok in zip(launches(path, "ruler"), good, strict=True) if ok]
    known_floors = [n for answer in floors if (n := number(answer.get("gpu_ns"))) is not None]
    known = [n for answer in rulers if (n := number(answer.get("gpu_ns"))) is not None]
    floor = figures(known_floors)
    found: dict[str, object] = {
        "launches": len(good),
        "not_behind_the_blocker": good.count(False),
        "unknown": reasons(rulers, "gpu_ns", "gpu_reason"),
        "floor": floor,
        "error": None,
        "absolute_error": None,
    }
    if floor is not None and known:
        errors = [read - floor["p50_ns"] - ns for read in known]
        found["error"] = figures(errors)
        found["absolute_error"] = figures(abs(error) for error in errors)
    return found
