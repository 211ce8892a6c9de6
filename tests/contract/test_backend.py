"""What every backend promises, real or simulated: devices, memory, streams."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from gpu_narration.cuda import Stream
from gpu_narration.cuda.backend import LEGACY_HANDLE, PER_THREAD_HANDLE, StreamKind
from tests.support.backends import Bench, code_of


class Speaking:
    """A stream by the protocol of cuda.core."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._handle


class OfPyTorch:
    """As torch.cuda.Stream looks."""

    def __init__(self, handle: int, device: int) -> None:
        self.cuda_stream = handle
        self.device = type("device", (), {"index": device})()


class OfCupy:
    """As cupy.cuda.Stream looks."""

    def __init__(self, handle: int, device: int) -> None:
        self.ptr = handle
        self.device_id = device


class OfNumba:
    """As numba.cuda's streams look; the default one has a null pointer."""

    def __init__(self, handle: int) -> None:
        self.handle = ctypes.c_void_p(handle)


def test_memory_info_adds_up(bench: Bench) -> None:
    info = bench.backend.memory_info(0)

    assert info.used_bytes + info.free_bytes == info.total_bytes


def test_memory_info_says_that_it_is_exact(bench: Bench) -> None:
    assert bench.backend.memory_info(0).source == "exact"


def test_memory_info_of_no_such_device_is_error_101(bench: Bench) -> None:
    assert code_of(lambda: bench.backend.memory_info(99)) == 101


def test_memory_of_another_device_can_be_asked_for(bench: Bench) -> None:
    bench.need_devices(2)
    bench.new_stream(1)

    assert bench.backend.memory_info(1).total_bytes > 0


def test_device_uuids_are_unique(bench: Bench) -> None:
    uuids = [device.uuid for device in bench.backend.devices()]

    assert len(set(uuids)) == len(uuids) > 0


def test_a_uuid_is_written_as_nvml_writes_it(bench: Bench) -> None:
    uuid = bench.backend.devices()[0].uuid

    assert [len(group) for group in uuid.split("-")] == [3, 8, 4, 4, 4, 12]


def test_devices_are_numbered_as_the_program_sees_them(bench: Bench) -> None:
    devices = bench.backend.devices()

    assert [device.index for device in devices] == list(range(len(devices)))


def test_only_the_simulator_says_that_it_is_simulated(bench: Bench) -> None:
    assert bench.backend.simulated is (bench.backend.name == "mock")


# ---- streams ----


def test_no_stream_means_the_current_one(bench: Bench) -> None:
    assert bench.backend.stream_of(None) == Stream(LEGACY_HANDLE, 0)


def test_a_stream_of_ours_stays_itself(bench: Bench) -> None:
    stream = Stream(7, 0)

    assert bench.backend.stream_of(stream) is stream


@pytest.mark.parametrize("handle", [0, 1])
def test_both_handles_of_the_legacy_stream_are_one(bench: Bench, handle: int) -> None:
    assert bench.backend.stream_of(handle) == Stream(LEGACY_HANDLE, 0)


def test_the_per_thread_stream_keeps_its_handle(bench: Bench) -> None:
    assert bench.backend.stream_of(2) == Stream(PER_THREAD_HANDLE, 0)


@pytest.mark.parametrize("device", [0, 1])
@pytest.mark.parametrize("library", ["raw", "protocol", "pytorch", "cupy", "numba"])
def test_streams_of_all_libraries_are_known(bench: Bench, library: str, device: int) -> None:
    bench.need_devices(device + 1)
    expected = bench.backend.stream_of(bench.new_stream(device))
    looks: dict[str, Any] = {
        "raw": expected.handle,
        "protocol": Speaking(expected.handle),
        "pytorch": OfPyTorch(expected.handle, device),
        "cupy": OfCupy(expected.handle, device),
        "numba": OfNumba(expected.handle),
    }

    assert bench.backend.stream_of(looks[library]) == expected


def test_the_default_stream_of_numba_is_the_legacy_one(bench: Bench) -> None:
    assert bench.backend.stream_of(OfNumba(0)) == Stream(LEGACY_HANDLE, 0)


def test_a_default_stream_of_pytorch_knows_its_device(bench: Bench) -> None:
    bench.need_devices(2)
    bench.new_stream(1)

    assert bench.backend.stream_of(OfPyTorch(0, 1)) == Stream(LEGACY_HANDLE, 1)


@pytest.mark.parametrize(
    "nonsense", ["7", 1.5, object(), True, -1, 1 << 64, OfNumba, Speaking("x"), OfCupy("x", 0)]
)
def test_what_is_no_stream_is_a_type_error(bench: Bench, nonsense: object) -> None:
    with pytest.raises(TypeError, match=type(nonsense).__name__):
        bench.backend.stream_of(nonsense)


def test_two_streams_have_different_handles(bench: Bench) -> None:
    first, second = bench.new_stream(), bench.new_stream()

    assert bench.backend.stream_of(first) != bench.backend.stream_of(second)


@pytest.mark.parametrize(
    ("blocking", "kind"), [(True, StreamKind.BLOCKING), (False, StreamKind.NON_BLOCKING)]
)
def test_blocking_and_non_blocking_streams_are_told_apart(
    bench: Bench, blocking: bool, kind: StreamKind
) -> None:
    target = bench.backend.stream_of(bench.new_stream(blocking=blocking))

    assert bench.backend.stream_flags(target) is kind


@pytest.mark.parametrize(
    ("handle", "kind"),
    [(LEGACY_HANDLE, StreamKind.LEGACY), (PER_THREAD_HANDLE, StreamKind.PER_THREAD)],
)
def test_default_streams_are_told_apart(bench: Bench, handle: int, kind: StreamKind) -> None:
    assert bench.backend.stream_flags(bench.backend.stream_of(handle)) is kind


@pytest.mark.parametrize("device", [0, 1])
def test_a_stream_of_our_own_is_non_blocking_and_on_its_device(bench: Bench, device: int) -> None:
    bench.need_devices(device + 1)
    bench.new_stream(device)

    stream = bench.backend.stream_create(device)

    assert stream.device == device
    assert bench.backend.stream_flags(stream) is StreamKind.NON_BLOCKING


def test_events_can_be_recorded_on_a_stream_of_our_own(bench: Bench) -> None:
    event = bench.recorded_event(bench.backend.stream_create(0))

    bench.let_work_finish()

    assert bench.backend.event_query(event) is True


def test_a_stream_of_our_own_can_be_destroyed_once(bench: Bench) -> None:
    stream = bench.backend.stream_create(0)
    bench.backend.stream_destroy(stream)

    assert code_of(lambda: bench.backend.stream_destroy(stream)) == 400


@pytest.mark.parametrize("call", ["create", "record", "query", "elapsed", "memory", "capture"])
def test_what_was_current_before_a_call_is_current_after_it(bench: Bench, call: str) -> None:
    bench.need_devices(2)
    backend, target = bench.backend, bench.backend.stream_of(bench.new_stream(1))
    first, second = bench.recorded_event(target), bench.recorded_event(target)
    default = Stream(LEGACY_HANDLE, 1)
    bench.let_work_finish()
    before = bench.current()
    calls = {
        "create": lambda: backend.event_create(1),
        "record": lambda: backend.event_record(first, default),
        "query": lambda: backend.event_query(first),
        "elapsed": lambda: backend.event_elapsed_ns(first, second, 1),
        "memory": lambda: backend.memory_info(1),
        "capture": lambda: backend.capture_status(default),
    }

    calls[call]()

    assert bench.current() == before
