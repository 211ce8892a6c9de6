"""Which GPUs a program sees, and in what order.

NVML counts every GPU of the machine and knows nothing of ``CUDA_VISIBLE_DEVICES``
and ``CUDA_DEVICE_ORDER``.  What CUDA makes of them NVIDIA documents in part (CUDA
Programming Guide, *CUDA Environment Variables*; MIG User Guide, *CUDA Device
Enumeration*); the rest is as PyTorch's ``torch.cuda`` and nvitop have found it to be:

- A list of indices and a list of UUIDs are different things: the first token says
  which it is, and one of the other kind ends the list.
- The first token that names no device ends the list: ``-1``, an index too high, an
  unknown or ambiguous UUID.  An index is read as C's ``strtoul`` reads it.
- A device that is named twice: the program sees none at all.
- Where a GPU is partitioned (MIG), a program sees one instance, the first that is
  visible, and then no whole GPU.

CUDA counts the fastest GPU first unless ``CUDA_DEVICE_ORDER=PCI_BUS_ID``, by a
measure of its own.  So where CUDA works in the process already it is asked
(:func:`enumerated`), and before that the numbers are only as good as PCI order.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
ORDER_VARIABLE = "CUDA_DEVICE_ORDER"

_INDEX = re.compile(r"\+?[0-9]+")
_OLD_INSTANCE = re.compile(r"MIG-(GPU-[^/]+)/([0-9]+)/([0-9]+)")


@dataclass(frozen=True, slots=True)
class Instance:
    """A MIG instance: its UUID, and its numbers, None where NVML does not tell them."""

    uuid: str
    gpu_instance: int | None = None
    compute_instance: int | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of the machine.  ``partitioned``: in MIG mode, with or without instances."""

    uuid: str
    pci_bus_id: str = ""
    partitioned: bool = False
    instances: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a visible device is: the GPU's place in the list, and the instance's in it."""

    gpu: int
    instance: int | None = None


def visible(setting: str | None, gpus: Sequence[Gpu]) -> list[Place]:
    """The devices in the program's order for a value of ``CUDA_VISIBLE_DEVICES``.

    Indices count ``gpus`` as they come; None is a variable that is not set.
    """
    if setting is None:
        named: list[Place] | None = [Place(index) for index in range(len(gpus))]
    elif setting.lstrip().startswith(("GPU-", "MIG-")):
        named = _by_uuid(setting, gpus)
    else:
        named = _by_index(setting, len(gpus))
    return _enumerated_by_cuda(named or [], gpus)


def order_is_known(setting: str | None, device_order: str | None, gpus: int) -> bool:
    """Whether PCI order is CUDA's order for sure: one GPU, UUIDs, or by request."""
    by_uuid = setting is not None and setting.lstrip().startswith(("GPU-", "MIG-"))
    return gpus <= 1 or by_uuid or device_order == "PCI_BUS_ID"


def _by_index(setting: str, count: int) -> list[Place] | None:
    places: list[Place] = []
    for token in setting.split(","):
        found = _INDEX.match(token.strip())
        if found is None or int(found[0]) >= count:
            break
        place = Place(int(found[0]))
        if place in places:
            return None
        places.append(place)
    return places


def _by_uuid(setting: str, gpus: Sequence[Gpu]) -> list[Place] | None:
    prefix = setting.lstrip()[:4]
    places: list[Place] = []
    for part in setting.split(","):
        token = part.strip()
        matches = _matching(token, gpus) if token.startswith(prefix) else []
        if len(matches) != 1:
            break
        if matches[0] in places:
            return None
        places.append(matches[0])
    return places


def _matching(token: str, gpus: Sequence[Gpu]) -> list[Place]:
    old = _OLD_INSTANCE.fullmatch(token)
    if old is not None:  # as drivers before R470 named instances
        uuid, numbers = old[1], (int(old[2]), int(old[3]))
        return [
            Place(i, j)
            for i, gpu in enumerate(gpus)
            for j, instance in enumerate(gpu.instances)
            if gpu.uuid == uuid and (instance.gpu_instance, instance.compute_instance) == numbers
        ]
    if token.startswith("GPU-"):
        return [Place(i) for i, gpu in enumerate(gpus) if gpu.uuid.startswith(token)]
    return [
        Place(i, j)
        for i, gpu in enumerate(gpus)
        for j, instance in enumerate(gpu.instances)
        if instance.uuid.startswith(token)
    ]


def _enumerated_by_cuda(named: Sequence[Place], gpus: Sequence[Gpu]) -> list[Place]:
    """One instance, or whole GPUs."""
    for place in named:
        if place.instance is not None:
            return [place]
        if gpus[place.gpu].instances:
            return [Place(place.gpu, 0)]
    return [place for place in named if not gpus[place.gpu].partitioned]


# ---- asking CUDA ----


@dataclass(frozen=True, slots=True)
class Enumerated:
    """A device as CUDA counts it: its UUID without prefix, and its PCI bus id."""

    uuid: str
    pci_bus_id: str

    def is_same(self, uuid: str, pci_bus_id: str) -> bool:
        """Whether NVML means this device; instances share the PCI bus id of their GPU."""
        if self.uuid and uuid:
            return uuid.partition("-")[2] == self.uuid
        return bool(pci_bus_id) and _bus(pci_bus_id) == _bus(self.pci_bus_id)


def enumerated() -> list[Enumerated] | None:
    """What CUDA counts, in its order; None where CUDA does not work in this process (yet).

    Asks only a driver that is loaded, and only what does not initialise it:
    ``cuDeviceGetCount`` fails before the program's ``cuInit``, and without effect.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1", mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None
    count = ctypes.c_int(0)
    if cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return None
    return [Enumerated(_uuid(cuda, index), _bus_id(cuda, index)) for index in range(count.value)]


def _uuid(cuda: ctypes.CDLL, index: int) -> str:
    raw = (ctypes.c_ubyte * 16)()
    # The second gives the UUID of an instance, the first that of its GPU.
    for name in ("cuDeviceGetUuid_v2", "cuDeviceGetUuid"):
        if hasattr(cuda, name) and getattr(cuda, name)(ctypes.byref(raw), index) == 0:
            text = bytes(raw).hex()
            return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return ""


def _bus_id(cuda: ctypes.CDLL, index: int) -> str:
    text = ctypes.create_string_buffer(32)
    if not hasattr(cuda, "cuDeviceGetPCIBusId"):
        return ""
    status = cuda.cuDeviceGetPCIBusId(text, len(text), index)
    return text.value.decode(errors="replace") if status == 0 else ""


def _bus(pci_bus_id: str) -> tuple[int, ...] | None:
    """NVML writes the domain with eight digits, CUDA with four."""
    try:
        return tuple(int(part, 16) for part in re.split(r"[:.]", pci_bus_id))
    except ValueError:
        return None


def pci_order(pci_bus_id: str) -> tuple[int, ...]:
    """What to sort by for ``CUDA_DEVICE_ORDER=PCI_BUS_ID``."""
    return _bus(pci_bus_id) or ()
