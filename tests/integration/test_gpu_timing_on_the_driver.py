"""GPU timing on the driver API, against a fake ``libcuda.so.1`` that counts each call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_narration import cuda, span
from gpu_narration._types import Kind
from tests.support.cuda import FakeDriver
from tests.support.recording import Seen, recorded

WAITS = (
    "cuCtxSynchronize", "cuStreamSynchronize", "cuEventSynchronize",
    "cuStreamWaitEvent", "cuMemcpy",
)  # fmt: skip
#: CUDA 12.8 has a second version of it.
READINGS = ("cuEventElapsedTime", "cuEventElapsedTime_v2")
SPANS = 200
#: Nothing is asserted about how long anything took.
PATIENCE_S = 20.0


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """A driver whose time passes by itself, as the one that recordings find."""
    monkeypatch.setenv("FAKE_CUDA_CLOCK", "real")
    driver = FakeDriver(devices=2)
    monkeypatch.setattr("gpu_narration.cuda.libcuda.LIBRARY", driver.path)
    driver.start()
    return driver


def _recorded(directory: Path, program: Callable[[], object]) -> Seen:
    return recorded(directory, program, backend="driver")


def _spans_on(fake: FakeDriver, stream: int) -> Callable[[], None]:
    def program() -> None:
        for _ in range(SPANS):
            with span("demo", "step", gpu=True, stream=stream):
                fake.launch(stream, 2_000)

    return program


def _until_read(fake: FakeDriver, count: int) -> None:
    """Waits for the watcher to have read that many times from the driver."""
    give_up = time.monotonic() + PATIENCE_S
    while sum(map(fake.calls, READINGS)) < count:
        assert time.monotonic() < give_up, "the watcher did not come"
        time.sleep(0.01)


@pytest.fixture
def stepped(fake: FakeDriver, tmp_path: Path) -> tuple[FakeDriver, Seen]:
    """A recording of many spans, and the calls that it made."""
    stream = fake.stream()
    fake.library.fake_cuForgetCalls()
    seen = _recorded(tmp_path, _spans_on(fake, stream))
    return fake, seen


def test_every_span_is_measured(stepped: tuple[FakeDriver, Seen]) -> None:
    _, seen = stepped

    elapsed = [learned["gpu_ns"] for learned in seen.learned(Kind.SPAN)]

    assert [ns for ns in elapsed if isinstance(ns, int) and ns >= 2_000] == elapsed
    assert len(elapsed) == SPANS


def test_no_thread_synchronises(stepped: tuple[FakeDriver, Seen]) -> None:
    fake, _ = stepped

    assert {name: fake.calls(name) for name in WAITS} == dict.fromkeys(WAITS, 0)


def test_the_traced_thread_records_two_events_a_span(stepped: tuple[FakeDriver, Seen]) -> None:
    fake, _ = stepped

    assert fake.calls("cuEventRecord", threading.get_native_id()) == 2 * SPANS


@pytest.mark.parametrize("calls", [("cuEventQuery",), READINGS])
def test_the_traced_thread_never_asks_whether_work_is_done(
    stepped: tuple[FakeDriver, Seen], calls: tuple[str, ...]
) -> None:
    """GIVEN a whole recording with its end, THEN the watcher alone asks."""
    fake, _ = stepped
    mine = sum(fake.calls(call, threading.get_native_id()) for call in calls)

    assert (mine, sum(map(fake.calls, calls)) > 0) == (0, True)


def test_a_span_with_a_filled_pool_makes_two_records_and_no_event(
    fake: FakeDriver, tmp_path: Path
) -> None:
    """GIVEN a pool that has its events back, THEN the next span makes none."""
    stream = fake.stream()
    mine = threading.get_native_id()
    names = ("cuEventRecord", "cuStreamIsCapturing", "cuEventCreate")
    counted: dict[str, int] = {}

    def program() -> None:
        with span("demo", "warm", gpu=True, stream=stream):
            pass
        _until_read(fake, 2)
        before = {name: fake.calls(name, mine) for name in names}
        with span("demo", "step", gpu=True, stream=stream):
            pass
        counted.update({name: fake.calls(name, mine) - before[name] for name in names})

    _recorded(tmp_path, program)

    assert counted == {"cuEventRecord": 2, "cuStreamIsCapturing": 2, "cuEventCreate": 0}


def test_the_program_finds_its_context_as_it_left_it(fake: FakeDriver, tmp_path: Path) -> None:
    """GIVEN spans on two devices, WHEN device 0 is current, THEN it is so afterwards."""
    before = fake.current()
    far = fake.stream(1)

    seen = _recorded(tmp_path, _spans_on(fake, far))

    assert (fake.current(), {learned["device"] for learned in seen.learned(Kind.SPAN)}) == (
        before,
        {1},
    )


def test_a_capture_beside_it_is_not_disturbed(fake: FakeDriver, tmp_path: Path) -> None:
    """GIVEN a capture in global mode, which other threads' queries can invalidate."""
    timed, captured = fake.stream(), fake.stream()
    status: list[int] = []

    def program() -> None:
        fake.begin_capture(captured)
        _spans_on(fake, timed)()
        _until_read(fake, 1)  # by the watcher, while the other stream captures
        status.append(fake.capture_status(captured))
        fake.end_capture(captured)

    seen = _recorded(tmp_path, program)

    assert (status, seen.learned(Kind.SPAN)[0]["gpu_ns"] is not None) == ([1], True)


def test_no_handle_is_used_after_its_end(stepped: tuple[FakeDriver, Seen]) -> None:
    assert stepped[0].stale() == 0


def test_a_reset_of_the_device_under_open_and_pending_spans(
    fake: FakeDriver, tmp_path: Path
) -> None:
    """GIVEN ``cudaDeviceReset`` in the midst, THEN the record is clear and no handle is stale."""
    stream = fake.stream()

    def program() -> None:
        with span("demo", "pending", gpu=True, stream=stream):
            fake.launch(stream, 10**15)
        session = cuda.current()
        assert session is not None
        assert session.timer is not None
        # No round of the watcher may lie between its look at the context and its call.
        with span("demo", "open", gpu=True, stream=stream), session.timer._polling:
            fake("cuDevicePrimaryCtxReset_v2", 0)
        with span("demo", "later", gpu=True, stream=fake.stream()):
            pass

    reasons = [learned["gpu_reason"] for learned in _recorded(tmp_path, program).learned(Kind.SPAN)]

    assert (reasons, fake.stale()) == (["the context was destroyed"] * 3, 0)


def test_places_on_the_timeline_lie_inside_the_recording(
    stepped: tuple[FakeDriver, Seen],
) -> None:
    """GIVEN real time, THEN every span's GPU work begins after the span does."""
    _, seen = stepped
    begins = [event.monotonic_ns for event in seen.begins()]
    placed = [learned.get("gpu_start_ns") for learned in seen.learned(Kind.SPAN)]

    early = [
        (begin, start)
        for begin, start in zip(begins, placed, strict=True)
        if isinstance(start, int) and start < begin
    ]
    assert early == []


def test_devices_that_cuda_learns_of_later_are_in_the_trace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """GIVEN a program that initialises CUDA after the recording has begun."""
    monkeypatch.setenv("FAKE_CUDA_CLOCK", "real")
    driver = FakeDriver(devices=1)
    monkeypatch.setattr("gpu_narration.cuda.libcuda.LIBRARY", driver.path)

    def program() -> None:
        driver.start()
        _spans_on(driver, driver.stream())()

    seen = _recorded(tmp_path, program)

    assert seen.trace.processes[0].note("device")["index"] == 0
