"""Device memory through NVML, by the ``pynvml`` module of ``nvidia-ml-py``.

NVML counts physical GPUs and ignores ``CUDA_VISIBLE_DEVICES``; here devices are
keyed by UUID and numbered as the program sees them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from gpu_narration.cuda.backend import Device, MemoryInfo

VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"


class NvmlUnavailable(Exception):  # noqa: N818 - a state of the machine, not a fault
    """Why NVML cannot be used here."""


class Nvml:
    """An initialised NVML; raises :class:`NvmlUnavailable` where there is none.

    Initialised once per process: repeated init and shutdown can hang.
    """

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise NvmlUnavailable(f"nvidia-ml-py is not installed: {error}") from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            self._devices = self._visible()
        except pynvml.NVMLError as error:
            raise NvmlUnavailable(_text(error)) from error
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
        for _, handle in self._devices[:1]:
            try:
                self._nvml.nvmlDeviceGetMemoryInfo(handle, version=self._nvml.nvmlMemory_v2)
            except (self._nvml.NVMLError, AttributeError):
                return False
        return True

    def _visible(self) -> list[tuple[Device, Any]]:
        handles = [
            self._nvml.nvmlDeviceGetHandleByIndex(index)
            for index in range(self._nvml.nvmlDeviceGetCount())
        ]
        uuids = [_clean(self._nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        order = visible_indices(os.environ.get(VISIBLE_VARIABLE), uuids)
        return [
            (
                Device(
                    index,
                    uuids[physical],
                    _clean(self._nvml.nvmlDeviceGetPciInfo(handles[physical]).busId),
                    _clean(self._nvml.nvmlDeviceGetName(handles[physical])),
                ),
                handles[physical],
            )
            for index, physical in enumerate(order)
        ]


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
