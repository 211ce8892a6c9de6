"""Limiting what an attached profiler collects to one of our ranges, from inside the program.

A profiler that waits for it (``nsys profile --capture-range=cudaProfilerApi``) collects
between ``cuProfilerStart`` and ``cuProfilerStop``, as the CUDA driver API describes them.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

from gpu_narration import _core
from gpu_narration._errors import say
from gpu_narration.cuda.libcuda import LIBRARY, SUCCESS


class Profiler:
    """The driver's two calls.  They are made by the thread whose range begins or ends."""

    def __init__(self) -> None:
        library = ctypes.CDLL(LIBRARY)
        self._start, self._stop = library.cuProfilerStart, library.cuProfilerStop
        for function in (self._start, self._stop):
            function.argtypes, function.restype = (), ctypes.c_int

    def start(self) -> int:
        """Begins the collection; the driver's status."""
        return int(self._start())

    def stop(self) -> int:
        """Ends the collection; the driver's status."""
        return int(self._stop())


class CaptureRange:
    """The domain's methods, with a profiler that collects while a range of ``name`` is open.

    Ranges of that name may be open many times at once: it collects from the first to
    begin to the last to end.
    """

    def __init__(self, name: str, domain: Any, profiler: Profiler) -> None:
        self.name = name
        self._domain, self._profiler = domain, profiler
        # A finaliser may begin a range inside one of ours.
        self._lock = threading.RLock()
        self._open = 0
        self._failed: int | None = None
        #: Attributes of the sites whose ranges bear the name; the sites own them as well.
        self._attributes: dict[int, Any] = {}
        self._pushed = threading.local()

    def adopt(self, attributes: Any) -> None:
        """Ranges with these attributes bear the name."""
        self._attributes[id(attributes)] = attributes

    def push_range(self, attributes: Any) -> object:
        """As of the domain, after the collection has begun."""
        mine = id(attributes) in self._attributes
        stack = self._stack()
        stack.append(mine)
        if mine:
            self._begin()
        return self._domain.push_range(attributes)

    def pop_range(self) -> object:
        """As of the domain, before the collection ends."""
        result = self._domain.pop_range()
        stack = self._stack()
        if stack and stack.pop():
            self._end()
        return result

    def start_range(self, attributes: Any) -> tuple[object, bool]:
        """As of the domain; what it gives is for :meth:`end_range` alone."""
        mine = id(attributes) in self._attributes
        if mine:
            self._begin()
        return self._domain.start_range(attributes), mine

    def end_range(self, started: tuple[object, bool]) -> None:
        """As of the domain, before the collection ends."""
        handle, mine = started
        self._domain.end_range(handle)
        if mine:
            self._end()

    def _stack(self) -> list[bool]:
        stack: list[bool] | None = getattr(self._pushed, "stack", None)
        if stack is None:
            stack = self._pushed.stack = []
        return stack

    def _begin(self) -> None:
        with self._lock:
            self._open += 1
            if self._open == 1:
                self._tell("start", self._profiler.start)

    def _end(self) -> None:
        with self._lock:
            self._open -= 1
            if self._open == 0 and self._failed is None:
                self._tell("stop", self._profiler.stop)

    def _tell(self, what: str, call: Callable[[], int]) -> None:
        status = call()
        first = self._failed is None
        self._failed = None if status == SUCCESS else status
        if status != SUCCESS and first:
            say(
                f"the profiler did not {what} with the range {self.name!r}: CUDA says {status}; "
                "a context must be current when the range begins [no-capture]"
            )
        _core.note("capture", {"range": self.name, what: status == SUCCESS, "status": status})
