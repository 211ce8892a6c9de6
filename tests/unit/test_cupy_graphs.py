"""``patch_cupy()``: captured graphs, and what is launched while a stream captures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpu_narration import cuda, span
from gpu_narration._types import Kind
from gpu_narration.cuda import CudaError
from tests.support.recording import recorded_on_library, simulated_gpu


def _capturing(cupy: Any) -> Any:
    stream = cupy.cuda.Stream(non_blocking=True)
    kernel = cupy.RawKernel("5000", "k")
    stream.begin_capture()
    with span("engine", "attention", gpu=True, stream=stream):
        kernel((1,), (1,), (), stream=stream)
    with span("engine", "mlp"):
        kernel((1,), (1,), (), stream=stream)
    return stream, stream.end_capture()


def test_a_captured_graph_is_launched_as_one_event_that_names_its_scopes(
    cupy: Any, tmp_path: Path
) -> None:
    def program() -> None:
        cuda.patch_cupy(every=1)
        stream, graph = _capturing(cupy)
        graph.launch(stream)

    launches = recorded_on_library(tmp_path, program).lines(Kind.LAUNCH)

    assert launches[2:] == [
        (
            'TRACE cuda graph_launch graph scopes="attention, mlp" gpu_ms=0.010 '
            'stream=7 device=0 "graph ran 0.010 ms on gpu0"'
        )
    ]


@pytest.mark.parametrize("every", [0, 1])
def test_launches_inside_a_capture_have_a_reason_and_no_number(
    cupy: Any, tmp_path: Path, every: int
) -> None:
    def program() -> None:
        cuda.patch_cupy(every=every)
        _capturing(cupy)

    launches = recorded_on_library(tmp_path, program).lines(Kind.LAUNCH)

    assert len(launches) == 2
    assert all('gpu_ms=None gpu_reason="stream capture" stream=7' in line for line in launches)


def test_a_captured_graph_is_one_of_cupys_to_the_program(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        _, graph = _capturing(cupy)
        assert isinstance(graph, cupy.cuda.Graph)

    recorded_on_library(tmp_path, program)


def test_a_graph_captured_meanwhile_works_on_and_records_nothing(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        with cuda.patch_cupy(every=1):
            stream, graph = _capturing(cupy)
        graph.launch(stream=stream)

    assert len(recorded_on_library(tmp_path, program).launched()) == 2


def test_a_graph_named_by_hand_keeps_its_scopes(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        stream, graph = _capturing(cupy)
        cuda.kernel(graph, name="decode_step", every=1).launch(stream)

    line = recorded_on_library(tmp_path, program).lines(Kind.LAUNCH)[2]

    assert line.startswith('TRACE cuda graph_launch decode_step scopes="attention, mlp"')
    assert "gpu_ms=0.010" in line


def test_a_capture_that_failed_leaves_nothing_to_the_next(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        stream = cupy.cuda.Stream(non_blocking=True)
        kernel = cupy.RawKernel("5000", "k")
        stream.begin_capture()
        with span("engine", "attention"):
            kernel((1,), (1,), (), stream=stream)
        simulated_gpu().invalidate_capture(simulated_gpu().find_stream(stream.ptr))
        with pytest.raises(CudaError, match="901"):
            stream.end_capture()
        stream.begin_capture()
        with span("engine", "mlp"):
            kernel((1,), (1,), (), stream=stream)
        stream.end_capture().launch(stream)

    assert 'scopes="mlp"' in recorded_on_library(tmp_path, program).lines(Kind.LAUNCH)[2]
