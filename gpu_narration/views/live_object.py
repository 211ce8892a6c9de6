"""One look at a running trace, or at the machine, as plain values for JSON."""

from __future__ import annotations

from gpu_narration.timeline.live import LiveState
from gpu_narration.views.jsonl import event_object, json_value


def live_object(state: LiveState) -> dict[str, object]:
    """Everything of the state; null where something is not known."""
    return {
        "title": state.title,
        "status": state.status,
        "now_ns": state.now_ns,
        "since_ns": state.since_ns,
        "events": state.events,
        "events_per_s": None if state.events_per_s is None else round(state.events_per_s, 1),
        "dropped": state.dropped,
        "processes": state.processes,
        "devices": [
            {
                "name": state.names.get(id(device), device.name),
                "device": device.index,
                "uuid": device.uuid,
                "simulated": device.simulated,
                "used_bytes": None if device.lost else device.last_bytes,
                "peak_bytes": device.peak_bytes,
                "total_bytes": device.total_bytes,
                "sources": sorted(device.sources),
                "lost": device.lost,
            }
            for device in state.devices
        ],
        "moves": [
            {
                "monotonic_ns": move.monotonic_ns,
                "device": move.device.index,
                "before_bytes": move.before_bytes,
                "used_bytes": move.used_bytes,
                "scope": move.scope,
                "correlation_id": move.correlation,
            }
            for move in state.moves
        ],
        "gpu_work": [
            {
                "name": work.name,
                "kind": "launch" if work.is_launch else "span",
                "device": work.device,
                "stream": json_value(work.stream),
                "simulated": work.simulated,
                "calls": work.calls,
                "elapsed_on_stream_ns": work.elapsed_ns,
                "longest_ns": work.longest_ns,
            }
            for work in state.work
        ],
        "untimed": state.untimed,
        "narrations": [event_object(event, {}) for event in state.narrations],
        "notes": state.notes,
    }
