"""Programs for the real llama-cpp-python, and what they leave in a trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_narration._types import Kind
from gpu_narration.tracefile import Event, Phase, Trace

#: Before the program of a test: what it is given, a model and how to load it.
PRELUDE = """
import ctypes, json, sys
import gpu_narration as gn
from gpu_narration import ffi
model, trace = sys.argv[1:3]
QUIET = {"backend": "none", "vram": False, "nvtx": "off", "children": False}
MESSAGES = [{"role": "user", "content": "the kernel waits for the stream"}]
def load(**more):
    import llama_cpp
    return llama_cpp.Llama(model, **{"n_ctx": 256, "n_threads": 1, "n_threads_batch": 1,
                                     "seed": 7, "verbose": False, **more})
def tell(**what):
    print(json.dumps(what))
"""


@dataclass
class Ran:
    """What a program said (the last line of its output), and what is in its trace."""

    said: dict[str, Any]
    stderr: str
    path: Path

    @property
    def trace(self) -> Trace:
        return Trace(self.path)

    def events(self) -> list[Event]:
        return list(self.trace.events())

    def calls(self, phase: Phase, name: str | None = None) -> list[Event]:
        """The beginnings or ends of the calls of llama.cpp, or of one of its functions."""
        return [
            event
            for event in self.events()
            if event.kind is Kind.FOREIGN
            and event.phase is phase
            and name in (None, event.names[1])
        ]
