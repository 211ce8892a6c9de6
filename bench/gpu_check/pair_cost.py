"""What one event pair costs: on the caller's path, and on the GPU."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import gpu_narration as gn
from bench.gpu_check.machines import Lane, Launch, Machine
from bench.gpu_check.plan import Plan


def measure(machine: Machine, plan: Plan, directory: Path) -> dict[str, object]:
    """Medians over turns of differences within a turn."""
    caller: dict[str, list[float]] = {}
    on_gpu: list[float | None] = []
    with machine.recording(directory / "pairs.gnt"):
        lane = machine.lane()
        ways: dict[str, Launch] = {
            "bare": lane.bare(),
            "recorded": lane.traced("recorded", 0),
            "timed": lane.traced("timed", 1),
        }
        for turn in range(plan.pair_turns):
            order = list(ways) if turn % 2 else list(reversed(ways))
            took = {name: _caller_ns(lane, ways[name], plan.pair_launches) for name in order}
            took["span"] = _span_ns(lane, plan.pair_launches, gpu=False)
            took["span with gpu"] = _span_ns(lane, plan.pair_launches, gpu=True)
            for name, ns in took.items():
                caller.setdefault(name, []).append(ns)
            on_gpu.append(_gpu_ns(lane, ways, plan))
    queued = [ns for ns in on_gpu if ns is not None]
    return {
        "turns": plan.pair_turns,
        "launches_a_turn": plan.pair_launches,
        "caller_ns_per_bare_launch": _median(caller["bare"]),
        "caller_ns_per_launch_event": _difference(caller, "recorded", "bare"),
        "caller_ns_per_pair_of_a_launch": _difference(caller, "timed", "recorded"),
        "caller_ns_per_pair_of_a_span": _difference(caller, "span with gpu", "span"),
        "gpu_ns_per_pair": _median(queued) if queued else None,
        "turns_not_behind_the_blocker": on_gpu.count(None),
    }


def _caller_ns(lane: Lane, launch: Launch, count: int) -> float:
    begin = time.perf_counter_ns()
    for _ in range(count):
        launch(0)
    took = time.perf_counter_ns() - begin
    lane.wait()
    return took / count


def _span_ns(lane: Lane, count: int, *, gpu: bool) -> float:
    stream = lane.stream if gpu else None
    begin = time.perf_counter_ns()
    for _ in range(count):
        with gn.span("gpu_check", "span", gpu=gpu, stream=stream):
            pass
    took = time.perf_counter_ns() - begin
    lane.wait()
    return took / count


def _gpu_ns(lane: Lane, ways: dict[str, Launch], plan: Plan) -> float | None:
    """How much longer a launch with a pair holds the stream, when none waits for the CPU;
    None if the blocker was over before all were queued.
    """
    took: dict[str, int] = {}
    for name in ("recorded", "timed"):
        queueing_ns = 0

        def work(launch: Launch = ways[name]) -> None:
            nonlocal queueing_ns
            begin = time.perf_counter_ns()
            for _ in range(plan.pair_launches):
                launch(0)
            queueing_ns = time.perf_counter_ns() - begin

        ways["bare"](plan.blocker_ns)
        took[name] = lane.elapsed_ns(work)
        if not plan.was_behind(queueing_ns):
            return None
    return (took["timed"] - took["recorded"]) / plan.pair_launches


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 1)


def _difference(caller: dict[str, list[float]], more: str, less: str) -> float:
    return _median([a - b for a, b in zip(caller[more], caller[less], strict=True)])
