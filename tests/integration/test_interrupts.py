"""What a signal handler raises reaches the program, wherever it strikes in a trace call."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_narration.tracefile import Trace, Trouble
from tests.support.run import run_python

#: What strikes: installs a handler that raises; FIRED counts how often it did.
BEGIN = """
import signal, time
from pathlib import PosixPath
import gpu_narration as gn
from gpu_narration import _core, _summary

fired = 0
class Alarm(Exception): ...
def handler(number, frame):
    global fired
    fired += 1
    raise {error}
signal.signal(signal.SIGINT, handler)
def strike(*_):
    if fired == 0:
        signal.raise_signal(signal.SIGINT)
    return 0
gn.start("t.gnt", backend="none", filter="trace")
"""
ERRORS = ["KeyboardInterrupt", "SystemExit(5)", "TimeoutError('too long')", "Alarm"]


def run(directory: Path, program: str, error: str = "KeyboardInterrupt") -> list[str]:
    """The words that a program prints; it must not end by an error."""
    return run_python(BEGIN.format(error=error) + program, cwd=directory).stdout.split()


def texts(directory: Path) -> list[str | None]:
    trace = Trace(directory / "t.gnt")
    found = [event.names[3] for event in trace.events()]
    assert not {n.trouble for n in trace.notices()} & {Trouble.DAMAGED, Trouble.UNDEFINED}
    return found


STRUCK = """
try:
    {call}
    for _ in range(100): pass
    print("swallowed")
except BaseException as error:
    print(type(error).__name__, fired)
gn.trace_tiny("app", "step", "", "after")
gn.stop()
print("on")
"""
HOOKS = {
    "type": (
        "_core.set_hooks(summarise=strike)\n",
        "gn.trace_tiny('app', 'step', '', '{}', PosixPath('x'))",
    ),
    "value": (
        "_core.set_hooks(summarise=lambda kind: strike)\n",
        "gn.trace_tiny('app', 'step', '', '{}', PosixPath('x'))",
    ),
    "filter": (
        "_core.set_hooks(threshold=strike)\n",
        "gn.trace_tiny('app', 'new', '', 'struck')",
    ),
    "keyword": (
        "@gn.trace_fn\ndef f(**fields): ...\n_core.set_hooks(parameter_rule=strike)\n",
        "f(password='hunter2-hunter2')",
    ),
    "span": (
        "_core.set_hooks(scope_enter=strike)\n",
        "gn.span('app', 'part', gpu=True).__enter__()",
    ),
    "result": (
        "f = gn.trace_fn(lambda: PosixPath('x'))\n_core.set_hooks(summarise=lambda kind: strike)\n",
        "f()",
    ),
    "report": (
        "_core.set_hooks(summarise=lambda kind: 1 / 0, internal_error=strike)\n",
        "gn.trace_tiny('app', 'step', '', '{}', PosixPath('x'))",
    ),
}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("error", ERRORS)
def test_what_a_handler_raises_inside_a_hook_reaches_the_program(
    tmp_path: Path, hook: str, error: str
) -> None:
    """GIVEN a signal in the midst of our own Python code THEN its exception comes out once."""
    prepare, call = HOOKS[hook]
    words = run(tmp_path, prepare + STRUCK.format(call=call), error)
    assert words == [error.partition("(")[0], "1", "on"]
    assert texts(tmp_path)[-1] == "after"


def test_an_interrupted_event_is_recorded_all_the_same(tmp_path: Path) -> None:
    """GIVEN an interrupt while the filter is asked THEN the event is kept and it is asked again."""
    prepare = "off = [strike, lambda *_: 9]\n_core.set_hooks(threshold=lambda *a: off.pop(0)(*a))\n"
    program = """
for _ in range(3):
    try:
        gn.trace_tiny("app", "new", "", "new")
        for _ in range(100): pass
    except KeyboardInterrupt:
        print("struck")
gn.stop()
"""
    assert run(tmp_path, prepare + program) == ["struck"]
    assert texts(tmp_path) == ["new"]


def test_a_keyword_whose_rule_could_not_be_had_is_not_shown(tmp_path: Path) -> None:
    """GIVEN an interrupt while a keyword is judged THEN its value is masked."""
    prepare, call = HOOKS["keyword"]
    run(tmp_path, prepare + STRUCK.format(call=call))
    data = b"".join(path.read_bytes() for path in (tmp_path / "t.gnt").glob("*.seg"))
    assert b"hunter2" not in data
    assert b"after" in data


def test_the_handlers_frame_is_in_the_traceback(tmp_path: Path) -> None:
    """GIVEN an interrupt inside a hook THEN its traceback leads from the program to the handler."""
    prepare, call = HOOKS["value"]
    program = f"""
