"""The driver backend beside a program: its contexts, its streams, and what it must not do."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_narration.cuda import CudaError, Stream
from gpu_narration.cuda.backend import NoContextError
from gpu_narration.cuda.driver_backend import DriverBackend
from gpu_narration.cuda.libcuda import DriverUnavailableError
from tests.support.cuda import CAPTURE_GLOBAL, CAPTURE_THREAD_LOCAL, FakeDriver

SYNCHRONISING = ("cuCtxSynchronize", "cuStreamSynchronize", "cuEventSynchronize")
NO_CONTEXT = "no GPU: the program has no CUDA context"


@pytest.fixture
def fake() -> FakeDriver:
    return FakeDriver(devices=2)


@pytest.fixture
def backend(fake: FakeDriver) -> DriverBackend:
    """Of a program that has begun to use CUDA."""
    fake.start()
    return DriverBackend(library=fake.path)


def _used(fake: FakeDriver, backend: DriverBackend) -> None:
    """A pair round work on a stream of the program, read."""
    target = backend.stream_of(fake.stream())
    start, stop = backend.event_create(0), backend.event_create(0)
    for event in (start, stop):
        backend.capture_status(target)
        backend.stream_flags(target)
        backend.event_record(event, target)
        fake.launch(target.handle)
    fake.advance(1_000_000)
    assert backend.event_query(stop)
    backend.event_elapsed_ns(start, stop, 0)
    backend.memory_info(0)
    backend.event_destroy(start)


# ---- a program without CUDA stays without ----


def test_making_the_backend_does_not_initialise_cuda(fake: FakeDriver) -> None:
    DriverBackend(library=fake.path)

    assert fake.calls("cuInit") == 0


@pytest.mark.parametrize("begun", ["not at all", "initialised only"])
@pytest.mark.parametrize("call", ["stream", "create", "own stream", "memory"])
def test_a_program_without_a_context_is_told_so(fake: FakeDriver, call: str, begun: str) -> None:
    backend = DriverBackend(library=fake.path)
    if begun == "initialised only":
        fake("cuInit", 0)
    calls: dict[str, Callable[[], object]] = {
        "stream": lambda: backend.stream_of(None),
        "create": lambda: backend.event_create(0),
        "own stream": lambda: backend.stream_create(0),
        "memory": lambda: backend.memory_info(0),
    }

    with pytest.raises(NoContextError) as caught:
        calls[call]()

    assert (str(caught.value), caught.value.fatal) == (NO_CONTEXT, False)


def test_no_context_is_ever_made_for_a_program(fake: FakeDriver) -> None:
    backend = DriverBackend(library=fake.path)
    fake("cuInit", 0)
    for call in (lambda: backend.event_create(0), lambda: backend.stream_of(None)):
        with pytest.raises(NoContextError):
            call()

    assert fake.calls("cuDevicePrimaryCtxRetain") + fake.calls("cuCtxCreate_v2") == 0


def test_a_program_that_begins_later_is_timed_from_then_on(fake: FakeDriver) -> None:
    backend = DriverBackend(library=fake.path)
    with pytest.raises(NoContextError):
        backend.stream_of(None)

    fake.start()

    _used(fake, backend)


def test_devices_are_unknown_before_cuda_is_initialised(fake: FakeDriver) -> None:
    backend = DriverBackend(library=fake.path)
    before = len(backend.devices())

    fake("cuInit", 0)

    assert (before, len(backend.devices())) == (0, 2)


# ---- whose context ----


def test_a_thread_without_a_context_uses_the_active_primary_one(
    fake: FakeDriver, backend: DriverBackend
) -> None:
    found: list[Stream] = []

    thread = threading.Thread(target=lambda: found.append(backend.stream_of(None)))
    thread.start()
    thread.join()

    assert found == [Stream(0, 0)]


def test_the_backend_keeps_no_context_alive(fake: FakeDriver, backend: DriverBackend) -> None:
    """GIVEN a program that gives its context up THEN it is gone, recording or not."""
    thread = threading.Thread(target=lambda: backend.stream_of(None))
    thread.start()
    thread.join()

    fake("cuDevicePrimaryCtxRelease_v2", 0)

    with pytest.raises(NoContextError):
        backend.event_create(0)


def test_the_default_stream_is_that_of_the_current_context(
    fake: FakeDriver, backend: DriverBackend
) -> None:
    fake.use_device(1)

    assert backend.stream_of(None) == Stream(0, 1)


def test_a_context_of_the_programs_own_making_is_used(fake: FakeDriver) -> None:
    fake("cuInit", 0)
    fake.made("cuCtxCreate_v2", 0, 1)
    backend = DriverBackend(library=fake.path)
    target = backend.stream_of(fake.made("cuStreamCreate", 0))

    backend.event_record(backend.event_create(1), target)

    assert target.device == 1


def test_a_second_context_on_a_device_is_foreign(fake: FakeDriver, backend: DriverBackend) -> None:
    """GIVEN events of the device's first context WHEN a stream of another one comes."""
    event = backend.event_create(0)
    fake.made("cuCtxCreate_v2", 0, 0)
    foreign = backend.stream_of(fake.made("cuStreamCreate", 0))

    with pytest.raises(CudaError, match="CUDA_ERROR_INVALID_HANDLE"):
        backend.event_record(event, foreign)


