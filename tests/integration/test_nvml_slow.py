"""A driver that is slow, or does not answer at all, never holds up the program."""

from __future__ import annotations

import json
import os
import textwrap

import pytest

from gpu_narration._types import Kind
from gpu_narration.tracefile import Phase
from tests.support.nvml import GIB, START, device, sample
from tests.support.run import environment, run_python

#: Long beside everything that a program does here, short beside a test's patience.
SLOW = "sleep_ms 3000"
#: Longer than any test waits.
HANGING = "sleep_ms 600000"

BEGIN = 'narration.start("t.gnt")\n'
BEGIN_IN_A_CALL = BEGIN + 'wait(lambda: logged("begin"))\n'

EVENTS = 20_000


def test_start_does_not_wait_for_the_first_reading(tmp_path):
    """GIVEN a slow driver WHEN start() returns THEN no reading has ended."""
    seen = sample(tmp_path, [SLOW, device(GIB)], 'print(logged("end"))', start=BEGIN)

    assert seen.stdout == "0\n"


def test_a_traced_thread_goes_on_while_memory_is_read(tmp_path):
    """GIVEN a reading under way WHEN 20,000 events are made THEN it is still under way after them.

    So none of them can have waited for it.
    """
    seen = sample(
        tmp_path,
        [device(GIB)],
        f"""
        import json
        machine({SLOW!r}, device(GIB))
        in_a_slow_reading()
        ended = logged("end")
        for i in range({EVENTS}):
            trace_tiny("engine", "decode", "token_{{}}", "Decoding", i)
        print(json.dumps([ended, logged("begin"), logged("end")]))
        """,
    )

    ended, begun, ended_after = json.loads(seen.stdout)
    assert (begun, ended_after) == (ended + 1, ended)
    assert sum(event.kind is Kind.TINY for event in seen.trace.events()) == EVENTS


def test_spans_that_do_not_ask_for_memory_go_on_too(tmp_path):
    """GIVEN a reading under way WHEN spans without vram=True run THEN it is still under way."""
    seen = sample(
        tmp_path,
        [SLOW, device(GIB)],
        """
        for _ in range(1000):
            with span("engine", "decode"):
                pass
        print(logged("end"))
        """,
        start=BEGIN_IN_A_CALL,
    )

    assert seen.stdout == "0\n"


#: The program goes on when a reading by the sampler hangs, or the very first one.
HANGS = {
    "while-sampling": (
        [device(GIB)],
        START
        + f"""
machine({HANGING!r}, device(GIB))
in_a_slow_reading()
""",
    ),
    "before-the-first-answer": ([HANGING, device(GIB)], BEGIN_IN_A_CALL),
}


@pytest.mark.parametrize("stop", ["narration.stop()", ""], ids=["stop", "end-of-program"])
@pytest.mark.parametrize(("machine", "start"), HANGS.values(), ids=HANGS)
def test_a_call_that_hangs_is_left_behind(tmp_path, machine, start, stop):
    """GIVEN a driver that does not answer WHEN the recording ends THEN it ends, whole, and says so.

    The program is given two minutes, the call takes ten.
    """
    seen = sample(
        tmp_path, machine, 'trace_tiny("engine", "last", "event", "")\n', start=start, stop=stop
    )

    assert "a GPU query hangs; it is left behind [watcher-hangs]" in seen.stderr
    assert [e.names[1] for e in seen.trace.events() if e.kind is Kind.TINY] == ["last"]
    assert seen.trace.notices() == []


