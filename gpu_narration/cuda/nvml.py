"""Device memory through NVML, by the ``pynvml`` module of ``nvidia-ml-py``.

Devices are keyed by their UUIDs and numbered as the program sees them
(:mod:`gpu_narration.cuda.visible`); a MIG instance that the program sees is a device
like any other.  NVML is initialised once in a process, and anew in a forked child,
where its state is void; it is never shut down, since doing both in turns can hang.

Version 1 of the memory call counts what the driver reserves as used, version 2 does
not.  Which one is spoken is settled at the first answer of each device, so that a
series never jumps.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gpu_narration.cuda import share, visible
from gpu_narration.cuda.backend import Device, MemoryInfo
from gpu_narration.cuda.share import Share
from gpu_narration.cuda.visible import VISIBLE_VARIABLE, Gpu, Instance, Place


class NvmlUnavailable(Exception):  # noqa: N818 - a state of the machine, not a fault
    """Why NVML cannot be used here."""


#: Held by the thread that imports pynvml.  A child that is forked in the midst of an
#: import keeps half a module and a lock of the importing thread, which it has not: it
#: would wait for ever where it imports the same.  So a fork waits until the import,
#: some ms once in a process, is over.
_importing = threading.Lock()
_FORK_PATIENCE_S = 1.0
_fork = threading.local()  # whether the thread that forks holds it


def _before_fork() -> None:
    _fork.holds = _importing.acquire(timeout=_FORK_PATIENCE_S)


def _after_fork() -> None:
    if getattr(_fork, "holds", False):
        _fork.holds = False
        _importing.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)

#: The process that initialised NVML: repeated init and shutdown can hang.
_initialized_in: int | None = None


@dataclass(slots=True)
class _Seen:
    """A device that the program sees.  ``device.index`` may change, its place here not."""

    device: Device
    nvml_index: int
    #: None while it is lost; a handle from before the loss may stay dead.
    handle: Any
    #: Why there is no handle.
    lost: str = ""
    #: UUID of the GPU that an instance is part of.
    parent: str | None = None
    #: Of the memory call; None before its first answer.
    version: Literal[1, 2] | None = None


class Nvml:
    """An initialised NVML; raises :class:`NvmlUnavailable` where it shows the program no GPU.

    Only one thread may use it.
    """

    def __init__(self) -> None:
        try:
            with _importing:
                import pynvml
        except ImportError as error:
            raise NvmlUnavailable(f"nvidia-ml-py is not installed: {error}") from error
        self._nvml: Any = pynvml
        try:
            _initialize(pynvml)
            gpus = [self._look(index) for index in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            raise NvmlUnavailable(_text(error)) from error
        setting = os.environ.get(VISIBLE_VARIABLE)
        if all(gpu.handle is not None for gpu, _ in gpus):
            gpus.sort(key=lambda found: visible.pci_order(found[0].device.pci_bus_id))
        #: In the order of their first numbering, which names them for good.
        self._seen = list(self._select(setting, gpus))
        if not self._seen:
            raise NvmlUnavailable(f"the program sees no GPU ({VISIBLE_VARIABLE}={setting!r})")
        self._namespace_reason = share.namespace_reason()
        #: Whose order the indices are in.
        self.order: Literal["CUDA", "NVML"] = (
            "CUDA"
            if visible.order_is_known(setting, os.environ.get(visible.ORDER_VARIABLE), len(gpus))
            else "NVML"
        )
        self.renumber()

    @property
    def devices(self) -> Sequence[Device]:
        """The devices that the program sees; places in this list are what the calls take."""
        return [seen.device for seen in self._seen]

    def parent(self, place: int) -> str | None:
        """UUID of the GPU that a device is an instance of; None for a whole GPU."""
        return self._seen[place].parent

    def memory_version(self, place: int) -> int | None:
        """Version of the memory call that a device is read with; None before it answered."""
        return self._seen[place].version

    def driver_version(self) -> str:
        return str(self._nvml.nvmlSystemGetDriverVersion())

    def renumber(self) -> bool:
        """Numbers the devices as CUDA does, once CUDA works in this process.

        Whether that told something new.
        """
        if self.order == "CUDA":
            return False
        counted = visible.enumerated()
        if counted is None:
            return False
        indices = {
            place: index
            for index, ours in enumerate(counted)
            for place, seen in enumerate(self._seen)
            if ours.is_same(seen.device.uuid, seen.device.pci_bus_id)
        }
        if len(indices) != len(self._seen) or len(set(indices.values())) != len(indices):
            return False  # not the same devices: the variable was changed after a start, say
        for place, index in indices.items():
            self._seen[place].device = replace(self._seen[place].device, index=index)
        self.order = "CUDA"
        return True

    def memory_info(self, place: int) -> MemoryInfo:
        """Memory of a device; raises :class:`NvmlUnavailable` if it cannot be read."""
        seen = self._seen[place]
        if seen.handle is None:
            raise NvmlUnavailable(seen.lost)
        nvml = self._nvml
        try:
            memory = self._read(seen)
        except nvml.NVMLError as error:
            raise NvmlUnavailable(_text(error)) from error
        reserved = int(memory.reserved) if seen.version == 2 else None
        return MemoryInfo(
            int(memory.total), int(memory.used), int(memory.free), reserved, "sampled"
        )

    def find_again(self, place: int) -> None:
        """Looks for a device that could not be read: what comes back has a new handle."""
        nvml, seen = self._nvml, self._seen[place]
        try:
            if seen.device.uuid:
                seen.handle = nvml.nvmlDeviceGetHandleByUUID(seen.device.uuid)
            else:  # it was lost before it could say who it is
                found, _ = self._look(seen.nvml_index)
                if found.handle is not None:
                    seen.handle = found.handle
                    seen.device = replace(found.device, index=seen.device.index)
        except nvml.NVMLError:
            pass  # the reading says why

    def process_share(self, place: int) -> Share:
        """What of a device's memory is this process's own."""
        seen = self._seen[place]
        if self._namespace_reason:
            return Share(None, self._namespace_reason, asked=False)
        if seen.handle is None:
            return Share(None, seen.lost, asked=False)
        try:
            return share.of_this_process(self._nvml, seen.handle, instance=seen.parent is not None)
        except self._nvml.NVMLError as error:
            return Share(None, _text(error))

    def _read(self, seen: _Seen) -> Any:
        nvml = self._nvml
        if seen.version == 1:
            return nvml.nvmlDeviceGetMemoryInfo(seen.handle)
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(seen.handle, version=nvml.nvmlMemory_v2)
        except (
            nvml.NVMLError_FunctionNotFound, nvml.NVMLError_NotSupported,
            nvml.NVMLError_ArgumentVersionMismatch,
        ):  # fmt: skip
            if seen.version == 2:
                raise
            memory = nvml.nvmlDeviceGetMemoryInfo(seen.handle)
            seen.version = 1
            return memory
        seen.version = 2
        return memory

    def _select(self, setting: str | None, gpus: Sequence[tuple[_Seen, Gpu]]) -> Iterator[_Seen]:
        for index, place in enumerate(visible.visible(setting, [gpu for _, gpu in gpus])):
            seen, gpu = gpus[place.gpu]
            chosen = seen if place.instance is None else self._instance(seen, gpu, place)
            chosen.device = replace(chosen.device, index=index)
            yield chosen

    def _instance(self, seen: _Seen, gpu: Gpu, place: Place) -> _Seen:
        assert place.instance is not None
        uuid = gpu.instances[place.instance].uuid
        device = replace(seen.device, uuid=uuid)
        try:
            handle = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
            device = replace(device, name=_clean(self._nvml.nvmlDeviceGetName(handle)))
        except self._nvml.NVMLError as error:
            return _Seen(device, seen.nvml_index, None, _text(error), gpu.uuid)
        return _Seen(device, seen.nvml_index, handle, parent=gpu.uuid)

    def _look(self, index: int) -> tuple[_Seen, Gpu]:
        """A GPU of the machine; one that is lost keeps its place, with the reason."""
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _clean(nvml.nvmlDeviceGetUUID(handle))
            bus_id = _clean(nvml.nvmlDeviceGetPciInfo(handle).busId)
            device = Device(index, uuid, bus_id, _clean(nvml.nvmlDeviceGetName(handle)))
        except nvml.NVMLError as error:
            return _Seen(Device(index, "", "", ""), index, None, _text(error)), Gpu("")
        partitioned, instances = self._instances(handle)
        return _Seen(device, index, handle), Gpu(uuid, bus_id, partitioned, instances)

    def _instances(self, handle: Any) -> tuple[bool, tuple[Instance, ...]]:
        nvml = self._nvml
        try:
            current, _ = nvml.nvmlDeviceGetMigMode(handle)
            if current != nvml.NVML_DEVICE_MIG_ENABLE:
                return False, ()
            most = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
        except nvml.NVMLError:
            return False, ()  # no GPU that can be partitioned, or a driver before R450
        found = []
        for index in range(most):
            try:
                instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
                uuid = _clean(nvml.nvmlDeviceGetUUID(instance))
            except nvml.NVMLError:
                continue  # the numbers have gaps
            found.append(
                Instance(
                    uuid,
                    self._number(nvml.nvmlDeviceGetGpuInstanceId, instance),
                    self._number(nvml.nvmlDeviceGetComputeInstanceId, instance),
                )
            )
        return True, tuple(found)

    def _number(self, ask: Any, instance: Any) -> int | None:
        try:
            return int(ask(instance))
        except self._nvml.NVMLError:
            return None


def _initialize(nvml: Any) -> None:
    global _initialized_in  # noqa: PLW0603 - NVML is one per process
    if _initialized_in != os.getpid():
        nvml.nvmlInit()
        _initialized_in = os.getpid()


def _clean(text: str | bytes) -> str:
    """NVML's fixed-size strings can hold a NUL, and bytes behind it."""
    decoded = text.decode(errors="replace") if isinstance(text, bytes) else text
    return decoded.partition("\0")[0]


def _text(error: Exception) -> str:
    return f"{type(error).__name__.removeprefix('NVMLError_')}: {error}"
