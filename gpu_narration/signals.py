"""Doing something on a signal, beside what the program does on it.

A handler of ours calls the one that was there before, and gives the signal back
to it exactly.  Where the program has set its own handler since, ours stays out
of its way.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from gpu_narration._errors import OptionError, internal_error

if TYPE_CHECKING:
    from collections.abc import Callable

#: No handler of Python's can act on these: the system does not let it, or the
#: instruction that caused the signal would run again.
_HOPELESS = {"SIGKILL", "SIGSTOP", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS"}

#: Sent to end a program: where nothing else handles one of them, it still ends it.
_ENDING = {"SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT", "SIGXCPU", "SIGALRM"}


def number_of(option: str, given: str | int) -> int:
    """The signal meant by a name (``SIGUSR1``, ``USR1``) or a number.

    Raises :class:`OptionError` for what is no signal, or none that can be handled here.
    """
    found = _find(given)
    if found is None:
        raise OptionError(
            f"{option}={given!r} is no signal of this system", next_step="write for example SIGUSR1"
        )
    if found.name in _HOPELESS:
        raise OptionError(
            f"{option}={found.name} cannot be handled by a Python program",
            next_step="choose SIGUSR1, SIGUSR2 or another signal that the program has no use for",
        )
    if threading.current_thread() is not threading.main_thread():
        raise OptionError(
            f"{option}={found.name} needs a start in the main thread",
            meaning="Python lets no other thread handle signals",
            next_step="call start() in the main thread, or leave the signal out",
        )
    if _handled_in_c(found):
        raise OptionError(
            f"{option}={found.name} is handled by a C library of this program",
            meaning="Python could not give it back to it",
            next_step="choose another signal",
        )
    return int(found)


def _handled_in_c(number: signal.Signals) -> bool:
    known = signal.getsignal(number)
    if callable(known):
        return False
    # Python knows only of handlers that were there before it.
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return known is None
    _, _, caught = status.partition("\nSigCgt:")
    return bool(int(caught.split(maxsplit=1)[0], 16) >> (number - 1) & 1) if caught else False


def name_of(number: int) -> str:
    return signal.Signals(number).name


def _find(given: str | int) -> signal.Signals | None:
    try:
        if isinstance(given, str):
            name = given.upper()
            return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
        return None if isinstance(given, bool) else signal.Signals(given)
    except (KeyError, ValueError):
        return None


class SignalHook:
    """Calls ``act`` on a signal, then the handler that was there before.

    Must be made in the main thread.  A forked child inherits it.
    """

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        self._number = number
        self._act = act
        self._active = True
        # One object for good: how it is found again where handlers are compared.
        self._handler = self._on_signal
        self._before: Any = signal.signal(number, self._handler)

    def remove(self) -> None:
        """Does nothing from now on; the handler before is back, unless the program set another."""
        self._active = False
        if threading.current_thread() is threading.main_thread():
            self._give_back()
        # Elsewhere Python forbids it: then the next signal does it, in the main thread.

    def _give_back(self) -> None:
        if signal.getsignal(self._number) is self._handler:
            signal.signal(self._number, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._active:
            try:
                self._act()
            except Exception as error:  # noqa: BLE001 - the program's handler must run
                internal_error("signal", error)
        before = self._before
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL and (
            not self._active or signal.Signals(number).name in _ENDING
        ):
            self._give_back()
            signal.raise_signal(number)  # as if we had never been there