@pytest.mark.parametrize(
    ("machine", "start"),
    [
        pytest.param(
            [device(GIB)],
            START
            + f"""
machine({SLOW!r}, device(3 * GIB))
in_a_slow_reading()
""",
            id="while-sampling",
        ),
        pytest.param([SLOW, device(GIB)], BEGIN_IN_A_CALL, id="before-the-first-answer"),
    ],
)
def test_a_call_left_behind_tells_nothing_in_the_next_recording(tmp_path, machine, start):
    """GIVEN a call left behind WHEN it ends in the next recording THEN that holds only its own."""
    seen = sample(
        tmp_path,
        machine,
        """
        import threading
        def watchers():
            return sum(t.name == "gpu_narration-watcher" for t in threading.enumerate())
        narration.stop()
        assert watchers() == 1
        machine(device(2 * GIB))
        narration.start("u.gnt")
        wait(lambda: watchers() == 1)  # ours; the old one came back and ended
        sampled()
        narration.stop()
        os.rename("t.gnt", "first.gnt")
        os.rename("u.gnt", "t.gnt")
        """,
        start=start,
    )

    assert seen.used() == [(None, 2 * GIB)]
    assert (len(seen.notes("vram")), len(seen.notes("device"))) == (1, 1)


def test_no_span_waits_for_a_driver_that_hangs(tmp_path):
    """GIVEN no answer from the driver WHEN 20,000 spans ask for memory THEN all say why not.

    Were one of them to wait, the program would take as long as the call, ten minutes.
    """
    seen = sample(
        tmp_path,
        [HANGING, device(GIB)],
        f"""
        for _ in range({EVENTS}):
            with span("engine", "load_model", vram=True):
                pass
        print(logged("end"))
        """,
        start=BEGIN_IN_A_CALL,
    )

    begins = [e for e in seen.trace.events() if e.kind is Kind.SPAN and e.phase is Phase.BEGIN]
    reasons = {seen.trace.annotations(begin)["vram_reason"] for begin in begins}
    assert (len(begins), reasons, seen.stdout) == (EVENTS, {"NVML has not answered"}, "0\n")


def test_spans_go_on_while_a_reading_takes_its_time(tmp_path):
    """GIVEN a reading under way WHEN 1,000 spans ask for memory THEN it is still under way."""
    seen = sample(
        tmp_path,
        [device(GIB)],
        f"""
        machine({SLOW!r}, device(GIB))
        in_a_slow_reading()
        ended = logged("end")
        for _ in range(1000):
            with span("engine", "step", vram=True):
                pass
        print(logged("end") - ended)
        """,
    )

    assert seen.stdout == "0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_watches_memory_for_itself(tmp_path):
    """GIVEN a fork while memory is watched WHEN the child records THEN its trace has a reading."""
    seen = sample(
        tmp_path,
        [device(GIB)],
        """
        child = os.fork()
        if child == 0:
            trace_tiny("child", "work", "", "")
            sampled()
            narration.stop()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
    )

    pids = {process.index: process.pid for process in seen.trace.processes}
    assert len(pids) == 2
    assert {pids[move.process] for move in seen.moves()} == set(pids.values())


def test_a_fork_does_not_leave_the_child_half_a_module(tmp_path):
    """GIVEN pynvml is being imported in the background WHEN the program forks
    THEN the child can import it, and does not wait for a thread that it has not.
    """
    (tmp_path / "pynvml.py").write_text(
        textwrap.dedent(
            """
            import sys, time
            sys.imported_at = time.monotonic()
            time.sleep(0.3)
            class NVMLError(Exception): ...
            def nvmlInit(): raise NVMLError("there is none")
            """
        )
    )
    done = run_python(
        """
        import os, sys, time
        import gpu_narration
        gpu_narration.start("t.gnt")
        while not hasattr(sys, "imported_at"):
            time.sleep(0.001)
        child = os.fork()
        if child == 0:
            import pynvml
            gpu_narration.trace_tiny("app", "step", "", "")
            gpu_narration.stop()
            print(hasattr(pynvml, "nvmlInit"), flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
        cwd=tmp_path,
        env={
            "PYTHONPATH": os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]]),
            "PYTHONWARNINGS": "ignore::DeprecationWarning",  # of a fork, from CPython 3.12 on
        },
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
