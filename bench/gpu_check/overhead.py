"""What tracing costs a loop like decoding: all ways in turns in one run, as ratios.

The figure is the median of the ratios to the bare loop of the same turn, so a GPU or
a machine whose speed drifts moves both.  The order rotates from turn to turn.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.gpu_check import loops
from bench.gpu_check.loops import Run
from bench.gpu_check.machines import Machine
from bench.gpu_check.plan import Mix, Plan

#: One measured run of a way, in ns.
Way = Callable[[], int]

BASE = "bare"
#: The way that the budget holds for.
SAMPLED = f"recording, one launch in {loops.EVERY} timed"
EACH = "recording, every launch timed"


def measure(machine: Machine, plan: Plan, directory: Path) -> list[dict[str, object]]:
    """A row for each mix."""
    rows = []
    for mix in plan.mixes:
        sampled = loops.Recorded(machine, mix, directory, loops.EVERY)
        each = loops.Recorded(machine, mix, directory, 1)
        ways: dict[str, Way] = {
            BASE: partial(_bare, machine, mix),
            "marked, not recording": partial(_marked, machine, mix),
            SAMPLED: partial(sampled.timed, timer),
            EACH: partial(each.timed, timer),
            "nvtx alone": partial(_nvtx, machine, mix),
        }
        row = report(mix, interleaved(ways, plan.loop_turns))
        rows.append(row | {"answers": {SAMPLED: sampled.answers(), EACH: each.answers()}})
    return rows


def report(mix: Mix, took: dict[str, list[int]]) -> dict[str, object]:
    """Medians and ratios of the turns of one mix."""
    return {
        "mix": mix.name,
        "tokens": mix.tokens,
        "launches": mix.launches,
        "gpu_ns_in_kernels": mix.tokens * mix.layers * sum(mix.kernels_ns),
        "turns": len(took[BASE]),
        "ways": {
            name: {
                "median_ns": round(statistics.median(values)),
                **_ratios(values, took[BASE]),
            }
            for name, values in took.items()
        },
    }


def interleaved(ways: dict[str, Way], turns: int) -> dict[str, list[int]]:
    """What each way took, a figure a turn; a first turn warms up and does not count."""
    took: dict[str, list[int]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(-1, turns):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            ns = ways[name]()
            if turn >= 0:
                took[name].append(ns)
    return took


def timer(run: Run) -> int:
    """The time of one run on the CPU's clock, to the end of its GPU work."""
    gc.collect()
    begin = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - begin


def _bare(machine: Machine, mix: Mix) -> int:
    return timer(loops.bare(machine.lane(), mix))


def _marked(machine: Machine, mix: Mix) -> int:
    return timer(loops.marked(machine.lane(), mix))


def _nvtx(machine: Machine, mix: Mix) -> int:
    return timer(loops.with_nvtx(machine.lane(), mix))


def _ratios(values: list[int], base: list[int]) -> dict[str, float]:
    ratios = sorted(one / other for one, other in zip(values, base, strict=True))
    return {
        "median_ratio": round(statistics.median(ratios), 5),
        "lowest_ratio": round(ratios[0], 5),
        "highest_ratio": round(ratios[-1], 5),
    }
