"""Whether a test has kept its limits, and which scope took what, where it has not."""

from __future__ import annotations

import gc
from collections.abc import Iterable

from gpu_narration.testing.captured import Captured
from gpu_narration.testing.limits import Limit
from gpu_narration.testing.memory import MemoryOf, memory_of, scopes_of
from gpu_narration.testing.work import Work, busy_ns, work_of
from gpu_narration.views.units import duration, size

#: So many scopes are named.
_NAMED = 5
_TIME_IT = "time launches with cuda.kernel(..., every=1), or round them span(gpu=True)"
_NO_SCOPE = "in no scope inside; span(vram=True) or trace_fn(vram=True) would name one"


def settle(limits: list[Limit]) -> None:
    """At the end of a test, before memory is read: what nobody refers to is let go."""
    if any(limit.kind == "vram_leak" for limit in limits):
        gc.collect()


def judge(captured: Captured, limits: list[Limit]) -> list[str]:
    """What is wrong, one text for each limit that was not kept or cannot be judged."""
    judges = {"vram_limit": _limit, "vram_leak": _leak, "gpu_time_limit": _gpu_time}
    return [problem for limit in limits if (problem := judges[limit.kind](captured, limit))]


def _limit(captured: Captured, limit: Limit) -> str:
    memory = _of_test(captured)
    if isinstance(memory, str):
        return f"{limit.kind} cannot be judged: {memory}"
    if memory.rise <= limit.value:
        return ""
    how = memory.peak_source or "only the edges were read"
    # What its scopes inside have done is their own: of equal ones the inner comes first.
    scopes = sorted(scopes_of(captured), key=lambda scope: (-scope.memory.rise, -scope.depth))
    return _report(
        f"VRAM rose {size(memory.rise)} above its start on {_gpu(captured, memory.device)} "
        f"({how}), {size(memory.rise - limit.value)} more than vram_limit({limit.text!r}) allows",
        memory.shared,
        [scope.told() for scope in scopes if scope.memory.rise > 0],
    )


def _leak(captured: Captured, limit: Limit) -> str:
    memory = _of_test(captured)
    if isinstance(memory, str):
        return f"{limit.kind} cannot be judged: {memory}"
    if memory.left <= limit.value:
        return ""
    pool = f", {size(memory.cached)} more lie unused in the pool" if memory.cached > 0 else ""
    scopes = sorted(scopes_of(captured), key=lambda scope: (-scope.own, -scope.depth))
    return _report(
        f"{size(memory.left)} of VRAM are still taken on {_gpu(captured, memory.device)} "
        f"({memory.source}{pool}), {size(memory.left - limit.value)} more than "
        f"vram_leak(tolerance={limit.text!r}) allows",
        memory.shared,
        [scope.told() for scope in scopes if scope.own > 0],
    )


def _of_test(captured: Captured) -> MemoryOf | str:
    """What the test did to memory, or why it is not known."""
    if captured.scope is None:
        return "the scope of the test was not recorded; the filter of the recording left it out"
    return memory_of(captured.annotations(captured.scope))


def _gpu_time(captured: Captured, limit: Limit) -> str:
    work = work_of(captured)
    if not work.items:
        return f"{limit.kind} cannot be judged: nothing in the test was timed; {_TIME_IT}"
    busy = busy_ns(work.gpu)
    if busy <= limit.value:
        untimed = work.gpu.untimed()
        reasons = ", ".join(f"{reason} ({count})" for reason, count in untimed.items())
        if not untimed:
            return ""
        return f"{limit.kind} cannot be judged: no GPU time of: {reasons}; {_TIME_IT}"
    return _report(
        f"{duration(busy)} elapsed on {_gpus(captured, work)}, {duration(busy - limit.value)} "
        f"more than gpu_time_limit({limit.text!r}) allows",
        "",
        list(work.longest()),
    )


def _report(head: str, shared: str, scopes: Iterable[str]) -> str:
    told = list(scopes)
    lines = [head]
    if shared:
        lines.append(f"  perhaps not of this test alone: {shared}")
    lines += [f"  {scope}" for scope in told[:_NAMED]]
    if told[_NAMED:]:
        lines.append(f"  and {len(told) - _NAMED} more")
    if not told:
        lines.append(f"  {_NO_SCOPE}")
    return "\n".join(lines)


def _gpu(captured: Captured, device: int) -> str:
    return f"{'simulated ' * captured.simulated}gpu{device}"


def _gpus(captured: Captured, work: Work) -> str:
    if len(work.devices) == 1:
        return _gpu(captured, next(iter(work.devices)))
    return f"the busiest of {len(work.devices)} {'simulated ' * captured.simulated}GPUs"