def test_a_context_that_the_program_destroyed_is_gone(fake: FakeDriver) -> None:
    fake("cuInit", 0)
    context = fake.made("cuCtxCreate_v2", 0, 0)
    backend = DriverBackend(library=fake.path)
    event = backend.event_create(0)
    fake("cuCtxDestroy_v2", context)

    with pytest.raises(CudaError, match="CUDA_ERROR_CONTEXT_IS_DESTROYED"):
        backend.event_query(event)


def test_a_forked_child_does_not_touch_its_parents_context(
    fake: FakeDriver, backend: DriverBackend
) -> None:
    event, target = backend.event_create(0), backend.stream_of(fake.stream())
    calls: list[Callable[[], object]] = [
        lambda: backend.event_query(event),
        lambda: backend.event_record(event, target),
        lambda: backend.stream_of(None),
        lambda: backend.event_create(0),
        lambda: backend.memory_info(0),
        lambda: DriverBackend(library=fake.path).stream_of(target.handle),
    ]
    child = os.fork()
    if child == 0:
        told = [_refused(call) for call in calls]
        backend.event_destroy(event)
        os._exit(0 if all(told) else 1)

    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


def _refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except NoContextError as error:
        return "forked child" in str(error) or "not initialised" in str(error)
    return False


# ---- what it must not do ----


def test_nothing_ever_synchronises(fake: FakeDriver, backend: DriverBackend) -> None:
    _used(fake, backend)

    assert {name: fake.calls(name) for name in SYNCHRONISING} == dict.fromkeys(SYNCHRONISING, 0)


@pytest.mark.parametrize("mode", [CAPTURE_GLOBAL, CAPTURE_THREAD_LOCAL])
def test_a_thread_keeps_its_capture_mode(
    fake: FakeDriver, backend: DriverBackend, mode: int
) -> None:
    """GIVEN a capture WHEN the backend was used beside it THEN what is unsafe still ends it."""
    _used(fake, backend)
    stream = fake.stream()
    fake.begin_capture(stream, mode)
    backend.event_query(backend.event_create(0))

    refused = fake.library.cuCtxSynchronize()

    assert (refused, fake.capture_status(stream)) == (900, 2)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("cuEventCreate", lambda backend: backend.event_create(0)),
        ("cuStreamCreate", lambda backend: backend.stream_create(0)),
        ("cuMemGetInfo_v2", lambda backend: backend.memory_info(0)),
    ],
)
def test_a_failing_call_leaves_the_thread_as_it_was(
    fake: FakeDriver, backend: DriverBackend, name: str, call: Callable[[Any], object]
) -> None:
    before = fake.current()
    fake.fail(name, 2)

    with pytest.raises(CudaError, match="CUDA_ERROR_OUT_OF_MEMORY"):
        call(backend)

    assert fake.current() == before


# ---- what a driver can be ----


def test_no_library_is_no_driver() -> None:
    with pytest.raises(DriverUnavailableError, match="there is no NVIDIA driver"):
        DriverBackend(library="/nowhere/libcuda.so.1")


def test_a_driver_too_old_says_what_it_supports(fake: FakeDriver) -> None:
    fake.library.fake_cuSetVersion(10020)

    with pytest.raises(DriverUnavailableError, match=r"supports CUDA 10\.2, and 11\.0 or newer"):
        DriverBackend(library=fake.path)


def test_a_driver_without_a_function_names_it() -> None:
    fake = FakeDriver("FAKE_CUDA_INCOMPLETE")

    with pytest.raises(DriverUnavailableError, match="lacks cuStreamGetCtx"):
        DriverBackend(library=fake.path)


