"""Where the time of a report went, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_narration.timeline.nsys.explain import Explanation
from gpu_narration.timeline.nsys.table import DeviceTotals, WorkCounts
from gpu_narration.views.escape import quoted
from gpu_narration.views.units import duration

#: A median lag from which on the GPU, not the program, sets the pace.
_BEHIND_NS = 1_000_000
#: Shares of a GPU's time that are worth a sentence.
_IDLE_SHARE = 0.05


def story(told: Explanation) -> list[str]:
    """Sentences, the most important ones first; names in them are safe for a line."""
    return list(_sentences(told))


def _sentences(told: Explanation) -> Iterator[str]:
    if told.work.total == 0:
        yield "The report holds no GPU work: no kernel, copy, memset or graph."
        if told.ranges:
            yield f"It has ranges of {len(told.ranges)} names; their CPU time is all that is known of them."  # fmt: skip
        return
    window_ns = told.window_ns
    yield (
        f"The report covers {duration(window_ns)}; for {duration(told.busy.covered_ns)} of it "
        f"({_share(told.busy.covered_ns, window_ns)}) at least one of {_count(len(told.devices), 'GPU')} worked, "
        f"at {amounts(told.work)} of {_count(len(told.processes), 'process', 'processes')}."
    )
    yield from _attributed(told)
    yield from _most(told)
    yield from _pace(told)
    for device in told.devices:
        yield from _idle(device, window_ns)
    waits = [call for call in told.calls if call.waits]
    if waits:
        total_ns = sum(call.total_ns for call in waits)
        inside = max(told.ranges, key=lambda row: row.waiting_ns, default=None)
        where = (
            f"; {duration(inside.waiting_ns)} of it in {quoted(inside.name)}"
            if inside is not None and inside.waiting_ns
            else ""
        )
        yield (
            f"Threads waited {duration(total_ns)} for the GPU, added up over threads, most of it in "
            f"{waits[0].name}{where}."
        )


def _attributed(told: Explanation) -> Iterator[str]:
    if not told.unattributed.total:
        yield "All of that belongs to ranges."
        return
    share = _share(told.unattributed.total, told.work.total)
    because = "; ".join(f"for {counts.total:,} {reason}" for reason, counts in told.reasons.items())
    yield (
        f"{told.attributed.total:,} of {told.work.total:,} belong to ranges; {told.unattributed.total:,} "
        f"({share} of them, GPUs busy with them for {duration(told.unattributed_busy.covered_ns)}) do not: {because}."
    )  # fmt: skip


def _most(told: Explanation) -> Iterator[str]:
    own = max(told.ranges, key=lambda row: row.own.covered_ns, default=None)
    if own is None or own.own.covered_ns == 0:
        return
    yield (
        f"Of all ranges {quoted(own.name)} itself took most: GPUs worked {duration(own.own.covered_ns)} for it "
        f"({_share(own.own.covered_ns, told.busy.covered_ns)} of the time in which any GPU worked), at "
        f"{amounts(own.work)} in {_count(own.calls, 'call')}."
    )


def _pace(told: Explanation) -> Iterator[str]:
    lag_ns = told.lag.ns
    if lag_ns is None:
        return
    about = "" if told.lag.is_exact else "about "
    begins = f"The median kernel began {about}{duration(lag_ns)} after its launch call did"
    if lag_ns >= _BEHIND_NS:
        yield f"{begins}: the work was queued, so the GPU and not the program set the pace, and CPU time says little about it."  # fmt: skip
    else:
        yield f"{begins}: little was queued, so the program set the pace."


def _idle(device: DeviceTotals, window_ns: int) -> Iterator[str]:
    idle = device.idle
    if not idle.gaps or idle.total_ns < _IDLE_SHARE * window_ns:
        return
    yield (
        f"{gpu_name(device.index)} did nothing for {duration(idle.total_ns)} between pieces of its work "
        f"({_share(idle.total_ns, window_ns)} of the time covered, {_count(idle.gaps, 'gap')}, the longest {duration(idle.longest_ns)}); "
        f"for {duration(idle.starved_ns)} of that the next piece had not been asked for."
    )


def amounts(work: WorkCounts) -> str:
    """What there is of GPU work: ``3,442 kernels, 904 copies``."""
    parts = [
        _count(number, one, many)
        for number, one, many in (
            (work.kernels, "kernel", "kernels"), (work.copies, "copy", "copies"),
            (work.memsets, "memset", "memsets"), (work.graphs, "whole graph", "whole graphs"),
        )
        if number
    ]  # fmt: skip
    return ", ".join(parts) if parts else "nothing"


def gpu_name(index: int | None) -> str:
    return "A GPU that the report does not name" if index is None else f"gpu{index}"


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "an unknown share"
