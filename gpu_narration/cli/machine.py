"""The machine's GPUs, read through NVML for ``gpu-narration watch``."""

from __future__ import annotations

import platform
import threading
import time
from collections import deque
from dataclasses import dataclass

from gpu_narration._errors import NoNvmlError
from gpu_narration.cuda.nvml import Nvml, NvmlUnavailable
from gpu_narration.timeline.live import LiveMove, LiveState
from gpu_narration.timeline.vram_devices import Devices, names
from gpu_narration.tracefile.format import Value

#: How often it is read, how long an answer may take before it is said, and how long
#: the first may take.
_PERIOD_S, _SILENT_S, _PATIENCE_S = 0.25, 2.0, 10.0
#: A smaller move is not listed: 2 MiB, on large devices 1/8192 of the memory, as in traces.
_SMALLEST_BYTES, _SMALLEST_FRACTION = 2 << 20, 8192


@dataclass(frozen=True, slots=True)
class _Reading:
    """What NVML said of one device; ``fields`` are those of a state change."""

    place: int
    index: int
    uuid: str
    fields: dict[str, Value]


class Machine:
    """Reads NVML in a thread of its own: a driver that hangs must not hang the view.

    Raises :class:`~gpu_narration._errors.NoNvmlError` where NVML shows no GPU.
    """

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._failed: str | None = None
        self._lock = threading.Lock()
        self._answers: list[_Reading] = []  # guarded
        self._answered_s = time.monotonic()  # guarded
        self._since_ns = time.monotonic_ns()
        self._devices = Devices()
        self._told: dict[int, int] = {}
        self._moves: deque[LiveMove] = deque(maxlen=100)
        # A daemon, since a call that hangs must not keep the command from ending.
        threading.Thread(target=self._read, name="gpu_narration-nvml", daemon=True).start()
        if not self._begun.wait(_PATIENCE_S):
            raise NoNvmlError(
                f"NVML has not answered for {_PATIENCE_S:.0f} s",
                next_step="see what nvidia-smi says",
            )
        if self._failed is not None:
            raise NoNvmlError(
                f"NVML cannot tell this machine's memory: {self._failed}",
                next_step="'gpu-narration doctor' says what is missing; "
                "'gpu-narration watch TRACE' follows a trace",
            )

    def state(self) -> LiveState:
        """What there is to see."""
        with self._lock:
            answers, self._answers = self._answers, []
            silent_s = time.monotonic() - self._answered_s
        for reading in answers:
            self._take(reading)
        devices = list(self._devices)
        notes = []
        if silent_s > _SILENT_S:
            notes.append(f"NVML has not answered for {silent_s:.0f} s; these are its last answers")
        return LiveState(
            f"GPUs of {platform.node()}", "machine", time.monotonic_ns(), self._since_ns,
            devices=devices, names=names(devices), moves=list(reversed(self._moves)), notes=notes,
        )  # fmt: skip

    def _take(self, reading: _Reading) -> None:
        now_ns = time.monotonic_ns()
        device = self._devices.of_reading(0, reading.index, reading.uuid)
        used, last = reading.fields["used_bytes"], device.series.last
        if last is None or last.used_bytes != used or used is None:
            device.read(now_ns, reading.fields)
        total, told = device.total_bytes or 0, self._told.get(reading.place)
        if not isinstance(used, int):
            return
        if told is None:
            self._told[reading.place] = used
        elif abs(used - told) >= max(_SMALLEST_BYTES, total // _SMALLEST_FRACTION):
            self._told[reading.place] = used
            self._moves.append(LiveMove(now_ns, device, told, used, None, None))

    def _read(self) -> None:
        try:
            nvml = Nvml()
        except NvmlUnavailable as reason:
            self._failed = str(reason)
            self._begun.set()
            return
        while True:
            answers = [self._ask(nvml, place) for place in range(len(nvml.devices))]
            with self._lock:
                self._answers = [*self._answers, *answers][-64 * len(answers) :]
                self._answered_s = time.monotonic()
            self._begun.set()
            time.sleep(_PERIOD_S)

    @staticmethod
    def _ask(nvml: Nvml, place: int) -> _Reading:
        device = nvml.devices[place]
        try:
            info = nvml.memory_info(place)
        except NvmlUnavailable as error:
            fields: dict[str, Value] = {"used_bytes": None, "reason": str(error)}
        else:
            fields = {
                "used_bytes": info.used_bytes, "total_bytes": info.total_bytes,
                "source": info.source,
            }  # fmt: skip
        return _Reading(place, device.index, device.uuid, fields)