def test_a_stub_library_is_no_driver(fake: FakeDriver) -> None:
    fake.fail("cuDriverGetVersion", 34)

    with pytest.raises(DriverUnavailableError, match="CUDA_ERROR_STUB_LIBRARY"):
        DriverBackend(library=fake.path)


@pytest.mark.parametrize("setting", ["", " ", "-1"])
def test_a_program_that_is_to_see_no_gpu_has_none(
    fake: FakeDriver, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)

    with pytest.raises(DriverUnavailableError, match=r"CUDA_VISIBLE_DEVICES is .*to see no GPU"):
        DriverBackend(library=fake.path)


def test_initialising_where_there_is_no_device_says_so() -> None:
    fake = FakeDriver(devices=0)

    with pytest.raises(DriverUnavailableError, match="CUDA_ERROR_NO_DEVICE"):
        DriverBackend(initialise=True, library=fake.path)


# ---- the current stream of frameworks ----


def _with(monkeypatch: pytest.MonkeyPatch, torch: int | None, cupy: int | None) -> None:
    """PyTorch and CuPy with these current streams; None: not loaded."""
    if torch is not None:
        of_torch = SimpleNamespace(cuda_stream=torch, device=SimpleNamespace(index=0))
        at_work = SimpleNamespace(is_initialized=lambda: True, current_stream=lambda: of_torch)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=at_work))
    if cupy is not None:
        of_cupy = SimpleNamespace(ptr=cupy, device_id=-1)
        at_work = SimpleNamespace(get_current_stream=lambda: of_cupy)
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=at_work))


@pytest.mark.parametrize("framework", ["torch", "cupy"])
def test_no_stream_means_the_current_one_of_the_framework_at_work(
    fake: FakeDriver, backend: DriverBackend, monkeypatch: pytest.MonkeyPatch, framework: str
) -> None:
    stream = fake.stream()
    _with(monkeypatch, **{"torch": None, "cupy": None, framework: stream})

    assert backend.stream_of(None) == Stream(stream, 0)


def test_a_pytorch_that_does_not_use_cuda_is_not_asked(
    backend: DriverBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", idle)

    assert backend.stream_of(None) == Stream(0, 0)


def test_a_framework_on_a_stream_of_its_own_wins(
    fake: FakeDriver, backend: DriverBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = fake.stream()
    _with(monkeypatch, torch=0, cupy=stream)

    assert backend.stream_of(None) == Stream(stream, 0)


def test_two_frameworks_on_different_streams_are_not_guessed_between(
    fake: FakeDriver, backend: DriverBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with(monkeypatch, torch=fake.stream(), cupy=fake.stream())

    with pytest.raises(CudaError, match="different current streams: give stream="):
        backend.stream_of(None)


def test_no_framework_is_asked_before_cuda_is_initialised(
    fake: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking CuPy for its stream would initialise CUDA, which ends what forks later."""

    def asked() -> None:
        raise AssertionError("CuPy was asked")

    cupy = SimpleNamespace(cuda=SimpleNamespace(get_current_stream=asked))
    monkeypatch.setitem(sys.modules, "cupy", cupy)

    with pytest.raises(NoContextError):
        DriverBackend(library=fake.path).stream_of(None)


@pytest.mark.parametrize("framework", ["torch", "cupy"])
def test_a_framework_that_cannot_work_is_passed_over(
    backend: DriverBackend, monkeypatch: pytest.MonkeyPatch, framework: str
) -> None:
    def failing() -> None:
        raise RuntimeError("CUDA driver version is insufficient for CUDA runtime version")

    cuda = SimpleNamespace(
        is_initialized=lambda: True, current_stream=failing, get_current_stream=failing
    )
    monkeypatch.setitem(sys.modules, framework, SimpleNamespace(cuda=cuda))

    assert backend.stream_of(None) == Stream(0, 0)


def test_an_interval_costs_the_caller_ten_driver_calls(
    fake: FakeDriver, backend: DriverBackend
) -> None:
    """A context is asked for its life before each use of a handle, and nothing is asked twice."""
    stream = fake.stream()
    start, stop = backend.event_create(0), backend.event_create(0)
    backend.stream_of(stream)
    fake.library.fake_cuForgetCalls()

    target = backend.stream_of(stream)
    for event in (start, stop):
        backend.capture_status(target)
        backend.event_record(event, target)

    names = ("cuStreamGetCtx", "cuCtxGetId", "cuStreamIsCapturing", "cuEventRecord")
    assert [fake.calls(name) for name in names] == [1, 5, 2, 2]
    assert fake.calls() == 10
