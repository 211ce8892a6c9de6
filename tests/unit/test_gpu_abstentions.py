"""Each case in which a span has no GPU time: None beside its reason, and never a zero."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_narration import cuda, span
from gpu_narration._types import Kind
from gpu_narration.cuda import CudaError, MockGpu, MockKernel
from gpu_narration.cuda import pool as pools
from gpu_narration.cuda.session import Session
from tests.support.recording import ManualClock, recorded_on_mock

Program = Callable[[MockGpu, ManualClock], None]


def _session() -> Session:
    session = cuda.current()
    assert session is not None
    return session


def capture(gpu: MockGpu, _: ManualClock) -> None:
    stream = gpu.stream()
    gpu.begin_capture(stream)
    with span("demo", "step", gpu=True, stream=stream):
        gpu.launch("k", 500, stream)


def invalidated(gpu: MockGpu, _: ManualClock) -> None:
    stream = gpu.stream()
    gpu.begin_capture(stream)
    gpu.invalidate_capture(stream)
    with span("demo", "step", gpu=True, stream=stream):
        pass


def unknown_status(gpu: MockGpu, _: ManualClock) -> None:
    backend = _session().backend
    assert backend is not None
    backend.capture_status = lambda _: cuda.backend.CaptureStatus.UNKNOWN  # type: ignore[method-assign]
    with span("demo", "step", gpu=True, stream=gpu.stream()):
        pass


def capture_inside(gpu: MockGpu, _: ManualClock) -> None:
    stream = gpu.stream()
    with span("demo", "step", gpu=True, stream=stream):
        gpu.begin_capture(stream)


def legacy_beside_a_capture(gpu: MockGpu, _: ManualClock) -> None:
    """A record on the legacy stream would invalidate the capture of a blocking one."""
    gpu.begin_capture(gpu.stream(blocking=True))
    with span("demo", "step", gpu=True):
        pass


def unknown_stream(_: MockGpu, __: ManualClock) -> None:
    with span("demo", "step", gpu=True, stream="seven"):
        pass


def unknown_handle(_: MockGpu, __: ManualClock) -> None:
    with span("demo", "step", gpu=True, stream=0xDEAD):
        pass


def legacy_beside_non_blocking(gpu: MockGpu, clock: ManualClock) -> None:
    stream = gpu.stream()
    saxpy = cuda.kernel(MockKernel("saxpy", 500))
    with span("demo", "step", gpu=True):
        saxpy((1,), (1,), (), stream=stream)
    clock.step(1000)


def legacy_beside_an_untimed_launch(gpu: MockGpu, _: ManualClock) -> None:
    stream = gpu.stream()
    saxpy = cuda.kernel(MockKernel("saxpy", 500), every=0)
    with span("demo", "step", gpu=True):
        saxpy((1,), (1,), (), stream=stream)


def legacy_beside_other_work(gpu: MockGpu, _: ManualClock) -> None:
    with span("demo", "step", gpu=True):
        _session().saw_work(gpu.stream())


def legacy_beside_a_library(_: MockGpu, __: ManualClock) -> None:
    with span("demo", "step", gpu=True):
        _session().saw_foreign_work()


def per_thread_beside_legacy(gpu: MockGpu, clock: ManualClock) -> None:
    saxpy = cuda.kernel(MockKernel("saxpy", 500))
    with span("demo", "step", gpu=True):
        saxpy((1,), (1,), (), stream=gpu.per_thread_stream())
    clock.step(1000)


def another_thread(gpu: MockGpu, _: ManualClock) -> None:
    step = span("demo", "step", gpu=True, stream=gpu.per_thread_stream())
    step.__enter__()
    closer = threading.Thread(target=step.__exit__, args=(None, None, None))
    closer.start()
    closer.join()


def destroyed_stream(gpu: MockGpu, _: ManualClock) -> None:
    stream = gpu.stream()
    with span("demo", "step", gpu=True, stream=stream):
        gpu.destroy_stream(stream)


def destroyed_context(gpu: MockGpu, _: ManualClock) -> None:
    with span("demo", "step", gpu=True, stream=gpu.stream()):
        gpu.reset_device(0)


def driver_gone(gpu: MockGpu, _: ManualClock) -> None:
    stream = gpu.stream()
    with span("demo", "step", gpu=True, stream=stream):
        gpu.launch("k", 500, stream)
    gpu.end()


def lost_device(gpu: MockGpu, clock: ManualClock) -> None:
    stream = gpu.stream()
    with span("demo", "step", gpu=True, stream=stream):
        gpu.launch("k", 500, stream)
    gpu.lose_device(0)
    clock.step(1000)


def illegal_address(gpu: MockGpu, clock: ManualClock) -> None:
    stream = gpu.stream()
    with span("demo", "step", gpu=True, stream=stream):
        gpu.fault_next_launch(700)
        gpu.launch("k", 500, stream)
    clock.step(1000)


def exhausted(gpu: MockGpu, clock: ManualClock) -> None:
    stream = gpu.stream()
    with contextlib.ExitStack() as stack:
        for _each in range(3):
            stack.enter_context(span("demo", "outer", gpu=True, stream=stream))
        with span("demo", "step", gpu=True, stream=stream):
            pass
        gpu.launch("k", 5_000_000, stream)
    clock.step(6_000_000)


def impossible(gpu: MockGpu, clock: ManualClock) -> None:
    backend = _session().backend
    assert backend is not None
    backend.event_elapsed_ns = lambda *_: -1  # type: ignore[method-assign]
    with span("demo", "step", gpu=True, stream=gpu.stream()):
        pass
    clock.step(1000)


def unfinished(gpu: MockGpu, _: ManualClock) -> None:
    stream = gpu.stream()
    with span("demo", "step", gpu=True, stream=stream):
        gpu.launch("k", 10**15, stream)


CASES: dict[Program, str] = {
    capture: "stream capture",
    invalidated: "stream capture was invalidated",
    unknown_status: "the capture status is unknown",
    capture_inside: "capture began inside the span",
    legacy_beside_a_capture: "stream capture",
    unknown_stream: "unknown stream",
    unknown_handle: "unknown stream",
    legacy_beside_non_blocking: "legacy default stream beside non-blocking ones",
    legacy_beside_an_untimed_launch: "legacy default stream beside non-blocking ones",
    legacy_beside_other_work: "legacy default stream beside non-blocking ones",
    legacy_beside_a_library: "legacy default stream beside non-blocking ones",
    per_thread_beside_legacy: "per-thread default stream beside the legacy one",
    another_thread: "per-thread default stream of another thread",
    destroyed_stream: "the stream was destroyed",
    destroyed_context: "the context was destroyed",
    driver_gone: "the context was destroyed",
    lost_device: "the device is lost",
    illegal_address: "work on the GPU failed",
    exhausted: "event pool exhausted",
    impossible: "impossible elapsed time",
    unfinished: "not finished when the recording ended",
}


@pytest.fixture(params=CASES, ids=lambda program: program.__name__)
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setattr("gpu_narration.cuda.session.FINISH_PATIENCE_S", 0.05)
    if request.param is exhausted:
        monkeypatch.setattr(pools, "POOL_LIMIT", 3)
        monkeypatch.setattr("gpu_narration.cuda.timing.POOL_LIMIT", 3)
    found: Program = request.param
    return found


def _step(directory: Path, program: Program) -> str:
    lines = recorded_on_mock(directory, program).lines(Kind.SPAN)
    (line,) = (line for line in lines if " step " in line and "elapsed_ms=" in line)
    return line


def test_it_has_none_and_its_reason(tmp_path: Path, program: Program) -> None:
    assert f'gpu_ms=None gpu_reason="{CASES[program]}"' in _step(tmp_path, program)


def test_no_line_prints_zero_for_it(tmp_path: Path, program: Program) -> None:
    seen = recorded_on_mock(tmp_path, program)

    assert [line for line in seen.lines() if "gpu_ms=0.000" in line] == []


def test_a_failing_launch_has_none_and_its_reason(tmp_path: Path) -> None:
    def program(gpu: MockGpu, _: ManualClock) -> None:
        gpu.refuse_next_launch()
        with contextlib.suppress(CudaError):
            cuda.kernel(MockKernel("broken", 1))((1,), (1,), (), stream=gpu.stream())

    (line,) = recorded_on_mock(tmp_path, program).lines(Kind.LAUNCH)

    assert 'gpu_ms=None gpu_reason="the launch failed"' in line


# ---- graphs ----


def test_a_graph_tells_the_scopes_it_was_captured_from(tmp_path: Path) -> None:
    """GIVEN scopes inside a capture, THEN its end hands out their names, once."""
    handed: list[object] = []

    def program(gpu: MockGpu, _: ManualClock) -> None:
        stream = gpu.stream()
        gpu.begin_capture(stream)
        with span("demo", "prefill", gpu=True, stream=stream):
            gpu.launch("k", 500, stream)
        for _each in range(2):
            with span("demo", "decode", gpu=True, stream=stream):
                gpu.launch("k", 500, stream)
        gpu.end_capture(stream)
        captured = _session().capture_ended(stream)
        handed.extend([captured.names, len(captured.event_ids)])
        handed.append(_session().capture_ended(stream).names)

    recorded_on_mock(tmp_path, program)

    assert handed == [("prefill", "decode"), 3, ()]


def test_work_that_others_refused_for_a_capture_is_told_by_name(tmp_path: Path) -> None:
    """GIVEN a launch in a capture, WHEN the one who left it untimed says so."""
    handed: list[object] = []

    def program(gpu: MockGpu, _: ManualClock) -> None:
        stream = gpu.stream()
        _session().capture_seen(stream, 1, ["saxpy"])
        handed.append(_session().capture_ended(stream).names)

    recorded_on_mock(tmp_path, program)

    assert handed == [("saxpy",)]


def test_a_scope_in_which_a_capture_began_is_among_them(tmp_path: Path) -> None:
    handed: list[object] = []

    def program(gpu: MockGpu, _: ManualClock) -> None:
        stream = gpu.stream()
        with span("demo", "prefill", gpu=True, stream=stream):
            gpu.begin_capture(stream)
        gpu.end_capture(stream)
        handed.extend(_session().capture_ended(stream).names)

    recorded_on_mock(tmp_path, program)

    assert handed == ["prefill"]


def test_a_scope_round_a_whole_capture_and_its_launch_is_measured(tmp_path: Path) -> None:
    """GIVEN a span that begins before a capture and ends after its graph has run."""

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        stream = gpu.stream()
        with span("demo", "step", gpu=True, stream=stream):
            gpu.begin_capture(stream)
            gpu.launch("k", 2_000_000, stream)
            gpu.end_capture(stream).launch(stream)
        clock.step(3_000_000)

    assert "gpu_ms=2.000" in _step(tmp_path, program)
