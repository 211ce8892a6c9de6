"""llama.cpp's performance counters: cumulative for each context, told as differences.

They move when the program waits for a context, so that is where they are read; at most
once a millisecond, since one reading costs about a microsecond.  What a reading would
miss at the end of a run of decodes is read before the next begins, and annotates the
span that ended the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpu_narration._core import annotate

PACE_NS = 1_000_000


@dataclass(slots=True)
class _Context:
    """What is known of a context: its last counts, and the span that moved them since."""

    counts: dict[str, int] | None = None
    began_ns: int = 0
    due_ns: int = 0
    span: int = 0


class Counters:
    """The counters of a library's contexts.

    ``read`` is the library's function that gives them; None where there is none.
    """

    def __init__(self, read: Callable[..., Any] | None) -> None:
        self._read = read
        self._contexts: dict[int, _Context] = {}

    @property
    def can_read(self) -> bool:
        """Whether the binding declares a function that gives them."""
        return self._read is not None

    def begin(self, context: int) -> None:
        """A context was made: its counters stand at zero."""
        if self._read is not None:
            known = self._contexts[context] = _Context(counts={})
            known.began_ns = _began_ns(self._read(context))

    def forget(self, context: int) -> None:
        """A context is going: its address may come to mean another."""
        self._contexts.pop(context, None)

    def moved(self, context: int, span: int) -> dict[str, object] | None:
        """The program waited for the context in this span; the difference, if it is due."""
        if self._read is None:
            return None
        known = self._contexts.get(context)
        now_ns = time.monotonic_ns()
        if known is None:
            known = self._contexts[context] = _Context()
        elif now_ns < known.due_ns:
            known.span = span
            return None
        known.due_ns = now_ns + PACE_NS
        known.span = 0
        return self._difference(context, known)

    def settle(self, context: int) -> None:
        """Before something new begins: what moved since the last reading is told."""
        known = self._contexts.get(context)
        if known is None or not known.span:
            return
        span, known.span = known.span, 0
        difference = self._difference(context, known)
        if difference:
            annotate(span, difference)

    def settle_all(self) -> None:
        """The same of every context."""
        for context in list(self._contexts):
            self.settle(context)

    def _difference(self, context: int, known: _Context) -> dict[str, object] | None:
        assert self._read is not None
        data = self._read(context)
        counts, began_ns = _counts(data), _began_ns(data)
        before, known.counts = known.counts, counts
        began_before, known.began_ns = known.began_ns, began_ns
        if before is None:
            return None  # from when on they count is not known
        # A reset sets the beginning anew; older libraries only show it by smaller counts.
        was_reset = began_ns != began_before or any(
            counts[name] < before.get(name, 0) for name in counts
        )
        base = {} if was_reset else before
        moved: dict[str, object] = {
            name: counts[name] - base.get(name, 0)
            for name in counts
            if counts[name] != base.get(name, 0)
        }
        if was_reset and moved:
            moved["perf_resets"] = 1
        return moved or None


def _counts(data: Any) -> dict[str, int]:
    counts = {}
    for prefix, count, duration in (
        ("perf_prefill", "n_p_eval", "t_p_eval_ms"),
        ("perf_decode", "n_eval", "t_eval_ms"),
        ("perf_sample", "n_sample", "t_sample_ms"),
    ):
        number, elapsed_ms = getattr(data, count, None), getattr(data, duration, None)
        if number is None or elapsed_ms is None:
            continue
        # llama.cpp says 1 where it has counted none; a time of zero tells them apart.
        if number == 1 and elapsed_ms == 0:
            number = 0
        counts[f"{prefix}_tokens"] = int(number)
        counts[f"{prefix}_ns"] = round(elapsed_ms * 1e6)
    return counts


def _began_ns(data: Any) -> int:
    return round(getattr(data, "t_start_ms", 0.0) * 1e6)
