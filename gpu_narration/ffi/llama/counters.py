"""llama.cpp's performance counters: cumulative for each context, told as differences.

They move when the program waits for a context, so that is where they are read, at most
once in :data:`PACE_NS`: a reading takes some 5 µs, and ten times that behind a decode that
has emptied the processor's caches.  What moved since the last reading is told before something new begins: a prefill, a reset, the end of the context.
There its names begin with ``before_``: it belongs to what came before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PACE_NS = 100_000_000


class Counters:
    """The counters of a library's contexts.

    ``read`` is the library's function that gives them; None where there is none.
    """

    def __init__(self, read: Callable[..., Any] | None) -> None:
        self._read = read
        #: By context: when it began to count, and its last counts.
        self._contexts: dict[int, tuple[int, dict[str, int]]] = {}

    @property
    def can_read(self) -> bool:
        """Whether the binding declares a function that gives them."""
        return self._read is not None

    def begin(self, context: int) -> None:
        """A context was made: its counters stand at zero."""
        if self._read is not None:
            self._contexts[context] = _began_ns(self._read(context)), {}

    def forget(self, context: int) -> None:
        """A context is going: its address may come to mean another."""
        self._contexts.pop(context, None)

    def moved(self, context: int) -> dict[str, int]:
        """How far a context's counters have moved since they were read last."""
        if self._read is None or not context:
            return {}
        data = self._read(context)
        counts, began_ns = _counts(data), _began_ns(data)
        known = self._contexts.get(context)
        self._contexts[context] = began_ns, counts
        if known is None:
            return {}  # from when on they count is not known
        began_before, before = known
        # A reset sets the beginning anew; older libraries only show it by smaller counts.
        was_reset = began_ns != began_before or any(
            counts[name] < before.get(name, 0) for name in counts
        )
        base = {} if was_reset else before
        moved = {
            name: counts[name] - base.get(name, 0)
            for name in counts
            if counts[name] != base.get(name, 0)
        }
        if was_reset:
            moved["perf_resets"] = 1
        return moved

    def settle(self, context: int) -> dict[str, int]:
        """The same, told before something new begins."""
        return {f"before_{name}": count for name, count in self.moved(context).items()}


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
