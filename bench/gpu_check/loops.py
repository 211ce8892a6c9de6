"""The loop that is traced: tokens, layers, kernels, in the ways that are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_narration as gn
from bench.gpu_check.machines import Lane, Machine
from bench.gpu_check.plan import Mix
from gpu_narration.timeline.summary import summarise
from gpu_narration.tracefile import Trace

#: Of the launches of a hot loop one in so many is timed: half of real kernels are no longer
#: than a pair costs.
EVERY = 16

#: Runs the loop once, to the end of its work on the GPU.
Run = Callable[[], None]


def bare(lane: Lane, mix: Mix) -> Run:
    """The program as it is.  The wait after a token is its own: it must know the token."""
    launch = lane.bare()

    def run() -> None:
        for _ in range(mix.tokens):
            for _ in range(mix.layers):
                for ns in mix.kernels_ns:
                    launch(ns)
            lane.wait()

    return run


def marked(lane: Lane, mix: Mix, every: int = EVERY) -> Run:
    """The program with our calls in it: a request, a span with GPU time a token, every
    launch an event, one in ``every`` of them timed.
    """
    launch = lane.traced("spin", every)
    stream = lane.stream

    def run() -> None:
        with gn.correlation("gpu-check"):
            for token in range(mix.tokens):
                with gn.span("engine", "decode", gpu=True, stream=stream):
                    for _ in range(mix.layers):
                        for ns in mix.kernels_ns:
                            launch(ns)
                gn.trace_loop("engine", "token", token, mix.tokens, "token {}", token)
                lane.wait()

    return run


def with_nvtx(lane: Lane, mix: Mix) -> Run:
    """The program with NVTX ranges instead, attributes made once; no tool is attached."""
    import nvtx

    launch = lane.bare()
    domain: Any = nvtx.get_domain("gpu_check")
    token_range = domain.get_event_attributes(message="decode")
    launch_range = domain.get_event_attributes(message="spin")

    def run() -> None:
        for _ in range(mix.tokens):
            domain.push_range(token_range)
            for _ in range(mix.layers):
                for ns in mix.kernels_ns:
                    domain.push_range(launch_range)
                    launch(ns)
                    domain.pop_range()
            domain.pop_range()
            lane.wait()

    return run


class Recorded:
    """Runs a marked loop in a recording of its own; beginning and end are not timed.

    ``path`` is the last recording.
    """

    def __init__(self, machine: Machine, mix: Mix, directory: Path, every: int) -> None:
        self._machine = machine
        self._mix = mix
        self._directory = directory
        self._every = every
        self._count = 0
        self.path: Path | None = None

    def timed(self, timer: Callable[[Run], int]) -> int:
        self._count += 1
        self.path = self._directory / f"{self._mix.launches}-{self._every}-{self._count}.gnt"
        with self._machine.recording(self.path):
            return timer(marked(self._machine.lane(), self._mix, self._every))

    def answers(self) -> dict[str, object]:
        """How much of the last run was timed, and why the rest was not: what costs nothing
        because it does nothing must not look good.
        """
        assert self.path is not None, "nothing was run"
        trace = Trace(self.path)
        summary = summarise(trace.events(), trace.annotations, by="name")
        return {
            "launches": sum(row.calls for row in summary.launches),
            "launches_timed": sum(len(row.elapsed) for row in summary.launches),
            "spans": sum(row.calls for row in summary.scopes),
            "spans_timed": sum(len(row.elapsed) for row in summary.scopes),
            "untimed": summary.untimed,
            "notices": [notice.text for notice in trace.notices()],
        }
