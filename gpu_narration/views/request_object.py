"""One request to a llama.cpp as plain values: ns and bytes, null where not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpu_narration.timeline.request import NO_FIRST, NOT_COMPLETED, Request, Step
from gpu_narration.timeline.request_memory import NO_READING, DeviceUse
from gpu_narration.tracefile.format import Value
from gpu_narration.views.jsonl import json_value


def request_object(request: Request, *, pids: Sequence[int] = ()) -> dict[str, object] | None:
    """Every step by itself, none folded; None if no call of llama.cpp belongs to it."""
    if request.is_empty:
        return None
    first = request.first_token_ns
    return {
        "correlation_id": request.correlation,
        "begin_ns": request.begin_ns,
        "end_ns": request.end_ns,
        "events": request.events,
        "model": _made(request.model),
        "context": _made(request.context),
        "steps": [_step(step, request.begin_ns) for step in request.steps],
        "phases": {
            name: {
                "steps": row.steps,
                "tokens": row.tokens,
                "completed_tokens": row.timed_tokens,
                "to_completion_ns": row.working.covered_ns if row.timed_tokens else None,
                "tokens_per_s": row.tokens_per_s,
            }
            for name, row in request.phases.items()
        },
        "time_to_first_token_ns": first,
        "first_token_by": request.first_token_by,
        "first_token_reason": NO_FIRST if first is None else None,
        "tokens_sampled": request.sampled,
        "calls": {
            name: {"count": figures.count, "total_ns": figures.total_ns}
            for name, times in request.calls.items()
            if (figures := times.figures) is not None
        },
        "counters": dict(request.counted) or None,
        "vram": [_device(use, pids) for use in request.memory.devices],
        "vram_reason": None if request.memory.devices else NO_READING,
        "failures": [
            {"at_ns": at_ns - request.begin_ns, "function": name, "error": what}
            for at_ns, name, what in request.failures
        ],
    }


def _made(fields: Mapping[str, Value] | None) -> dict[str, object] | None:
    return None if fields is None else {name: json_value(value) for name, value in fields.items()}


def _step(step: Step, begin_ns: int) -> dict[str, object]:
    known = step.completed_ns is not None or step.failure is not None
    return {
        "function": step.function,
        "phase": step.phase,
        "n_tokens": step.n_tokens,
        "position": step.position,
        "at_ns": step.begin_ns - begin_ns,
        "enqueued_ns": step.enqueued_ns,
        "completed_ns": step.completed_ns,
        "completed_by": step.completed_by,
        "completed_reason": None
        if known
        else "it did not come back"
        if step.is_open
        else NOT_COMPLETED,
        "waited_ns": step.waited_ns,
        "error": step.failure,
    }


def _device(use: DeviceUse, pids: Sequence[int]) -> dict[str, object]:
    return {
        "pid": pids[use.process] if use.process < len(pids) else None,
        "device": use.device,
        "simulated": use.simulated,
        "source": use.source,
        "begin_bytes": use.begin_bytes,
        "peak_bytes": use.peak_bytes,
        "end_bytes": use.end_bytes,
        "total_bytes": use.total_bytes,
    }
