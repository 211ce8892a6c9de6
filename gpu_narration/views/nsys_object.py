"""A report of Nsight Systems as one JSON object; all times are integer ns."""

from __future__ import annotations

from gpu_narration.timeline.nsys.explain import Explanation
from gpu_narration.timeline.nsys.median import Median
from gpu_narration.timeline.nsys.table import (
    DeviceTotals,
    Idle,
    ProcessTotals,
    RangeTotals,
    WorkCounts,
)
from gpu_narration.views.nsys_story import story


def explanation_object(told: Explanation, *, limit: int = 0) -> dict[str, object]:
    """All of an explanation; at most ``limit`` ranges, calls and kernels unless it is 0."""
    last = limit or None
    return {
        "story": story(told),
        "schema": told.version,
        "begin_ns": told.begin_ns,
        "end_ns": told.end_ns,
        "window_ns": told.window_ns,
        "work": _work(told.work),
        "attributed": _work(told.attributed),
        "unattributed": {
            **_work(told.unattributed),
            "gpu_busy_ns": told.unattributed_busy.covered_ns,
            "share_of_work": told.unattributed.total / told.work.total if told.work.total else None,
            "reasons": {reason: _work(counts) for reason, counts in told.reasons.items()},
        },
        "gpu_busy_ns": told.busy.covered_ns,
        "launch_to_start": _median(told.lag),
        "graph_nodes": told.graph_nodes,
        "wrong_by_correlation_alone": told.wrong_by_correlation_alone,
        "ranges": [_range(row) for row in told.ranges[:last]],
        "processes": [_process(row) for row in told.processes],
        "devices": [_device(row) for row in told.devices],
        "calls": [
            {"name": row.name, "calls": row.calls, "total_ns": row.total_ns, "waits": row.waits}
            for row in told.calls[:last]
        ],
        "kernels": [
            {"name": row.name, "count": row.count, "total_ns": row.total_ns}
            for row in told.kernels[:last]
        ],
        "warnings": told.warnings,
        "lacks": [{"what": lack.what, "meaning": lack.meaning} for lack in told.lacks],
        "malformed": {name: count.malformed for name, count in told.malformed.items()},
    }


def _work(work: WorkCounts) -> dict[str, object]:
    return {
        "total": work.total,
        "kernels": work.kernels,
        "copies": work.copies,
        "memsets": work.memsets,
        "graphs": work.graphs,
        "copied_bytes": work.copied_bytes,
    }


def _range(row: RangeTotals) -> dict[str, object]:
    return {
        "name": row.name,
        "calls": row.calls,
        "open": row.open,
        "cpu_ns": row.cpu_ns,
        "in_cuda_calls_ns": row.api_ns,
        "waiting_ns": row.waiting_ns,
        "work": _work(row.work),
        "gpu_busy_ns": row.busy.covered_ns if row.work.total else None,
        "gpu_busy_itself_ns": row.own.covered_ns if row.work.total else None,
        "launch_to_start": _median(row.lag),
        "idle_before": _idle(row.idle),
    }


def _process(row: ProcessTotals) -> dict[str, object]:
    return {
        "pid": row.pid,
        "name": row.name,
        "work": _work(row.work),
        "attributed": _work(row.attributed),
        "gpu_busy_ns": row.busy.covered_ns,
    }


def _device(row: DeviceTotals) -> dict[str, object]:
    return {
        "device": row.index,
        "pid": row.pid,
        "uuid": row.uuid,
        "work": _work(row.work),
        "gpu_busy_ns": row.busy.covered_ns,
        "idle": _idle(row.idle),
    }


def _idle(idle: Idle) -> dict[str, object]:
    return {
        "gaps": idle.gaps,
        "total_ns": idle.total_ns,
        "longest_ns": idle.longest_ns,
        "not_asked_yet_ns": idle.starved_ns,
    }


def _median(lag: Median) -> dict[str, object]:
    return {"count": lag.count, "median_ns": lag.ns, "exact": lag.is_exact}
