"""Telling the trace what became of an interval: once, whoever gets there first."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gpu_narration._errors import internal_error
from gpu_narration.cuda.backend import Stream
from gpu_narration.cuda.intervals import Interval

#: What happens to an answer: the event id the interval belongs to, and its fields.
Answer = Callable[[int, dict[str, object]], object]


class Answers:
    """Safe from any thread."""

    __slots__ = ("_answer", "_lock", "_simulated")

    def __init__(self, answer: Answer, *, simulated: bool) -> None:
        self._answer = answer
        self._simulated = simulated
        self._lock = threading.RLock()

    def claim(self, interval: Interval) -> bool:
        """Whether it is the caller's to answer; true once."""
        with self._lock:
            claimed = not interval.answered
            interval.answered = True
            return claimed

    def refuse_claimed(self, interval: Interval, reason: str, detail: str = "") -> None:
        """Answers an interval with a reason, unless it has its answer."""
        if self.claim(interval):
            self.refuse(interval.event_id, interval.stream, reason, detail)

    def refuse(self, event_id: int, stream: Stream | None, reason: str, detail: str = "") -> None:
        fields: dict[str, object] = {"gpu_ns": None, "gpu_reason": reason}
        if detail:
            fields["gpu_detail"] = detail
        self.give(event_id, stream, fields)

    def give(self, event_id: int, stream: Stream | None, fields: dict[str, object]) -> None:
        if stream is not None:
            fields["stream"] = stream.handle
            fields["device"] = stream.device
        if self._simulated:
            fields["simulated"] = True
        try:
            self._answer(event_id, fields)
        except Exception as error:  # noqa: BLE001 - neither program nor watcher may break
            internal_error("answer of a GPU interval", error)
