"""How much of a device's memory is this process's own, where NVML can tell.

The list of processes is the dearest of NVML's questions (4.5 ms a call were reported
for one laptop GPU), so it is asked seldom: see :class:`Budget`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: ``PROC_PID_INIT_INO`` in Linux's include/linux/proc_ns.h: the namespace of the machine.
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC

CONTAINER = (
    "this process is in a pid namespace of its own (a container); NVML counts the machine's "
    "processes"
)
INSTANCE = "NVML does not tell the memory of processes on this MIG instance"
NOT_TOLD = "NVML does not tell the memory of processes here (WDDM, WSL, some virtual GPUs)"
TOO_SOON = "not asked at this record: the list of processes is asked for seldom, for its cost"

#: At most this part of the time is spent on asking, and at most one question a second.
_TIME_SHARE = 1 / 200
_PAUSE_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Share:
    """Bytes of this process, or None and the reason.  ``asked``: it has cost a question."""

    bytes: int | None
    reason: str = ""
    asked: bool = True


def namespace_reason() -> str:
    """Why a pid of ours means nothing to NVML; empty if it does.

    In a container a pid of the list may be ours by chance only, so none is believed.
    """
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return "the pid namespace of this process cannot be told (/proc is not there)"
    return "" if namespace == _INITIAL_PID_NAMESPACE else CONTAINER


def of_this_process(nvml: Any, handle: Any, *, instance: bool) -> Share:
    """Asks NVML; raises ``NVMLError`` where it refuses."""
    try:
        processes = nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
    except nvml.NVMLError_FunctionNotFound:  # drivers before R510
        if not hasattr(nvml, "nvmlDeviceGetComputeRunningProcesses_v2"):
            raise
        processes = nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)
    own = [process.usedGpuMemory for process in processes if process.pid == os.getpid()]
    if any(used is None for used in own):
        return Share(None, INSTANCE if instance else NOT_TOLD)
    # Not in the list: no context on that device, so nothing of it is ours.
    return Share(sum(_ints(own)))


def _ints(values: Iterable[Any]) -> Iterable[int]:
    return (int(value) for value in values)


class Budget:
    """Says when a dear question may be asked again: no faster than its cost allows."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._next_ns = 0
        self.calls = 0
        self.cost_ns = 0

    def allows(self) -> bool:
        return self._clock() >= self._next_ns

    def spent(self, cost_ns: int) -> None:
        """Notes what a question took."""
        self.calls += 1
        self.cost_ns += cost_ns
        self._next_ns = self._clock() + max(_PAUSE_NS, round(cost_ns / _TIME_SHARE))
