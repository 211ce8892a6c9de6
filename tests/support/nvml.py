"""Running a traced program on a machine whose NVML is scripted."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpu_narration._types import Kind
from gpu_narration.tracefile import Event, Trace
from gpu_narration.tracefile.format import Value
from tests.support.native import fake_nvml
from tests.support.run import run_python

MIB = 1 << 20
GIB = 1 << 30

#: What programs use to change their machine and to know what the sampler did.
PRELUDE = f"""
import os, time
from pathlib import Path
import gpu_narration as narration
from gpu_narration import span, trace_fn, trace_tiny
from gpu_narration.cuda import pace, share

pace.SLOW_S = 0.05  # tests have no time to rest
share.namespace_reason = lambda: ""  # wherever they run: the fake counts pids as they do

MIB, GIB = {MIB}, {GIB}

def machine(*lines):
    Path("machine.new").write_text("\\n".join(lines) + "\\n")
    os.replace("machine.new", "machine.txt")

def device(used, total=16 * GIB, reserved=0, uuid="GPU-aaaa", flags=""):
    return f"device {{uuid}} {{total}} {{used}} {{reserved}} {{flags}}"

def instance(used, total=4 * GIB, reserved=0, uuid="MIG-aaaa", flags=""):
    return f"instance {{uuid}} {{total}} {{used}} {{reserved}} {{flags}}"

def logged(word):
    log = Path("nvml.log")
    return log.read_text().split().count(word) if log.exists() else 0

def wait(until, patience_s=60):
    give_up = time.monotonic() + patience_s
    while not until():
        assert time.monotonic() < give_up, "nothing happened"
        time.sleep(0.002)

def sampled(rounds=1, devices=1):
    # One reading may be under way and one is needed to know that the last was told.
    target = logged("begin") + (rounds + 1) * devices + 1
    wait(lambda: logged("end") >= target)

def in_a_slow_reading():
    # A reading that does not end for as long as a quick one never takes.
    def lasting():
        counts = logged("begin"), logged("end")
        if counts[0] == counts[1]:
            return False
        time.sleep(0.2)
        return counts == (logged("begin"), logged("end"))
    wait(lasting)
"""
START = """
narration.start("t.gnt")
sampled()
"""
STOP = """
narration.stop()
"""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a program's trace and the library's log hold."""

    trace: Trace
    log: list[str]
    #: Every call of the library: the thread as the kernel numbers it, and the function.
    calls: list[tuple[int, str]]
    stdout: str
    stderr: str

    def moves(self) -> list[Event]:
        """The changes of memory, in order."""
        return [event for event in self.trace.events() if event.kind is Kind.VRAM]

    def used(self, device: int = 0) -> list[tuple[Value, Value]]:
        """(before, used) of each change of a device."""
        return [
            (event.fields["before_bytes"], event.fields["used_bytes"])
            for event in self.moves()
            if event.fields["device"] == device
        ]

    def notes(self, topic: str) -> list[dict[str, Value]]:
        """The fields of all notes on a topic, of the first process."""
        return [note.fields for note in self.trace.processes[0].notes if note.topic == topic]


def device(
    used: int, total: int = 16 * GIB, reserved: int = 0, uuid: str = "GPU-aaaa", flags: str = ""
) -> str:
    """A line of fake_nvml's script; see fake_nvml.h for the flags."""
    return f"device {uuid} {total} {used} {reserved} {flags}"


def instance(
    used: int, total: int = 4 * GIB, reserved: int = 0, uuid: str = "MIG-aaaa", flags: str = ""
) -> str:
    """A line for a MIG instance of the device above."""
    return f"instance {uuid} {total} {used} {reserved} {flags}"


def sample(
    directory: Path,
    machine: list[str],
    body: str = "",
    *,
    start: str = START,
    stop: str = STOP,
    env: Mapping[str, str] | None = None,
) -> Sampled:
    """Runs ``body`` between start() and stop() on a machine that begins as ``machine``.

    ``machine`` are lines as in fake_nvml.h; the body changes them with ``machine()``
    and waits with ``sampled()`` until they were read and told.
    """
    (directory / "machine.txt").write_text("\n".join(machine) + "\n")
    done = run_python(
        PRELUDE + start + textwrap.dedent(body) + stop,
        cwd=directory,
        env={**nvml_environment(directory), **(env or {})},
    )
    log, calls = directory / "nvml.log", directory / "nvml.calls"
    return Sampled(
        Trace(directory / "t.gnt"),
        log.read_text().split() if log.exists() else [],
        [
            (int(thread), function)
            for thread, function in map(str.split, calls.read_text().splitlines())
        ]
        if calls.exists()
        else [],
        done.stdout,
        done.stderr,
    )


def nvml_environment(directory: Path, library: Path | None = None) -> dict[str, str]:
    """The variables that make a program find the fake library, or another one."""
    paths = [str(library or fake_nvml()), os.environ.get("LD_LIBRARY_PATH", "")]
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, paths)),
        "FAKE_NVML_SCRIPT": str(directory / "machine.txt"),
        "FAKE_NVML_LOG": str(directory / "nvml.log"),
        "FAKE_NVML_CALLS": str(directory / "nvml.calls"),
    }
