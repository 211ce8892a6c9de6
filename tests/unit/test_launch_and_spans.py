"""Launches and spans on the simulated GPU, from the call to the line of text."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import span, trace_fn
from gpu_narration._types import Kind
from gpu_narration.cuda import CudaError, MockGpu, MockKernel, kernel
from tests.support.recording import ManualClock, recorded, recorded_on_mock, simulated_gpu

GIB = 1 << 30
SAXPY = MockKernel("saxpy", 31_000)


def _launches(directory: Path, program: Any, **options: Any) -> list[str]:
    return recorded_on_mock(directory, program, **options).lines(Kind.LAUNCH)


def _spans(directory: Path, program: Any, **options: Any) -> list[str]:
    """The lines of the spans' ends, where what was learned stands."""
    lines = recorded_on_mock(directory, program, **options).lines(Kind.SPAN)
    return [line for line in lines if "elapsed_ms=" in line]


def _pair(line: str, name: str) -> str | None:
    """The value of ``name=value`` in a line; for values without spaces."""
    return next(
        (word.partition("=")[2] for word in line.split() if word.startswith(f"{name}=")), None
    )


# ---- launches ----


def test_a_launch_is_one_line_with_its_shape_and_its_gpu_time(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        kernel(SAXPY, every=1)((4096,), (256,), (), stream=gpu.stream())
        clock.step(31_000)

    assert _launches(tmp_path, program) == [
        (
            "TRACE cuda launch saxpy grid=4096 block=256 gpu_ms=0.031 stream=7 device=0 "
            'simulated=true "saxpy ran 0.031 ms on simulated gpu0"'
        )
    ]


@pytest.mark.parametrize(
    ("grid", "shown"),
    [((8,), "8"), ((8, 1, 1), "8"), ((8, 4), '"8x4"'), ((8, 1, 2), '"8x1x2"'), ((1, 1), "1")],
)
def test_dimensions_of_one_are_left_out_at_the_end(
    tmp_path: Path, grid: tuple[int, ...], shown: str
) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        kernel(SAXPY, every=1)(grid, (1,), ())
        clock.step(31_000)

    assert _pair(_launches(tmp_path, program)[0], "grid") == shown


def test_the_length_of_a_simulated_kernel_may_follow_its_launch(tmp_path: Path) -> None:
    copy = MockKernel("copy", lambda grid, block, args: grid[0] * block[0] * args[0])

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        kernel(copy, every=1)((100,), (10,), (50,))
        clock.step(50_000)

    assert _pair(_launches(tmp_path, program)[0], "gpu_ms") == "0.050"


def test_a_launch_goes_to_the_default_stream_without_another(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        kernel(SAXPY, every=1)((1,), (1,), ())
        clock.step(31_000)

    assert _pair(_launches(tmp_path, program)[0], "stream") == "0"


def test_a_launch_measures_itself_and_not_what_was_queued_before(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        gpu.launch("before", 900_000)
        kernel(SAXPY, every=1)((1,), (1,), ())
        clock.step(931_000)

    assert _pair(_launches(tmp_path, program)[0], "gpu_ms") == "0.031"


def test_a_launch_not_finished_at_the_end_has_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_narration.cuda.session.Session.finish.__defaults__", (0.01,))

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        kernel(SAXPY, every=1)((1,), (1,), ())

    assert _launches(tmp_path, program) == [
        (
            'TRACE cuda launch saxpy grid=1 block=1 gpu_ms=None gpu_reason="not finished when the '
            'recording ended" stream=0 device=0 simulated=true "saxpy launched on simulated gpu0"'
        )
    ]


def test_a_launch_in_capture_has_no_number(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        stream = gpu.stream()
        gpu.begin_capture(stream)
        kernel(SAXPY, every=1)((1,), (1,), (), stream=stream)

    assert 'gpu_ms=None gpu_reason="stream capture" stream=7' in _launches(tmp_path, program)[0]


def test_one_launch_in_so_many_is_timed(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        saxpy = kernel(SAXPY, every=3)
        for _ in range(7):
            saxpy((1,), (1,), ())
            clock.step(31_000)

    timed = [_pair(line, "gpu_ms") for line in _launches(tmp_path, program)]

    assert timed == ["0.031", "None", "None", "0.031", "None", "None", "0.031"]


def test_a_launch_left_out_of_the_sample_says_so(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        saxpy = kernel(SAXPY, every=2)
        for _ in range(2):
            saxpy((1,), (1,), ())
            clock.step(31_000)

    assert (
        'gpu_ms=None gpu_reason="one launch in 2 is timed" stream=0 device=0 simulated=true'
        in _launches(tmp_path, program)[1]
    )


def test_every_0_times_no_launch_and_says_so(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        kernel(SAXPY, every=0)((1,), (1,), ())

    assert (
        'gpu_ms=None gpu_reason="launches of this kernel are not timed"'
        in (_launches(tmp_path, program)[0])
    )


@pytest.mark.parametrize("every", [1, 2])
def test_a_stream_that_is_none_fails_as_the_launch_does(tmp_path: Path, every: int) -> None:
    """GIVEN a launch that is timed or not, THEN the launch's own error comes through."""

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        saxpy = kernel(MockKernel("saxpy", 0), every=every)
        saxpy((1,), (1,), ())
        with pytest.raises(TypeError, match="not a stream of the simulated GPU"):
            saxpy((1,), (1,), (), stream="seven")

    assert 'error="TypeError: not a stream' in _launches(tmp_path, program)[1]


def _failing_launch(gpu: MockGpu, clock: ManualClock) -> None:
    with pytest.raises(CudaError, match="cudaErrorInvalidValue"):
        kernel(MockKernel("broken", -1), every=1)((1,), (1,), (), stream=gpu.stream())
    clock.step(1000)


def test_a_failing_launch_raises_what_the_launch_raises(tmp_path: Path) -> None:
    recorded_on_mock(tmp_path, _failing_launch)


def test_a_failing_launch_is_in_the_trace(tmp_path: Path) -> None:
    assert _launches(tmp_path, _failing_launch) == [
        (
            'TRACE cuda launch broken grid=1 block=1 gpu_ms=None gpu_reason="the launch failed" '
            'stream=7 device=0 error="CudaError: cudaErrorInvalidValue (1): an argument is not in '
            'its allowed range" simulated=true "broken failed to launch on simulated gpu0"'
        )
    ]


def test_a_launch_without_a_gpu_has_a_reason_and_no_number(tmp_path: Path) -> None:
    seen = recorded(tmp_path, lambda: kernel(lambda *_, **__: None, name="raw")((4,), (32,), ()))

    assert seen.lines(Kind.LAUNCH) == [
        (
            'TRACE cuda launch raw gpu_ms=None gpu_reason="no GPU: backend none was asked for" '
            '"raw launched"'
        )
    ]


def test_a_launch_while_nothing_records_still_launches() -> None:
    calls: list[object] = []

    kernel(lambda *args, **_: calls.append(args), name="raw")((4,), (32,), ())

    assert calls == [((4,), (32,), ())]


def test_a_simulated_kernel_needs_the_simulator(tmp_path: Path) -> None:
    def program() -> None:
        with pytest.raises(CudaError, match="a MockKernel needs the mock backend"):
            kernel(SAXPY, every=1)((1,), (1,), ())

    recorded(tmp_path, program)


@pytest.mark.parametrize("nonsense", [7, "saxpy", object()])
def test_what_cannot_be_launched_is_no_kernel(nonsense: object) -> None:
    with pytest.raises(TypeError, match=type(nonsense).__name__):
        kernel(nonsense)


# ---- spans with gpu=True ----


def test_a_span_shows_the_time_elapsed_on_its_stream(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        stream = gpu.stream()
        with span("demo", "step", gpu=True, stream=stream):
            gpu.launch("a", 2_000_000, stream)
            gpu.launch("b", 500_000, stream)
        clock.step(2_500_000)

    assert _pair(_spans(tmp_path, program)[0], "gpu_ms") == "2.500"


def test_overlapping_streams_are_not_added_up(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        first, second = gpu.stream(), gpu.stream()
        outer = span("demo", "outer", gpu=True, stream=first)
        inner = span("demo", "inner", gpu=True, stream=second)
        with outer, inner:
            gpu.launch("a", 3_000_000, first)
            gpu.launch("b", 2_000_000, second)
        clock.step(5_000_000)

    lines = _spans(tmp_path, program)

    assert {line.split()[2]: _pair(line, "gpu_ms") for line in lines} == {
        "outer": "3.000",
        "inner": "2.000",
    }


def test_a_span_does_not_measure_what_follows_it(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "step", gpu=True):
            gpu.launch("a", 1_000_000)
        gpu.launch("after", 9_000_000)
        clock.step(10_000_000)

    assert _pair(_spans(tmp_path, program)[0], "gpu_ms") == "1.000"


def test_a_failing_span_is_measured_too(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with contextlib.suppress(ValueError), span("demo", "step", gpu=True):
            gpu.launch("a", 1_000_000)
            raise ValueError
        clock.step(10_000_000)

    assert _pair(_spans(tmp_path, program)[0], "gpu_ms") == "1.000"


def test_a_function_with_gpu_is_measured(tmp_path: Path) -> None:
    @trace_fn(actor="demo", gpu=True)
    def work() -> None:
        simulated_gpu().launch("a", 4_000_000)

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        work()
        clock.step(4_000_000)

    lines = recorded_on_mock(tmp_path, program).lines(Kind.FUNCTION)

    assert [_pair(line, "gpu_ms") for line in lines] == [None, "4.000"]


def test_a_span_without_gpu_says_nothing_of_one(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "step"):
            gpu.launch("a", 4_000_000)

    assert "gpu_" not in _spans(tmp_path, program)[0]


def _without_gpu(directory: Path) -> str:
    def program() -> None:
        with span("demo", "step", gpu=True, vram=True):
            pass

    return recorded(directory, program).lines(Kind.SPAN)[1]


def test_a_span_without_a_gpu_has_a_reason(tmp_path: Path) -> None:
    assert 'gpu_ms=None gpu_reason="no GPU: backend none was asked for"' in _without_gpu(tmp_path)


def test_a_span_without_memory_to_read_has_a_reason(tmp_path: Path) -> None:
    assert "vram_reason=" in _without_gpu(tmp_path)


@pytest.mark.parametrize("name", ["gpu_ms", "vram_before", "vram_after", "vram_delta"])
def test_what_is_unknown_is_never_printed_as_a_number(tmp_path: Path, name: str) -> None:
    assert _pair(_without_gpu(tmp_path), name) in (None, "None", "None\n")


# ---- the simulator always says so ----


def test_every_line_with_a_number_from_the_simulator_says_so(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        saxpy = kernel(SAXPY, every=2)
        with span("demo", "step", gpu=True):
            saxpy((1,), (1,), ())
            saxpy((1,), (1,), ())
        with span("demo", "load", vram=True):
            gpu.malloc(GIB)
        _failing_launch(gpu, clock)
        clock.step(10_000_000)

    lines = recorded_on_mock(tmp_path, program, vram=True).lines()
    from_gpu = [line for line in lines if any(word in line for word in ("gpu", "vram", "VRAM"))]

    assert [line for line in from_gpu if "simulated=true" not in line] == []


def test_a_span_in_capture_on_the_simulator_says_so(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        stream = gpu.stream()
        gpu.begin_capture(stream)
        with span("demo", "step", gpu=True, stream=stream):
            pass

    assert (
        'gpu_ms=None gpu_reason="stream capture" stream=7 device=0 simulated=true'
        in (_spans(tmp_path, program)[0])
    )


def test_the_trace_notes_the_simulated_backend(tmp_path: Path) -> None:
    seen = recorded_on_mock(tmp_path, lambda gpu, clock: None)

    assert seen.trace.processes[0].note("backend") == {"name": "mock", "simulated": True}
