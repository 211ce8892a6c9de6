"""Each backend, with what the protocol leaves to the program that uses it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, addressof, c_char_p, c_longlong, c_uint, c_void_p
from typing import Any

import pytest

from gpu_narration.cuda import MockBackend, MockGpu, Stream
from gpu_narration.cuda.backend import Backend, CudaError, NoBackend, choose
from gpu_narration.cuda.cupy_backend import CupyBackend
from gpu_narration.cuda.driver_backend import DriverBackend
from gpu_narration.cuda.libcuda import LIBRARY, DriverUnavailableError
from tests.support.cuda import DISABLE_TIMING, Driver, FakeDriver
from tests.support.cupy_runtime import cupy_on
from tests.support.recording import ManualClock

#: Long enough to be seen unfinished on a real GPU, short enough to be waited for.
WORK_NS = 200_000_000

#: Spins for a number of cycles; by hand, so that it needs neither nvcc nor CuPy.
_SPIN_PTX = rb"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry spin(.param .u64 cycles)
{
    .reg .pred %more;
    .reg .u64 %begin, %now, %cycles;
    ld.param.u64 %cycles, [cycles];
    mov.u64 %begin, %clock64;
again:
    mov.u64 %now, %clock64;
    sub.u64 %now, %now, %begin;
    setp.lt.u64 %more, %now, %cycles;
    @%more bra again;
    ret;
}
"""


class Bench:
    """A backend on a machine of its own, and the program beside it.

    ``real``: a GPU, on which nothing is done that would end CUDA for later tests.
    """

    real = False

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def new_stream(self, device: int = 0, *, blocking: bool = False) -> Any:
        raise NotImplementedError

    def work(self, stream: Any) -> None:
        """WORK_NS of it, more or less on a GPU."""
        raise NotImplementedError

    def let_work_finish(self) -> None:
        raise NotImplementedError

    def begin_capture(self, stream: Any) -> None:
        raise NotImplementedError

    def end_capture(self, stream: Any) -> None:
        """Of a capture that may have been invalidated."""
        raise NotImplementedError

    def invalidate_capture(self, stream: Any) -> None:
        raise NotImplementedError

    def untimed_event(self) -> int:
        """An event that was made without timing, by the program."""
        raise NotImplementedError

    def current(self) -> object:
        """What is current to this thread: a device or a context."""
        raise NotImplementedError

    # On simulated machines only.

    def destroy_stream(self, stream: Any) -> None:
        raise NotImplementedError

    def reset_device(self, device: int) -> None:
        raise NotImplementedError

    def lose_device(self, device: int) -> None:
        raise NotImplementedError

    def fault(self, stream: Any) -> None:
        """WORK_NS of work that ends in an illegal address."""
        raise NotImplementedError

    def end_driver(self) -> None:
        raise NotImplementedError

    # The same for all.

    @contextmanager
    def capture(self, stream: Any) -> Iterator[None]:
        self.begin_capture(stream)
        try:
            yield
        finally:
            self.end_capture(stream)

    def recorded_event(self, stream: object) -> int:
        target = self.backend.stream_of(stream)
        event = self.backend.event_create(target.device)
        self.backend.event_record(event, target)
        return event

    def need_simulation(self) -> None:
        if self.real:
            pytest.skip("it would end CUDA for the tests after it")

    def need_devices(self, count: int) -> None:
        if len(self.backend.devices()) < count:
            pytest.skip(f"needs {count} devices")


class MockBench(Bench):
    def __init__(self) -> None:
        self._clock = ManualClock()
        self._gpu = MockGpu(devices=2, clock=self._clock)
        super().__init__(MockBackend(self._gpu))

    def new_stream(self, device: int = 0, *, blocking: bool = False) -> Stream:
        return self._gpu.stream(device, blocking=blocking)

    def work(self, stream: Any) -> None:
        self._gpu.launch("work", WORK_NS, self.backend.stream_of(stream))

    def let_work_finish(self) -> None:
        self._clock.step(10 * WORK_NS)

    def begin_capture(self, stream: Any) -> None:
        self._gpu.begin_capture(stream)

    def end_capture(self, stream: Any) -> None:
        with contextlib.suppress(CudaError):
            self._gpu.end_capture(stream)

    def invalidate_capture(self, stream: Any) -> None:
        self._gpu.invalidate_capture(stream)

    def untimed_event(self) -> int:
        return self._gpu.event_create(0, timing=False)

    def current(self) -> object:
        return None

    def destroy_stream(self, stream: Any) -> None:
        self._gpu.destroy_stream(stream)

    def reset_device(self, device: int) -> None:
        self._gpu.reset_device(device)

    def lose_device(self, device: int) -> None:
        self._gpu.lose_device(device)

    def fault(self, stream: Any) -> None:
        self._gpu.fault_next_launch(700)
        self.work(stream)

    def end_driver(self) -> None:
        self._gpu.end()


class DriverBench(Bench):
    """What fake and real driver have in common: the program is the same."""

    driver: Driver

    def new_stream(self, device: int = 0, *, blocking: bool = False) -> int:
        return self.driver.stream(device, blocking=blocking)

    def begin_capture(self, stream: Any) -> None:
        self.driver.begin_capture(stream)

    def end_capture(self, stream: Any) -> None:
        self.driver.end_capture(stream)

    def untimed_event(self) -> int:
        return self.driver.made("cuEventCreate", DISABLE_TIMING)

    def current(self) -> object:
        return self.driver.current()