import traceback
def work():
    {call}
    for _ in range(100): pass
try:
    work()
except KeyboardInterrupt as error:
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    print(names[1], names[-1])
gn.stop()
"""
    assert run(tmp_path, prepare + program) == ["work", "handler"]


def test_what_one_thread_sends_another_arrives(tmp_path: Path) -> None:
    """GIVEN an exception sent to a thread inside a hook THEN the thread meets it."""
    program = """
import ctypes, threading
def send(value):
    set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
    set_exception(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(SystemExit))
    for _ in range(100): pass
_core.set_hooks(summarise=lambda kind: send)
def work():
    try:
        gn.trace_tiny("app", "step", "", "{}", PosixPath("x"))
        for _ in range(100): pass
        print("swallowed")
    except SystemExit:
        print("arrived")
thread = threading.Thread(target=work)
thread.start()
thread.join()
gn.stop()
"""
    assert run(tmp_path, program) == ["arrived"]


def test_no_interrupt_of_a_storm_is_lost(tmp_path: Path) -> None:
    """GIVEN interrupts at random moments of traced work THEN the program meets each of them."""
    program = """
import sys, threading, uuid
sys.setswitchinterval(1e-4)
caught = sent = rounds = 0
ready = threading.Event()
going = True

@gn.trace_fn
def work(path, *, api_key, **more):
    with gn.span("app", "part"):
        return uuid.UUID(int=7)

def storm():
    global sent
    while sent < 400:
        if caught == fired == sent and ready.is_set():
            sent += 1
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.0002)

sender = threading.Thread(target=storm)
sender.start()
while caught < 400:
    try:
        ready.set()
        while True:
            rounds += 1
            _core.refilter()
            gn.trace_tiny("app", "step", "", "{} {}", PosixPath("x"), range(3))
            work(PosixPath("y"), api_key="k", **{f"field_{rounds}": rounds})
    except KeyboardInterrupt:
        ready.clear()
        caught += 1
sender.join()
gn.stop()
print(sent, fired, caught)
"""
    assert run(tmp_path, program) == ["400", "400", "400"]
    texts(tmp_path)


@pytest.mark.parametrize("moment", ["gpu.end", "core.flush", "control._end_control"])
def test_a_stop_that_is_interrupted_still_closes_the_trace(tmp_path: Path, moment: str) -> None:
    """GIVEN Ctrl-C inside stop() THEN it comes out, the trace is whole and another can begin."""
    program = """
from gpu_narration import recorder
def interrupted(*_):
    raise KeyboardInterrupt
gn.trace_tiny("app", "step", "", "before")
where, _, name = MOMENT.partition(".")
recording = recorder._active._recording
owner = {"gpu": recording.gpu, "control": recording, "core": _core}[where]
kept = getattr(owner, name)
setattr(owner, name, interrupted)
try:
    gn.stop()
except KeyboardInterrupt:
    print("struck")
setattr(owner, name, kept)
print(gn.stats())
with gn.start("second.gnt", backend="none"):
    gn.trace_tiny("app", "step", "", "second")
"""
    words = run(tmp_path, f"MOMENT = {moment!r}\n" + program)
    assert words == ["struck", "None"]
    assert texts(tmp_path) == ["before"]
    assert not list((tmp_path / "t.gnt").glob("*.ring"))


def test_a_start_that_is_interrupted_leaves_nothing_running(tmp_path: Path) -> None:
    """GIVEN Ctrl-C inside start() THEN it comes out, and the next start works."""
    program = """
gn.stop()
from gpu_narration import gpu_side
def interrupted(*_, **__):
    raise KeyboardInterrupt
kept, gpu_side.GpuSide.begin = gpu_side.GpuSide.begin, interrupted
try:
    gn.start("second.gnt", backend="none")
except KeyboardInterrupt:
    print("struck", gn.stats())
gpu_side.GpuSide.begin = kept
with gn.start("third.gnt", backend="none"):
    print(gn.stats() is not None)
"""
    assert run(tmp_path, program) == ["struck", "None", "True"]
