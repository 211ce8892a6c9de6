"""llama.cpp's log: its lines become narrations and go on to whom they were meant for.

The library holds one callback.  Ours must live as long as it may be called, and the
one before is called with every line, unchanged and first.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

from gpu_narration._errors import internal_error
from gpu_narration._types import Level
from gpu_narration.narration import narrate

CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

#: enum ggml_log_level since October 2024.  None: continues the line before.
_LEVELS = {0: Level.INFO, 1: Level.DEBUG, 2: Level.INFO, 3: Level.WARN, 4: Level.ERROR}
_LONGEST = 1000


class Logs:
    """The log of one library."""

    def __init__(self, own: ctypes.CDLL) -> None:
        """``own``: the library, for ourselves."""
        self._own: Any = own
        self._callback = CALLBACK(self._hear)
        self._address = ctypes.cast(self._callback, ctypes.c_void_p).value
        self._before: Callable[..., object] | None = None
        self._before_address: int | None = None
        self._before_data: int | None = None
        self._is_taken = False
        self._partial: dict[int, tuple[Level, str]] = {}
        self._listeners: dict[int, list[str]] = {}
        #: Why the lines are not heard; None while they are.
        self.reason: str | None = "llama.cpp's log was not asked for"

    def take(self, *, fresh: bool, forced: bool) -> None:
        """Puts our callback in front of the program's.

        fresh: the library was loaded just now, so that no callback can have been set.
        """
        if not hasattr(self._own, "llama_log_set"):
            self.reason = "the library has no llama_log_set"
            return
        if self._can_ask():
            self._remember(*self._current())
        elif not fresh and not forced:
            self.reason = "the library cannot tell which log callback the program has set"
            return
        self._set(self._address, None)
        self._is_taken, self.reason = True, None

    def give_back(self) -> None:
        """Makes the program's callback the library's again."""
        if not self._is_taken:
            return
        self._is_taken, self.reason = False, "llama.cpp's log was given back"
        if self._can_ask() and self._current()[0] != self._address:
            return  # somebody else's by now
        self._set(self._before_address, self._before_data)

    def was_set(self, callback: Any, data: Any) -> None:
        """The program has set a callback: it becomes the one behind ours."""
        if not self._is_taken:
            return
        if self._can_ask():
            address, set_data = self._current()
        else:
            address = ctypes.cast(callback, ctypes.c_void_p).value if callback else None
            set_data = getattr(data, "value", data)
        self._put_ours_in_front(address, set_data)

    def listen(self) -> None:
        """Keeps the lines that this thread logs, for :meth:`stop_listening`."""
        if self._is_taken:
            # Hooks run while something records: the program may have set one meanwhile.
            if self._can_ask():
                self._put_ours_in_front(*self._current())
            self._listeners[threading.get_ident()] = []

    def stop_listening(self) -> list[str]:
        """The lines kept since :meth:`listen`; none where the log is not ours."""
        return self._listeners.pop(threading.get_ident(), [])

    # ---- the library's side ----

    def _put_ours_in_front(self, address: int | None, data: int | None) -> None:
        if address != self._address:
            self._remember(address, data)
            self._set(self._address, None)

    def _can_ask(self) -> bool:
        return hasattr(self._own, "llama_log_get")

    def _current(self) -> tuple[int | None, int | None]:
        callback, data = ctypes.c_void_p(), ctypes.c_void_p()
        ask = self._own.llama_log_get
        ask.restype, ask.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p]
        ask(ctypes.byref(callback), ctypes.byref(data))
        return callback.value, data.value

    def _remember(self, address: int | None, data: int | None) -> None:
        self._before_address, self._before_data = address, data
        self._before = CALLBACK(address) if address else None

    def _set(self, address: int | None, data: int | None) -> None:
        put = self._own.llama_log_set
        put.restype, put.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p]
        put(address, data)

    # ---- lines ----

    def _hear(self, level: int, text: bytes | None, _: int | None) -> None:
        """Called by llama.cpp, in any thread of the program."""
        text = text or b""
        try:
            before = self._before
            if before is not None:
                before(level, text, self._before_data)
            else:
                os.write(2, text)  # as llama.cpp does where no callback was set
            self._take_in(level, text.decode(errors="replace"))
        except Exception as error:  # noqa: BLE001 - nothing may reach the library
            internal_error("a line of llama.cpp's log", error)

    def _take_in(self, level: int, text: str) -> None:
        """Narrates whole lines; what has no end yet waits for it."""
        thread = threading.get_ident()
        begun = self._partial.pop(thread, None)
        shown = _LEVELS.get(level)
        if shown is None:
            shown = begun[0] if begun is not None else Level.INFO
        *lines, rest = ((begun[1] if begun is not None else "") + text).split("\n")
        for line in lines:
            self._tell(shown, line.rstrip(), thread)
        if rest:
            self._partial[thread] = shown, rest[:_LONGEST]

    def _tell(self, level: Level, line: str, thread: int) -> None:
        if not line.strip("."):
            return  # the dots of a progress
        listening = self._listeners.get(thread)
        if listening is not None:
            listening.append(line)
        where, colon, _ = line.partition(": ")
        target = where if colon and where.isidentifier() else ""
        narrate("llama", "log", target, line[:_LONGEST], level=level)
