"""The demonstration's two streams: each range has the time of its own stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpu_narration import cuda
from gpu_narration._types import Kind
from gpu_narration.cuda import MockBackend, MockGpu
from gpu_narration.demo import kernels
from tests.support.recording import ManualClock, Seen, recorded_on_mock

MS = 1_000_000


def _on_demo_machine(directory: Path, work: Any) -> Seen:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        session = cuda.current()
        assert session is not None
        assert isinstance(session.backend, MockBackend)
        work(kernels.SimulatedMachine(session.backend))
        clock.step(10 * MS)

    return recorded_on_mock(directory, program)


def test_overlapping_streams_have_their_own_times_and_not_their_sum(tmp_path: Path) -> None:
    """GIVEN 2 ms of work on each of two streams at once THEN each has 2 ms, side by side."""
    seen = _on_demo_machine(tmp_path, lambda machine: kernels._overlap(machine, *machine.streams))
    prefill, decode = seen.learned(Kind.SPAN)
    launches = seen.learned(Kind.LAUNCH)
    on_stream = {
        stream: sum(answer["gpu_ns"] for answer in launches if answer["stream"] == stream)
        for stream in (7, 8)
    }

    assert (prefill["stream"], decode["stream"]) == (7, 8)
    assert (prefill["gpu_ns"], decode["gpu_ns"]) == (on_stream[7], on_stream[8])
    assert all(2 * MS <= answer["gpu_ns"] < 3 * MS for answer in (prefill, decode))
    assert prefill["gpu_start_ns"] == decode["gpu_start_ns"]


def test_what_the_demo_captures_is_timed_as_a_graph(tmp_path: Path) -> None:
    seen = _on_demo_machine(tmp_path, lambda machine: kernels._replay(machine, machine.streams[0]))
    lines = seen.lines(Kind.LAUNCH)

    assert [line.split()[2] for line in lines] == ["launch", "launch", *["graph_launch"] * 2]
    assert all('gpu_reason="stream capture"' in line for line in lines[:2])
    assert all('layer scopes="attention, mlp" gpu_ms=0.025' in line for line in lines[2:])


@pytest.mark.parametrize("work", [kernels._replay])
def test_every_line_of_the_simulated_machine_says_so(tmp_path: Path, work: Any) -> None:
    seen = _on_demo_machine(tmp_path, lambda machine: work(machine, machine.streams[0]))

    assert [line for line in seen.lines() if "gpu_" in line and "simulated=true" not in line] == []
