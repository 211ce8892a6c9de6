"""Device memory over a trace."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpu_narration.tracefile import Event


@dataclass(slots=True)
class MemoryRow:
    """Memory of one device over the trace; bytes."""

    device: int
    simulated: bool
    source: str
    first_bytes: int
    last_bytes: int
    peak_bytes: int
    total_bytes: int
    moves: int = 0
    #: By scope: how far memory rose while it was the innermost open span.
    rose_in: dict[str, int] = field(default_factory=dict)


class Memory:
    """Collects the readings, one at a time."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, bool], MemoryRow] = {}

    @property
    def rows(self) -> list[MemoryRow]:
        return sorted(self._rows.values(), key=lambda row: row.device)

    def take(self, event: Event) -> None:
        """Takes in one reading; one that lacks its numbers is no reading."""
        fields = event.fields
        device = fields.get("device")
        used, total = fields.get("used_bytes"), fields.get("total_bytes")
        if not isinstance(device, int) or not isinstance(used, int) or not isinstance(total, int):
            return
        simulated = fields.get("simulated") is True
        row = self._rows.get((device, simulated))
        if row is None:
            row = self._rows[device, simulated] = MemoryRow(
                device, simulated, str(fields.get("source")), used, used, used, total
            )
        before = fields.get("before_bytes")
        if isinstance(before, int):
            row.moves += 1
            scope = fields.get("in_scope")
            if used > before and isinstance(scope, str):
                row.rose_in[scope] = row.rose_in.get(scope, 0) + used - before
        row.last_bytes = used
        peak = fields.get("peak_bytes")
        row.peak_bytes = max(row.peak_bytes, used, peak if isinstance(peak, int) else 0)
