"""Other tools on the same loop, each in a process of its own and against its own baseline.

A tool that attaches to the driver may leave something behind, so the bare loop is also
timed before the tool is loaded (``before``) and not only in turns with it.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.gpu_check import loops
from bench.gpu_check.machines import Machine
from bench.gpu_check.overhead import BASE, Way, interleaved, report, timer
from bench.gpu_check.plan import Mix, Plan

#: What a tool needs to be importable, and how to get it.
NEEDS = {
    "cupyx": ("cupyx", "comes with CuPy"),
    "torch": ("torch", "collect with --torch"),
    "cupti": ("cupti", "collect with --cupti"),
}


def measure(machine: Machine, plan: Plan, rival: str) -> dict[str, object]:
    """The rows of a tool, or why there are none."""
    module, how = NEEDS[rival]
    if machine.simulated:
        return {"absent": "the GPU is simulated: there is nothing for it to attach to"}
    if importlib.util.find_spec(module) is None:
        return {"absent": f"the module {module} is not installed ({how})"}
    if rival == "torch" and not _torch_sees_a_gpu():
        return {"absent": "this PyTorch sees no GPU"}
    before = {mix.name: _before(machine, mix, plan) for mix in plan.mixes}
    make = _MAKERS[rival]
    rows = []
    for mix in plan.mixes:
        ways: dict[str, Way] = {BASE: partial(_bare, machine, mix), rival: make(machine, mix)}
        row = report(mix, interleaved(ways, plan.loop_turns))
        rows.append(row | {"bare_before_it_was_loaded_ns": before[mix.name]})
    return {"rows": rows}


def _torch_sees_a_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _before(machine: Machine, mix: Mix, plan: Plan) -> int:
    _bare(machine, mix)
    return round(statistics.median(_bare(machine, mix) for _ in range(plan.loop_turns)))


def _bare(machine: Machine, mix: Mix) -> int:
    return timer(loops.bare(machine.lane(), mix))


def _cupyx(machine: Machine, mix: Mix) -> Way:
    """The whole call: it brackets the loop with events, and synchronises."""
    from cupyx.profiler import benchmark

    def way() -> int:
        run = loops.bare(machine.lane(), mix)
        return timer(lambda: benchmark(run, n_repeat=1, n_warmup=0, name=mix.name))

    return way


def _torch(machine: Machine, mix: Mix) -> Way:
    """The loop inside; what the profiler does before and after is not counted."""
    import torch

    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]

    def way() -> int:
        with torch.profiler.profile(activities=activities):
            return timer(loops.bare(machine.lane(), mix))

    return way


def _cupti(machine: Machine, mix: Mix) -> Way:
    """Kernel and driver records; the loop with collection on, the flush not counted."""
    from cupti import cupti

    kinds = [cupti.ActivityKind.CONCURRENT_KERNEL, cupti.ActivityKind.DRIVER]
    seen = 0

    def room() -> tuple[int, int]:
        return 8 << 20, 0

    def take(activities: list[Any]) -> None:
        nonlocal seen
        seen += len(activities)

    cupti.activity_register_callbacks(room, take)

    def way() -> int:
        nonlocal seen
        seen = 0
        for kind in kinds:
            cupti.activity_enable(kind)
        took = timer(loops.bare(machine.lane(), mix))
        cupti.activity_flush_all(1)
        for kind in kinds:
            cupti.activity_disable(kind)
        _wait_for(lambda: seen >= mix.launches)
        return took

    return way


def _wait_for(ready: Callable[[], bool], patience_s: float = 5.0) -> None:
    """Until the records have come; RuntimeError if a tool that should see them does not."""
    end = time.monotonic() + patience_s
    while not ready():
        if time.monotonic() > end:
            raise RuntimeError("CUPTI gave fewer records than there were launches")
        time.sleep(0.01)


_MAKERS: dict[str, Callable[[Machine, Mix], Way]] = {
    "cupyx": _cupyx,
    "torch": _torch,
    "cupti": _cupti,
}
