"""Keys as they are pressed, on a terminal that is left as it was found."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from types import FrameType, TracebackType
from typing import Self


class Keyboard:
    """While it is entered, keys come one by one and are not shown.

    Where stdin is no terminal there are no keys.  SIGTERM ends the program as an
    exception does, so that the terminal is put right.
    """

    def __init__(self) -> None:
        self._file: int | None = None
        self._before: list[object] = []

    def __enter__(self) -> Self:
        if sys.stdin is not None and sys.stdin.isatty():
            self._file = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)
        signal.signal(signal.SIGTERM, _end)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._file is not None:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]

    @property
    def listens(self) -> bool:
        """Whether there are keys at all."""
        return self._file is not None

    def wait(self, seconds: float) -> str:
        """Waits that long for a key; those that were pressed, "" if there was none."""
        if self._file is None:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([self._file], [], [], seconds)
        if not ready:
            return ""
        pressed = os.read(self._file, 64)
        if not pressed:  # the terminal is gone
            self._file = None
        return pressed.decode(errors="replace")


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
    sys.exit(128 + number)
