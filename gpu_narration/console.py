"""Narration on stderr as it happens.

The trace is read and formatted by a process of its own, which follows the trace
directory: the traced program pays nothing for it, and what it did last is shown
even if it is killed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from gpu_narration._errors import say

FOLLOWER = "gpu_narration.cli"


class Console:
    """A follower process; ``voice`` and ``form`` are as for ``gpu-narration show``."""

    def __init__(self, trace: Path, voice: str, form: str = "text") -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        if not sys.executable:
            say("no console: this Python does not know its own executable [no-console]")
            return
        target = _real_file(sys.stderr)
        command = [
            sys.executable, "-P", "-m", FOLLOWER, "show", str(trace), "--follow", "--as-console",
            "--voice", voice, "--format", form,
        ]  # fmt: skip
        if target is not None and _wants_color(target):
            command.append("--color=always")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=target if target is not None else subprocess.PIPE,
                stderr=target if target is not None else subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the program; the follower shows how it ends
            )
        except OSError as error:
            say(f"no console: {error} [no-console]")
            return
        if target is None:
            # A notebook or a test: stderr is an object, so the text is carried there.
            self._pump = threading.Thread(
                target=self._carry, name="gpu_narration-console", daemon=True
            )
            self._pump.start()

    def finish(self, timeout_s: float = 10.0) -> None:
        """Waits until everything is shown; leaves a follower that is too slow to itself."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            say("the console is behind and goes on alone [console-behind]")
        if self._pump is not None:
            self._pump.join(1.0)

    def _carry(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(OSError, ValueError):
                print(line.decode(errors="replace"), end="", file=sys.stderr)


def _wants_color(stream: IO[bytes]) -> bool:
    # The follower cannot see it: its output may be a pipe to here.
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def _real_file(stream: object) -> IO[bytes] | None:
    """The stream if it is backed by a file descriptor."""
    fileno = getattr(stream, "fileno", None)
    if fileno is None:
        return None
    try:
        fileno()
    except (OSError, ValueError):
        return None
    return stream  # type: ignore[return-value]
