"""The CUDA contexts of the program, as this package may use them.

A recording never makes a context: it would take hundreds of MB of VRAM and break
what forks later.  It uses those of the program, which can destroy them at any
time, and whoever touches a handle of a destroyed context may crash.  So each
context is asked whether it lives before anything made in it is used.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_int, c_uint, c_ulonglong, c_void_p
from dataclasses import dataclass

from gpu_narration.cuda.backend import CudaError, NoContextError, Stream
from gpu_narration.cuda.libcuda import (
    CONTEXT_IS_DESTROYED,
    INVALID_CONTEXT,
    INVALID_DEVICE,
    NO_DEVICE,
    NOT_INITIALIZED,
    SUCCESS,
    LibCuda,
)

#: Streams whose context is remembered; programs have few, and handles come again.
_STREAMS_MAX = 4096

#: How often this process was forked from one that had loaded this module.
_forks = 0


def _forked() -> None:
    global _forks  # noqa: PLW0603 - a fork is an affair of the whole process
    _forks += 1


os.register_at_fork(after_in_child=_forked)


@dataclass(frozen=True, slots=True)
class Context:
    """A context in one of its lives: a device that is reset gets its handle back.

    ``id`` tells lives apart; None where the driver has no ids.  ``primary``:
    whether the device's primary context was active, so that it was probably this.
    """

    handle: int
    device: int
    id: int | None
    primary: bool


class _Cell(threading.local):
    """Where the driver writes an id for this thread: made once, for it is asked at each call."""

    def __init__(self) -> None:
        self.id = c_ulonglong(0)
        self.reference = byref(self.id)


class Contexts:
    """Finds contexts and makes them current; safe to use from several threads."""

    def __init__(self, cuda: LibCuda) -> None:
        self._cuda = cuda
        self._forks = _forks
        self._cell = _Cell()
        self._lock = threading.RLock()
        self._by_handle: dict[int, Context] = {}
        self._by_device: dict[int, Context] = {}
        #: By stream's handle, the context it had when it was last given or made.
        self._of_stream: dict[int, Context] = {}

    def initialised(self) -> bool:
        """Whether CUDA was initialised in this process."""
        handle = c_void_p()
        status = self._cuda.cuCtxGetCurrent(byref(handle))
        if status == NOT_INITIALIZED:
            return False
        self._cuda.check(status)
        return True

    def device_count(self) -> int:
        """How many devices the program can use; none before CUDA was initialised."""
        count = c_int(0)
        status = self._cuda.cuDeviceGetCount(byref(count))
        if status in (NOT_INITIALIZED, NO_DEVICE):
            return 0
        self._cuda.check(status)
        return count.value

    def check_process(self) -> None:
        """Raises in a child forked since: the driver's state is the parent's."""
        if self._forks != _forks:
            raise self._none()

    def is_current(self, context: Context) -> bool:
        """Whether this thread has the context current."""
        handle = c_void_p()
        self._cuda.check(self._cuda.cuCtxGetCurrent(byref(handle)))
        return handle.value == context.handle

    def check(self, context: Context) -> None:
        """Raises unless the context lives and no error sticks to it."""
        if self._forks != _forks:
            raise self._none()
        status = self._life(context)
        if status == SUCCESS:
            return
        if status in (INVALID_CONTEXT, CONTEXT_IS_DESTROYED):
            raise self._cuda.error(CONTEXT_IS_DESTROYED)
        self._cuda.check(status)

    def of_handle(self, handle: int | None) -> Context:
        """The context behind a handle that the driver just gave."""
        if handle is None:
            raise self._none()
        known = self._by_handle.get(handle)
        if known is not None and self._life(known) == SUCCESS:
            return known
        return self._meet(handle)

    def of_stream(self, handle: int) -> Context:
        """The context of a stream that has a handle of its own and is not destroyed."""
        found = c_void_p()
        self._cuda.check(self._cuda.cuStreamGetCtx(handle, byref(found)))
        context = self.of_handle(found.value)
        self.remember(handle, context)
        return context

    def remember(self, handle: int, context: Context) -> None:
        """A stream was given or made in a context."""
        if len(self._of_stream) >= _STREAMS_MAX:
            self._of_stream.clear()
        self._of_stream[handle] = context

    def forget(self, handle: int) -> None:
        """A stream of ours was destroyed."""
        self._of_stream.pop(handle, None)

    def of_known(self, stream: Stream) -> Context:
        """The context that a stream with a handle of its own was in when it was last given."""
        return self._of_stream.get(stream.handle) or self.of_device(stream.device)

    def current(self) -> Context:
        """What is current to this thread, or would be at its first call of the runtime.

        That is the primary context of device 0, and used only if it is active.
        """
        return self._current() or self._primary(0)

    def of_device(self, device: int) -> Context:
        """The program's context on a device: that which it was seen to use, else the primary."""
        self.check_process()
        known = self._by_device.get(device)
        if known is not None and self._life(known) == SUCCESS:
            return known
        current = self._current()
        if current is not None and current.device == device:
            return current
        if not 0 <= device < self.device_count():
            raise self._cuda.error(INVALID_DEVICE)
        return self._primary(device)

    @contextmanager
    def inside(self, context: Context) -> Iterator[None]:
        """The context is current in the block, and what was before afterwards."""
        self._cuda.check(self._cuda.cuCtxPushCurrent_v2(context.handle))
        try:
            yield
        finally:
            # It may have been destroyed meanwhile, and be gone from the stack with that.
            popped = c_void_p()
            self._cuda.cuCtxPopCurrent_v2(byref(popped))

    def _current(self) -> Context | None:
        """What is current to this thread, unless it was destroyed meanwhile."""
        handle = c_void_p()
        status = self._cuda.cuCtxGetCurrent(byref(handle))
        if status == NOT_INITIALIZED:
            raise self._none()
        self._cuda.check(status)
        if handle.value is None:
            return None
        try:
            return self.of_handle(handle.value)
        except CudaError as error:
            if error.code in (INVALID_CONTEXT, CONTEXT_IS_DESTROYED):
                return None
            raise

    def _life(self, context: Context) -> int:
        """The status of asking whether this life of the context goes on."""
        if self._cuda.cuCtxGetId is not None:
            cell = self._cell
            status: int = self._cuda.cuCtxGetId(context.handle, cell.reference)
            if status == SUCCESS and cell.id.value != context.id:
                return CONTEXT_IS_DESTROYED
            return status
        if not context.primary:
            return SUCCESS  # a driver without ids cannot tell
        return SUCCESS if self._primary_active(context.device) else CONTEXT_IS_DESTROYED

    def _meet(self, handle: int) -> Context:
        number: int | None = None
        if self._cuda.cuCtxGetId is not None:
            found = c_ulonglong(0)
            self._cuda.check(self._cuda.cuCtxGetId(handle, byref(found)))
            number = found.value
        device = c_int(0)
        self._cuda.check(self._cuda.cuCtxPushCurrent_v2(handle))
        popped = c_void_p()
        try:
            self._cuda.check(self._cuda.cuCtxGetDevice(byref(device)))
        finally:
            self._cuda.cuCtxPopCurrent_v2(byref(popped))
        context = Context(handle, device.value, number, self._primary_active(device.value))
        with self._lock:
            self._by_handle[handle] = context
            before = self._by_device.get(device.value)
            if before is None or self._life(before) != SUCCESS:
                self._by_device[device.value] = context
        return context

    def _primary(self, device: int) -> Context:
        if not self._primary_active(device):
            raise self._none()
        handle = c_void_p()
        # The program's own reference keeps it: ours would only make it outlive the program's.
        self._cuda.check(self._cuda.cuDevicePrimaryCtxRetain(byref(handle), device))
        self._cuda.cuDevicePrimaryCtxRelease_v2(device)
        return self.of_handle(handle.value)

    def _primary_active(self, device: int) -> bool:
        flags, active = c_uint(0), c_int(0)
        status = self._cuda.cuDevicePrimaryCtxGetState(device, byref(flags), byref(active))
        self._cuda.check(status)
        return active.value != 0

    def _none(self) -> NoContextError:
        if _forks:
            return NoContextError(
                "the program has no CUDA context; a forked child cannot use its parent's"
            )
        return NoContextError()
