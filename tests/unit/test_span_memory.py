"""What spans and the sampler say about device memory, on the simulated GPU."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import span
from gpu_narration._types import Kind
from gpu_narration.cuda import CudaError, MockGpu
from tests.support.recording import ManualClock, recorded_on_mock

GIB = 1 << 30


def _spans(directory: Path, program: Any) -> list[str]:
    """The lines of the spans' ends, where what was learned stands."""
    lines = recorded_on_mock(directory, program, vram=True).lines(Kind.SPAN)
    return [line for line in lines if "elapsed_ms=" in line]


def test_a_span_shows_what_it_did_to_memory(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        gpu.malloc(5 * GIB)
        with span("demo", "load", vram=True):
            gpu.malloc(GIB)

    assert (
        'vram_before="5.0 GiB" vram_after="6.0 GiB" vram_delta="+1.0 GiB" vram_source="exact"'
        in _spans(tmp_path, program)[0]
    )


def test_a_span_that_frees_shows_a_negative_delta(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        address = gpu.malloc(2 * GIB)
        with span("demo", "unload", vram=True):
            gpu.free(address)

    assert 'vram_delta="-2.0 GiB"' in _spans(tmp_path, program)[0]


def test_memory_of_a_span_is_exact_to_the_byte(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "load", vram=True):
            gpu.malloc(12_345_678_901)

    learned = recorded_on_mock(tmp_path, program, vram=True).learned(Kind.SPAN)[0]

    assert learned["vram_delta_bytes"] == 12_345_678_901


def _moves(gpu: MockGpu, clock: ManualClock) -> None:
    gpu.malloc(int(5.1 * GIB))
    with span("demo", "load_model", vram=True):
        address = gpu.malloc(int(1.1 * GIB))
    with span("demo", "unload_model", vram=True):
        gpu.free(address)


def test_memory_that_rises_is_a_line_with_the_span_that_did_it(tmp_path: Path) -> None:
    seen = recorded_on_mock(tmp_path, _moves, vram=True)

    assert (
        'TRACE vram state_change gpu0.used transition="5.1 GiB → 6.2 GiB" simulated=true '
        '"VRAM on simulated gpu0 rose 1.1 GiB to 6.2 GiB in load_model"'
    ) in seen.lines(Kind.VRAM)


def test_memory_that_falls_is_a_line_with_the_span_that_did_it(tmp_path: Path) -> None:
    seen = recorded_on_mock(tmp_path, _moves, vram=True)

    assert (
        'TRACE vram state_change gpu0.used transition="6.2 GiB → 5.1 GiB" simulated=true '
        '"VRAM on simulated gpu0 fell 1.1 GiB to 5.1 GiB in unload_model"'
    ) in seen.lines(Kind.VRAM)


def test_each_move_of_memory_is_told_once(tmp_path: Path) -> None:
    seen = recorded_on_mock(tmp_path, _moves, vram=True)

    transitions = [
        line.partition("transition=")[2].split(" simulated")[0] for line in seen.lines(Kind.VRAM)
    ]
    assert transitions == [
        '"? → 0 B"', '"0 B → 5.1 GiB"', '"5.1 GiB → 6.2 GiB"', '"6.2 GiB → 5.1 GiB"',
    ]  # fmt: skip


def test_a_move_of_less_than_an_8192nd_is_no_line(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "little", vram=True):
            gpu.malloc(24 * GIB // 8192 - 1)

    assert len(recorded_on_mock(tmp_path, program, vram=True).lines(Kind.VRAM)) == 1


def test_an_allocation_past_the_capacity_fails_the_span(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with pytest.raises(CudaError), span("demo", "too_much", vram=True):
            gpu.malloc(25 * GIB)

    assert 'error="CudaError: cudaErrorMemoryAllocation (2)' in _spans(tmp_path, program)[0]


def test_a_span_reads_the_memory_of_its_streams_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gpu_narration.cuda.mock_backend.MockGpu", functools.partial(MockGpu, devices=2)
    )

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "load", vram=True, stream=gpu.stream(1)):
            gpu.malloc(GIB, device=1)

    assert 'vram_delta="+1.0 GiB"' in _spans(tmp_path, program)[0]


def test_a_span_on_what_is_no_stream_says_why_memory_is_unknown(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "load", vram=True, stream="seven"):
            pass

    assert (
        'vram_delta_bytes=None vram_reason="not a stream of the simulated GPU: str" simulated=true'
        in _spans(tmp_path, program)[0]
    )
