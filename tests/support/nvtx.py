"""Running a traced program with the NVTX tool attached."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpu_narration._types import Kind
from gpu_narration.tracefile import Event, Phase, Trace
from tests.support.native import nvtx_tool
from tests.support.nvtx_log import NvtxLog
from tests.support.run import run_python

START = """
import gpu_narration as narration
from gpu_narration import narrate, span, trace_fn, trace_tiny
narration.start("t.gnt", backend="none")
"""
STOP = """
narration.stop()
"""
#: Makes a call on another thread, and waits for it.
ELSEWHERE = """
import threading
def elsewhere(call, *args):
    thread = threading.Thread(target=call, args=args)
    thread.start()
    thread.join()
"""


@dataclass(frozen=True, slots=True)
class Observed:
    """What a tool received from a program, and what its trace holds."""

    log: NvtxLog
    trace: Trace
    stdout: str

    def events(self, *kinds: Kind, phase: Phase | None = None) -> list[Event]:
        """The trace's events of these kinds (all, if none is given), in order."""
        return [
            event
            for event in self.trace.events()
            if (not kinds or event.kind in kinds) and (phase is None or event.phase is phase)
        ]


def tool_environment(directory: Path) -> dict[str, str]:
    """The variables that attach the tool to a program; it logs to ``nvtx.log``."""
    return {
        "NVTX_INJECTION64_PATH": str(nvtx_tool()),
        "NVTX_TOOL_LOG": str(directory / "nvtx.log"),
    }


def observe(
    directory: Path,
    body: str,
    *,
    start: str = START,
    stop: str = STOP,
    env: Mapping[str, str] | None = None,
) -> Observed:
    """Runs ``body`` between start() and stop() with the tool attached."""
    program = start + textwrap.dedent(body) + stop
    done = run_python(program, cwd=directory, env={**tool_environment(directory), **(env or {})})
    return Observed(NvtxLog(directory / "nvtx.log"), Trace(directory / "t.gnt"), done.stdout)
