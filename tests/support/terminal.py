"""A terminal of a given size with a program in it: what is on its screen, and keys."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyte

from tests.support.run import TIMEOUT_S, environment

#: Makes the terminal the controlling one, so that Ctrl-C is a signal and a resize is told.
_LOGIN = (
    "import os, sys; os.login_tty(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


class Terminal:
    """``gpu-narration`` on a pseudo-terminal, its output drawn by a terminal emulator."""

    def __init__(
        self, arguments: list[str], *, columns: int, rows: int, cwd: Path, env: Mapping[str, str]
    ) -> None:
        self._ours, theirs = pty.openpty()
        self._screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._stream = pyte.ByteStream(self._screen)
        self.resize(columns, rows)
        self.modes_before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LOGIN, "-m", "gpu_narration.cli", *arguments],
            cwd=cwd,
            env={**environment(), "TERM": "xterm-256color", **env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        self.raw = b""
        self._theirs = theirs

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, size)
        self._screen.resize(rows, columns)

    def lines(self) -> list[str]:
        """The screen, without blanks at the ends of lines."""
        return [line.rstrip() for line in self._screen.display]

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def until(self, seen: Callable[[list[str]], bool]) -> list[str]:
        """Waits until the screen is as wanted; the screen then."""
        give_up = time.monotonic() + TIMEOUT_S
        while not seen(self.lines()):
            if time.monotonic() > give_up or not self._read():
                raise AssertionError("the screen never came:\n" + "\n".join(self.lines()))
        return self.lines()

    def end(self) -> int:
        """Waits for the end of the program; its exit status."""
        give_up = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None:
            assert time.monotonic() < give_up, "the program does not end"
            self._read()
        while self._read(patience_s=0.0):
            pass
        return self.process.returncode

    @property
    def modes(self) -> list[object]:
        """How the terminal is set now."""
        return termios.tcgetattr(self._theirs)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self, patience_s: float = 1.0) -> bool:
        """Draws what has come; False if there can be no more."""
        ready, _, _ = select.select([self._ours], [], [], patience_s)
        if not ready:
            return self.process.poll() is None
        data = os.read(self._ours, 1 << 16)
        self.raw += data
        # pyte has no alternate screen: entering it clears, as an empty one would look.
        self._stream.feed(data.replace(b"\x1b[?1049h", b"\x1b[2J\x1b[H"))
        return True


@contextmanager
def terminal(
    *arguments: str | Path,
    cwd: Path,
    columns: int = 100,
    rows: int = 30,
    env: Mapping[str, str] | None = None,
) -> Iterator[Terminal]:
    """Runs ``gpu-narration`` with arguments on a terminal of its own."""
    made = Terminal(list(map(str, arguments)), columns=columns, rows=rows, cwd=cwd, env=env or {})
    try:
        yield made
    finally:
        made.close()
