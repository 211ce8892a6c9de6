"""The summary as one JSON object.

All times are integer ns.  What is unknown is null, or a count beside its reason.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpu_narration.timeline.distribution import Figures
from gpu_narration.timeline.gpu_time import DeviceRow, GpuRow, Share, StreamRow, Work
from gpu_narration.timeline.memory import MemoryRow
from gpu_narration.timeline.summary import SpanRow, Summary
from gpu_narration.views.jsonl import json_value


def summary_object(
    summary: Summary, *, limit: int = 0, pids: Sequence[int] = ()
) -> dict[str, object]:
    """All of a summary; at most ``limit`` rows of a table unless it is 0.

    ``pids`` names the processes of a trace by index.
    """
    last = limit or None
    window_ns = summary.window_ns
    waiting = Share(summary.waiting.covered_ns, window_ns, at_least=False)
    return {
        "events": summary.events,
        "begin_ns": summary.begin_ns,
        "end_ns": summary.end_ns,
        "window_ns": window_ns,
        "spans": [_span(row) for row in summary.spans[:last]],
        "waits": [_span(row) | {"simulated": row.simulated} for row in summary.waits[:last]],
        "waiting": _share(waiting),
        "launches": [_gpu(row, window_ns, pids) for row in summary.launches[:last]],
        "scopes": [_gpu(row, window_ns, pids) for row in summary.scopes[:last]],
        "streams": [_stream(row, pids) for row in summary.streams[:last]],
        "devices": [_device(row, window_ns) for row in summary.devices],
        "untimed": summary.untimed,
        "unplaced": summary.unplaced,
        "memory": [_memory(row) for row in summary.memory],
    }


def _span(row: SpanRow) -> dict[str, object]:
    return {
        "actor": row.actor,
        "name": row.name,
        "calls": row.calls,
        "failed": row.failed,
        "open": row.open,
        "cpu": _figures(row.figures),
    }


def _gpu(row: GpuRow, window_ns: int, pids: Sequence[int]) -> dict[str, object]:
    return {
        "action": row.action,
        "name": row.name,
        "scopes": row.scopes,
        "pid": _pid(row.process, pids),
        "device": row.device,
        "stream": json_value(row.stream),
        "simulated": row.simulated,
        "calls": row.calls,
        "failed": row.failed,
        "timed": len(row.elapsed),
        "elapsed_on_stream": _figures(row.figures),
        "untimed": row.untimed,
        "placed": len(row.finish_lag),
        "unplaced": row.unplaced,
        "placement_error_ns": row.error_ns,
        "call_to_finish": _figures(row.finish_lag.figures),
        "call_to_start": _figures(row.start_lag.figures),
        "share_of_window": _share(row.share(window_ns)),
    }


def _stream(row: StreamRow, pids: Sequence[int]) -> dict[str, object]:
    return {
        "pid": _pid(row.process, pids),
        "device": row.device,
        "stream": json_value(row.stream),
        "simulated": row.simulated,
        "placement_error_ns": row.error_ns,
        "launches": _work(row.launches),
        "scopes": _work(row.scopes),
    }


def _work(work: Work) -> dict[str, object]:
    return {
        "calls": work.calls,
        "timed": work.timed,
        "elapsed_ns": work.elapsed_ns if work.timed else None,
        "placed": work.placed,
        "covered_ns": work.covered.covered_ns if work.placed else None,
    }


def _device(row: DeviceRow, window_ns: int) -> dict[str, object]:
    return {
        "device": row.device,
        "uuid": row.uuid,
        "simulated": row.simulated,
        "streams": row.streams,
        "placed": row.placed,
        "not_placed": row.not_placed,
        "placement_error_ns": row.error_ns,
        "busy_in_launches": _share(row.share(row.launches, window_ns)),
        "busy_in_scopes": _share(row.share(row.scopes, window_ns)),
    }


def _memory(row: MemoryRow) -> dict[str, object]:
    return {
        "device": row.device,
        "simulated": row.simulated,
        "source": row.source,
        "moves": row.moves,
        "first_bytes": row.first_bytes,
        "peak_bytes": row.peak_bytes,
        "last_bytes": row.last_bytes,
        "total_bytes": row.total_bytes,
        "rose_in_bytes": row.rose_in,
    }


def _figures(figures: Figures | None) -> dict[str, int] | None:
    if figures is None:
        return None
    return {
        "count": figures.count,
        "total_ns": figures.total_ns,
        "median_ns": figures.median_ns,
        "p99_ns": figures.p99_ns,
        "longest_ns": figures.longest_ns,
    }


def _share(share: Share | None) -> dict[str, object] | None:
    if share is None or share.of_ns <= 0:
        return None
    return {
        "covered_ns": share.covered_ns,
        "fraction": round(share.fraction, 6),
        "at_least": share.at_least,
    }


def _pid(process: int | None, pids: Sequence[int]) -> int | None:
    return pids[process] if process is not None and process < len(pids) else None
