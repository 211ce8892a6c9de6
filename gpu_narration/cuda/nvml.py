"""Device memory through NVML, by the ``pynvml`` module of ``nvidia-ml-py``.

NVML counts physical GPUs and ignores ``CUDA_VISIBLE_DEVICES``; here devices are
keyed by UUID and numbered as the program sees them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from gpu_narration.cuda.backend import Device, MemoryInfo

VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"


class NvmlUnavailable(Exception):  # noqa: N818 - a state of the machine, not a fault
    """Why NVML cannot be used here."""


#: The process that initialised NVML: repeated init and shutdown can hang.
_initialized_in: int | None = None


class Nvml:
    """An initialised NVML; raises :class:`NvmlUnavailable` where it shows the program no GPU."""

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise NvmlUnavailable(f"nvidia-ml-py is not installed: {error}") from error
        self._nvml: Any = pynvml
        try:
            _initialize(pynvml)
            self._devices = self._visible()
        except pynvml.NVMLError as error:
            raise NvmlUnavailable(_text(error)) from error
        if not self._devices:
            setting = os.environ.get(VISIBLE_VARIABLE)
            raise NvmlUnavailable(f"the program sees no GPU ({VISIBLE_VARIABLE}={setting!r})")
        # v1 counts reserved memory as used and v2 does not: one version for all
        # readings of a process, so that a series never jumps.
        self.memory_version = 2 if self._speaks_v2() else 1

    @property
    def devices(self) -> Sequence[Device]:
        """The devices that the program sees, in its order."""
        return [device for device, _ in self._devices]

    def driver_version(self) -> str:
        return str(self._nvml.nvmlSystemGetDriverVersion())

    def memory_info(self, index: int) -> MemoryInfo:
        """Memory of a visible device; raises :class:`NvmlUnavailable` if it cannot be read."""
        _, handle = self._devices[index]
        if isinstance(handle, NvmlUnavailable):
            raise NvmlUnavailable(str(handle))
        try:
            if self.memory_version == 2:
                memory = self._nvml.nvmlDeviceGetMemoryInfo(
                    handle, version=self._nvml.nvmlMemory_v2
                )
                reserved = int(memory.reserved)
            else:
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
                reserved = None
        except self._nvml.NVMLError as error:
            raise NvmlUnavailable(_text(error)) from error
        return MemoryInfo(
            int(memory.total), int(memory.used), int(memory.free), reserved, "sampled"
        )

    def _speaks_v2(self) -> bool:
        for _, handle in self._devices:
            if isinstance(handle, NvmlUnavailable):
                continue  # says nothing about the driver
            try:
                self._nvml.nvmlDeviceGetMemoryInfo(handle, version=self._nvml.nvmlMemory_v2)
            except (self._nvml.NVMLError, AttributeError):
                continue
            return True
        return False

    def _visible(self) -> list[tuple[Device, Any]]:
        found = [self._look(physical) for physical in range(self._nvml.nvmlDeviceGetCount())]
        order = visible_indices(
            os.environ.get(VISIBLE_VARIABLE), [device.uuid for device, _ in found]
        )
        return [
            (dataclasses.replace(found[physical][0], index=index), found[physical][1])
            for index, physical in enumerate(order)
        ]

    def _look(self, physical: int) -> tuple[Device, Any]:
        """A device and its handle; one that is lost keeps its place, with the reason as handle."""
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(physical)
            uuid = _clean(nvml.nvmlDeviceGetUUID(handle))
            bus_id = _clean(nvml.nvmlDeviceGetPciInfo(handle).busId)
            return Device(physical, uuid, bus_id, _clean(nvml.nvmlDeviceGetName(handle))), handle
        except nvml.NVMLError as error:
            return Device(physical, "", "", ""), NvmlUnavailable(_text(error))


def _initialize(nvml: Any) -> None:
    global _initialized_in  # noqa: PLW0603 - NVML is one per process
    if _initialized_in != os.getpid():
        nvml.nvmlInit()
        _initialized_in = os.getpid()


def visible_indices(setting: str | None, uuids: Sequence[str]) -> list[int]:
    """Physical indices in the program's order for a value of ``CUDA_VISIBLE_DEVICES``.

    Tokens are indices or UUIDs, which may be cut short as long as they stay
    unique; the first token that names no device ends the list (CUDA C++
    Programming Guide, environment variables).
    """
    if setting is None:
        return list(range(len(uuids)))
    order: list[int] = []
    for part in setting.split(","):
        token = part.strip()
        if token.isascii() and token.isdigit():
            matches = [int(token)] if int(token) < len(uuids) else []
        elif token.startswith("GPU-"):
            matches = [index for index, uuid in enumerate(uuids) if uuid.startswith(token)]
        else:
            matches = []
        if len(matches) != 1 or matches[0] in order:
            break
        order.append(matches[0])
    return order


def _clean(text: str | bytes) -> str:
    """NVML's fixed-size strings can hold a NUL, and bytes behind it."""
    decoded = text.decode(errors="replace") if isinstance(text, bytes) else text
    return decoded.partition("\0")[0]


def _text(error: Exception) -> str:
    return f"{type(error).__name__.removeprefix('NVMLError_')}: {error}"
