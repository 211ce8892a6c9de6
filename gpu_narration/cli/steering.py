"""Asking the processes of a trace to do something, and waiting for their answers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click

from gpu_narration import control
from gpu_narration._errors import GpuNarrationError, NotATraceError
from gpu_narration._marker import MARKER, RECORDS, is_live, open_regular, read_marker
from gpu_narration.views.escape import safe

#: Between two looks for an answer.
_PAUSE_S = 0.01


class NoProcessError(GpuNarrationError):
    """No process records into the trace."""

    slug: ClassVar[str] = "no-process"


class NotYoursError(GpuNarrationError):
    """Only the user of a process, and root, may steer it."""

    slug: ClassVar[str] = "control-refused"


class BusyError(GpuNarrationError):
    """Another command steers this trace."""

    slug: ClassVar[str] = "control-busy"


@dataclass(frozen=True, slots=True)
class Process:
    """A process that records into the trace now."""

    name: str
    ring: Path
    owner: int

    @property
    def pid(self) -> int:
        return int(self.name.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request in one process; ``text`` says what, or why not."""

    pid: int
    done: bool
    text: str


def steer(trace: Path, verb: str, directives: str | None, timeout_s: float) -> list[Outcome]:
    """Asks every process of a trace; one outcome each, in the order of their numbers.

    Raises NotATraceError, :class:`NoProcessError`, :class:`NotYoursError`,
    :class:`BusyError`, and OSError where nothing can be written.
    """
    give_up = time.monotonic() + timeout_s
    if read_marker(trace) is None:
        raise NotATraceError(
            f"{trace} is no trace of gpu_narration",
            meaning="a trace is a directory NAME.gnt with a file trace.json in it",
            next_step="check the path",
        )
    processes = _processes(trace)
    with _alone(trace, give_up):
        answers = {process: _answer(trace, process) for process in processes}
        known = max((answer.number for answer in answers.values() if answer), default=0)
        owners = {process.owner for process in processes} | {0, os.geteuid()}
        request = control.next_request(trace, owners, verb, directives, known)
        control.write(trace, control.REQUEST, request)
        for process, answer in answers.items():
            if answer is not None and answer.signal is not None and _holds(process):
                with contextlib.suppress(OSError):  # it ends just now: seen below
                    os.kill(process.pid, answer.signal)
        return [
            _wait(trace, process, answer, request.number, give_up)
            for process, answer in answers.items()
        ]


def _processes(trace: Path) -> list[Process]:
    """The living ones.  Refuses if one of them would not listen to us."""
    found = [
        Process(ring.stem, ring, ring.stat().st_uid)
        for ring in sorted(trace.glob("*-*.ring"))
        if RECORDS.fullmatch(ring.name) and is_live(ring)
    ]
    if not found:
        raise NoProcessError(
            f"no process records to {trace} now",
            meaning="only a recording that runs can be steered",
            next_step=f"gpu-narration show {trace} prints what it has",
        )
    for process in found:
        if os.geteuid() not in (0, process.owner):
            raise NotYoursError(
                f"process {process.pid} belongs to user {process.owner}",
                meaning="only that user and root may steer it",
                next_step="run this command as that user",
            )
    return found


@contextlib.contextmanager
def _alone(trace: Path, give_up: float) -> Iterator[None]:
    """One command at a time: a second one would take the first one's request away."""
    with open_regular(trace / MARKER) as marker:
        while not _lock(marker.fileno()):
            if time.monotonic() > give_up:
                raise BusyError(
                    f"another command is steering {trace}", next_step="try again when it is done"
                )
            time.sleep(_PAUSE_S)
        yield


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _answer(trace: Path, process: Process) -> control.Answer | None:
    """What a process has said last; None if it says nothing, or it is not it who says it."""
    try:
        return control.read(
            trace / control.answer_name(process.name), control.Answer, {process.owner}
        )
    except (OSError, control.RefusedError):
        return None


def _wait(
    trace: Path, process: Process, before: control.Answer | None, number: int, give_up: float
) -> Outcome:
    def outcome(done: bool, text: str) -> Outcome:
        return Outcome(process.pid, done, text)

    if before is None:
        return outcome(False, "was started with control=False (run --no-control) [control-off]")
    while True:
        alive = is_live(process.ring)
        answer = _answer(trace, process)
        if answer is not None and answer.number >= number:
            return outcome(answer.done, answer.text)
        if not alive:
            return outcome(False, "ended before it answered [no-answer]")
        if time.monotonic() > give_up:
            return outcome(False, f"{_why_silent(before)} [no-answer]")
        time.sleep(_PAUSE_S)


def _why_silent(answer: control.Answer) -> str:
    if answer.polls:
        return (
            "does not answer: it is stopped, or stays in a call that keeps other threads from "
            "running; it follows the request when it can, unless a later one comes first"
        )
    name = "its signal" if answer.signal is None else signal.Signals(answer.signal).name
    return f"does not answer: it looks on {name} alone (control=False), and did not get to it"


def _holds(process: Process) -> bool:
    """Whether the process of that number is the one that records, and no other.

    A signal must not reach a stranger: in another PID namespace, or behind the name
    of a file that someone made up, the number means another process.
    """
    ring = process.ring.stat()
    try:
        opened = [entry.path for entry in os.scandir(f"/proc/{process.pid}/fd")]
    except OSError:
        return False
    for path in opened:
        with contextlib.suppress(OSError):  # closed since
            if os.path.samestat(Path(path).stat(), ring):
                return True
    return False


def report(outcomes: list[Outcome], say: Callable[[str], str] = str) -> int:
    """Prints what was done to stdout, what was not to stderr; the exit status, 0 or 1."""
    for outcome in outcomes:
        if outcome.done:
            click.echo(f"process {outcome.pid}: {safe(say(outcome.text))}")
    failed = [outcome for outcome in outcomes if not outcome.done]
    for outcome in failed:
        click.echo(f"process {outcome.pid}: {safe(outcome.text)}", err=True)
    return 1 if failed else 0