class FakeDriverBench(DriverBench):
    def __init__(self, *flags: str) -> None:
        self.driver = self.fake = FakeDriver(*flags, devices=2)
        self.fake.start()
        super().__init__(self._backend())

    def _backend(self) -> Backend:
        return DriverBackend(library=self.fake.path)

    def work(self, stream: Any) -> None:
        self.fake.launch(self.backend.stream_of(stream).handle, WORK_NS)

    def let_work_finish(self) -> None:
        self.fake.advance(10 * WORK_NS)

    def invalidate_capture(self, stream: Any) -> None:
        self.fake("fake_cuInvalidateCapture", stream)

    def destroy_stream(self, stream: Any) -> None:
        self.fake("cuStreamDestroy_v2", stream)

    def reset_device(self, device: int) -> None:
        self.fake("cuDevicePrimaryCtxReset_v2", device)

    def lose_device(self, device: int) -> None:
        self.fake.lose(device)

    def fault(self, stream: Any) -> None:
        self.fake.launch(stream, WORK_NS, fault=700)

    def end_driver(self) -> None:
        self.fake.library.fake_cuDeinitialize()


class FakeCupyBench(FakeDriverBench):
    """The cupy backend on a CuPy that stands on the fake driver."""

    def _backend(self) -> Backend:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "cupy", cupy_on(self.fake))
            return CupyBackend(library=self.fake.path)


class RealDriverBench(DriverBench):
    real = True

    def __init__(self) -> None:
        try:
            backend = DriverBackend(initialise=True)
        except DriverUnavailableError as reason:
            pytest.skip(f"no driver backend: {reason}")
        self.driver = Driver(LIBRARY)
        self.driver.use_device(0)
        super().__init__(backend)
        library = self.driver.library
        library.cuModuleLoadData.argtypes = (POINTER(c_void_p), c_char_p)
        library.cuModuleGetFunction.argtypes = (POINTER(c_void_p), c_void_p, c_char_p)
        library.cuLaunchKernel.argtypes = (
            c_void_p, *[c_uint] * 7, c_void_p, POINTER(c_void_p), c_void_p,
        )  # fmt: skip
        #: By device: a function belongs to a context.
        self._spin: dict[int, int] = {}

    def work(self, stream: Any) -> None:
        target = self.backend.stream_of(stream)
        cycles = c_longlong(WORK_NS)
        arguments = (c_void_p * 1)(addressof(cycles))
        with self._using(target.device):
            if target.device not in self._spin:
                module = self.driver.made("cuModuleLoadData", _SPIN_PTX)
                self._spin[target.device] = self.driver.made("cuModuleGetFunction", module, b"spin")
            spin = self._spin[target.device]
            self.driver("cuLaunchKernel", spin, 1, 1, 1, 1, 1, 1, 0, target.handle, arguments, None)

    def let_work_finish(self) -> None:
        for device in range(self.driver.device_count()):
            with self._using(device):
                self.driver("cuCtxSynchronize")

    @contextmanager
    def _using(self, device: int) -> Iterator[None]:
        before = self.driver.current()
        self.driver.use_device(device)
        try:
            yield
        finally:
            self.driver("cuCtxSetCurrent", before)

    def invalidate_capture(self, stream: Any) -> None:
        self.driver.library.cuStreamSynchronize.argtypes = (c_void_p,)
        assert self.driver.library.cuStreamSynchronize(stream) != 0


class CupyBench(Bench):
    real = True

    def __init__(self) -> None:
        try:
            chosen = choose("cupy")
        except Exception as reason:  # noqa: BLE001 - whatever it is, there is none here
            pytest.skip(f"no cupy backend: {reason}")
        assert not isinstance(chosen, NoBackend)
        super().__init__(chosen)
        import cupy

        self._cupy = cupy
        self._spin = cupy.RawKernel(
            'extern "C" __global__ void spin(long long n)'
            "{ long long begin = clock64(); while (clock64() - begin < n) {} }",
            "spin",
        )
        self._captured: Any = None

    def new_stream(self, device: int = 0, *, blocking: bool = False) -> Any:
        with self._cupy.cuda.Device(device):
            return self._cupy.cuda.Stream(non_blocking=not blocking)

    def work(self, stream: Any) -> None:
        target = self.backend.stream_of(stream)
        with (
            self._cupy.cuda.Device(target.device),
            self._cupy.cuda.ExternalStream(target.handle, target.device),
        ):
            self._spin((1,), (1,), (WORK_NS,))

    def let_work_finish(self) -> None:
        for device in range(self._cupy.cuda.runtime.getDeviceCount()):
            with self._cupy.cuda.Device(device) as current:
                current.synchronize()

    def begin_capture(self, stream: Any) -> None:
        self._cupy.cuda.runtime.streamBeginCapture(
            stream.ptr, self._cupy.cuda.runtime.streamCaptureModeGlobal
        )

    def end_capture(self, stream: Any) -> None:
        with contextlib.suppress(self._cupy.cuda.runtime.CUDARuntimeError):
            self._cupy.cuda.runtime.streamEndCapture(stream.ptr)

    def invalidate_capture(self, stream: Any) -> None:
        with pytest.raises(self._cupy.cuda.runtime.CUDARuntimeError):
            self._cupy.cuda.runtime.streamSynchronize(stream.ptr)

    def untimed_event(self) -> int:
        return int(self._cupy.cuda.runtime.eventCreateWithFlags(DISABLE_TIMING))

    def current(self) -> object:
        return self._cupy.cuda.runtime.getDevice()


def code_of(call: Any) -> int:
    """The number of the CUDA error that a call raises."""
    with pytest.raises(CudaError) as caught:
        call()
    return caught.value.code
