"""The cupy backend: whose contexts it makes, and whose it leaves alone."""

from __future__ import annotations

import sys
import threading

import pytest

from gpu_narration.cuda import CudaError, Stream
from gpu_narration.cuda.backend import NoBackend, NoContextError, choose
from gpu_narration.cuda.cupy_backend import CupyBackend
from tests.support.cuda import FakeDriver
from tests.support.cupy_runtime import cupy_on


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver(devices=2)
    monkeypatch.setitem(sys.modules, "cupy", cupy_on(fake))
    monkeypatch.setattr("gpu_narration.cuda.libcuda.LIBRARY", fake.path)
    return fake


def _active(fake: FakeDriver) -> list[bool]:
    """Of each device, whether its primary context is active."""
    from ctypes import byref, c_int, c_uint

    found = []
    for device in range(2):
        flags, active = c_uint(0), c_int(0)
        fake("cuDevicePrimaryCtxGetState", device, byref(flags), byref(active))
        found.append(active.value == 1)
    return found


def test_auto_takes_a_cupy_that_is_loaded(fake: FakeDriver) -> None:
    backend = choose("auto")

    assert not isinstance(backend, NoBackend)
    assert backend.name == "cupy"


def test_a_context_is_made_on_the_current_device_as_cupy_does(fake: FakeDriver) -> None:
    CupyBackend().event_create(0)

    assert _active(fake) == [True, False]


def test_no_context_is_made_on_another_device(fake: FakeDriver) -> None:
    with pytest.raises(NoContextError):
        CupyBackend().event_create(1)

    assert _active(fake) == [False, False]


def test_reading_in_a_thread_without_a_device_makes_no_context(fake: FakeDriver) -> None:
    """GIVEN a program on device 1 alone WHEN the watcher reads THEN device 0 stays untouched."""
    fake("cuInit", 0)
    fake.use_device(1)
    backend = CupyBackend()
    target = backend.stream_of(fake.stream(1))
    start, stop = backend.event_create(1), backend.event_create(1)
    backend.event_record(start, target)
    backend.event_record(stop, target)
    fake.advance(1_000_000)
    read: list[object] = []

    def watch() -> None:
        read.append(backend.event_query(stop))
        read.append(backend.event_elapsed_ns(start, stop, 1))

    watcher = threading.Thread(target=watch)
    watcher.start()
    watcher.join()

    assert (read, _active(fake)) == ([True, 0], [False, True])


def test_no_stream_means_cupys_current_one(fake: FakeDriver) -> None:
    fake.start()
    stream = fake.stream()
    sys.modules["cupy"].cuda.get_current_stream().ptr = stream

    assert CupyBackend().stream_of(None) == Stream(stream, 0)


def test_a_machine_without_a_device_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy_on(FakeDriver(devices=0)))

    with pytest.raises(CudaError, match="cudaError100"):
        CupyBackend()
