"""Running a traced program on a machine whose CUDA driver is the fake one."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpu_narration._types import Kind
from gpu_narration.tracefile import Trace
from gpu_narration.tracefile.format import Value
from tests.support.native import fake_cuda
from tests.support.run import run_python

#: A program's side of the driver: it initialises CUDA and works on raw streams.
PRELUDE = """
import atexit, ctypes, os, sys, threading, time
from ctypes import byref, c_int, c_int64, c_uint64, c_void_p
import gpu_narration as narration
from gpu_narration import span

WORK_NS = 2_000_000

def driver():
    library = ctypes.CDLL("libcuda.so.1")
    library.fake_cuAdvance.argtypes = [c_int64]
    library.fake_cuLaunch.argtypes = [c_int64, c_int, c_void_p]
    library.fake_cuCalls.argtypes = [ctypes.c_char_p, c_uint64]
    library.fake_cuCalls.restype = c_uint64
    library.cuCtxSetCurrent.argtypes = [c_void_p]
    library.cuStreamDestroy_v2.argtypes = [c_void_p]
    return library

def begin():
    assert cuda.cuInit(0) == 0
    context = c_void_p()
    assert cuda.cuDevicePrimaryCtxRetain(byref(context), 0) == 0
    assert cuda.cuCtxSetCurrent(context) == 0

def new_stream():
    stream = c_void_p()
    assert cuda.cuStreamCreate(byref(stream), 1) == 0
    return stream.value

def launch(stream, length_ns=WORK_NS, fault=0):
    assert cuda.fake_cuLaunch(length_ns, fault, stream) == 0

def step(stream, name="step", **work):
    with span("app", name, gpu=True, stream=stream):
        launch(stream, **work)

def synchronised(thread=0):
    names = (b"cuCtxSynchronize", b"cuStreamSynchronize", b"cuEventSynchronize")
    return sum(cuda.fake_cuCalls(name, thread) for name in names)
"""
START = """
narration.start("t.gnt", nvtx="off", vram=False)
"""


@dataclass(frozen=True, slots=True)
class Traced:
    """What a program left."""

    trace: Trace
    stdout: str
    stderr: str

    def steps(self) -> list[dict[str, Value]]:
        """What was learned of each span, in order."""
        return [
            dict(self.trace.annotations(event))
            for event in self.trace.events()
            if event.kind is Kind.SPAN and event.phase.value == "begin"
        ]

    def backend(self) -> dict[str, Value] | None:
        """The note about which backend was chosen, of the first process."""
        return self.trace.processes[0].note("backend")


def cuda_environment(**settings: str) -> dict[str, str]:
    """The variables that make a program find the fake driver."""
    paths = [str(fake_cuda().parent), os.environ.get("LD_LIBRARY_PATH", "")]
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, paths)),
        "FAKE_CUDA_CLOCK": "real",
        **settings,
    }


def run_traced(
    directory: Path,
    body: str,
    *,
    env: Mapping[str, str] | None = None,
    start: str = START,
    with_driver: bool = True,
) -> Traced:
    """Runs ``body`` in a recording; it must end well, and a hang fails the test."""
    load = "cuda = driver()\n" if with_driver else ""
    done = run_python(
        PRELUDE + load + start + textwrap.dedent(body),
        cwd=directory,
        env={**(cuda_environment() if with_driver else {}), **(env or {})},
        timeout_s=60,
    )
    return Traced(Trace(directory / "t.gnt"), done.stdout, done.stderr)
