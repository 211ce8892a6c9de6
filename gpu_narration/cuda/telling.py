"""What the trace is told of device memory: the records, and the notes beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpu_narration import _core
from gpu_narration._types import Kind, Level
from gpu_narration.cuda import share
from gpu_narration.cuda.backend import Device, MemoryInfo
from gpu_narration.cuda.moves import Move, Series
from gpu_narration.cuda.open_scopes import OpenScope, Sequences

if TYPE_CHECKING:
    from gpu_narration.cuda.counters import Counters
    from gpu_narration.cuda.nvml import Nvml

#: What a reading that was asked for came to: the memory, or why it is unknown.
Answer = MemoryInfo | str

NO_ANSWER = "NVML has not answered"

#: So many questions may wait for a driver that hangs; more are answered at once.
WAITING_MAX = 1000


@dataclass(slots=True)
class Watched:
    """One device, and what is known of it; some of it guarded by the sampler's lock.

    ``place``: in the lists of NVML or of the backend.
    """

    place: int
    device: Device
    budget: share.Budget
    series: Series | None = None  # guarded, as the next four
    last: MemoryInfo | None = None
    last_ns: int = 0
    sequences: Sequences = field(default_factory=dict)
    waiting: list[Callable[[Answer], None]] = field(default_factory=list)
    #: Why it cannot be read, and when it is tried again.
    lost: str | None = None
    retry_ns: int = 0
    retry_pause_ns: int = 0
    calls: int = 0
    failures: int = 0
    cost_ns: int = 0
    peak_bytes: int | None = None
    #: What the process had when that was last known, and why it is not to be known.
    share_bytes: int | None = None
    no_share: str = ""

    def note_cost(self, elapsed_ns: int) -> None:
        """Notes what watching it has cost in the time since it began."""
        _core.note(
            "vram_cost",
            {
                "device": self.device.index,
                "uuid": self.device.uuid,
                "calls": self.calls,
                "failures": self.failures,
                "cost_ns": self.cost_ns,
                "process_calls": self.budget.calls,
                "process_cost_ns": self.budget.cost_ns,
                "share": (self.cost_ns + self.budget.cost_ns) / max(1, elapsed_ns),
                "peak_bytes": self.peak_bytes,
            },
        )


class Teller:
    """Writes the records of one sampler, and gives readings to an NVTX tool.

    nvml: None where the GPU is simulated, which every record then says.
    """

    def __init__(
        self, nvml: Nvml | None, counters: Counters | None, clock: Callable[[], int]
    ) -> None:
        self._nvml = nvml
        self._counters = counters
        self._clock = clock

    def describe(self, watched: Watched, info: MemoryInfo, threshold: int) -> None:
        """Notes what the series of a device is made of."""
        if self._nvml is not None:
            _core.note(
                "vram_device",
                {
                    "device": watched.device.index,
                    "uuid": watched.device.uuid,
                    "parent_uuid": self._nvml.parent(watched.place),
                    "memory_version": self._nvml.memory_version(watched.place),
                    "total_bytes": info.total_bytes,
                    "threshold_bytes": threshold,
                },
            )

    def sample(self, device: Device, info: MemoryInfo) -> None:
        """Gives an attached tool a reading."""
        if self._counters is not None:
            self._counters.sample(device, info)

    def tell(
        self,
        watched: Watched,
        move: Move,
        info: MemoryInfo,
        scope: OpenScope | None,
        window_ns: int,
    ) -> None:
        """Records a move.  ``window_ns``: since the reading before."""
        fields: dict[str, object] = {
            "before_bytes": move.before_bytes,
            "used_bytes": move.used_bytes,
            "peak_bytes": move.peak_bytes,
            "free_bytes": info.free_bytes,
            "total_bytes": info.total_bytes,
            "reserved_bytes": info.reserved_bytes,
            "device": watched.device.index,
            "uuid": watched.device.uuid,
            "source": info.source,
        }
        if move.before_bytes is None:
            scope = None  # nothing has moved in it
        else:
            fields["window_ns"] = window_ns
        if scope is not None:
            fields["in_span"] = scope.span
            if scope.name is not None:
                fields["in_scope"] = scope.name
            if scope.newer:
                fields["scope_is_newer"] = True
            if scope.open_scopes > 1:
                fields["open_scopes"] = scope.open_scopes
        asks = self._nvml is not None and not watched.no_share and watched.budget.allows()
        if self._nvml is not None and not asks:
            fields["process_bytes"] = None
            fields["process_reason"] = watched.no_share or share.TOO_SOON
        event = self._emit(watched, fields, scope)
        if asks and event is not None:
            self._tell_share(watched, event)

    def tell_loss(self, watched: Watched, before_bytes: int | None, reason: str) -> None:
        """Records that a device cannot be read any more."""
        if self._counters is not None:
            self._counters.lose(watched.device)
        self._emit(
            watched,
            {
                "before_bytes": before_bytes,
                "used_bytes": None,
                "reason": reason,
                "device": watched.device.index,
                "uuid": watched.device.uuid,
                "source": "exact" if self._nvml is None else "sampled",
            },
            None,
            Level.WARN,
        )

    def _tell_share(self, watched: Watched, event: int) -> None:
        """Says of a record what the process has: asked after it, so that it is not late."""
        assert self._nvml is not None
        assert watched.series is not None
        begin_ns = self._clock()
        own = self._nvml.process_share(watched.place)
        if own.asked:
            watched.budget.spent(self._clock() - begin_ns)
        fields: dict[str, object] = {"process_bytes": own.bytes}
        if own.bytes is None:
            fields["process_reason"] = watched.no_share = own.reason
        elif watched.share_bytes is not None:
            moved_bytes = abs(own.bytes - watched.share_bytes)
            if moved_bytes < watched.series.threshold_bytes:
                fields["by_others"] = True
        watched.share_bytes = own.bytes
        _core.annotate(event, fields)

    def _emit(
        self,
        watched: Watched,
        fields: dict[str, object],
        scope: OpenScope | None,
        level: Level = Level.TRACE,
    ) -> int | None:
        if self._nvml is None:
            fields["simulated"] = True
        return _core.emit(
            Kind.VRAM,
            level,
            __name__,
            "vram",
            "state_change",
            f"gpu{watched.device.index}.used",
            "",
            fields,
            scope.span if scope is not None else 0,
            scope.correlation if scope is not None else 0,
        )
