"""Ends that come while work is on the GPU: a clear record, no hang, no crash."""

from __future__ import annotations

from pathlib import Path

import gpu_narration
from gpu_narration import cuda, span
from gpu_narration._types import Kind
from gpu_narration.tracefile import Phase, Trace
from gpu_narration.tracefile.format import Value
from tests.support.programs import python, write_program
from tests.support.recording import QUIET, Seen, simulated_gpu

_BEGIN = """
import gpu_narration as gn
from gpu_narration import cuda, span
gn.start("t", backend="mock", vram=False, nvtx="off", children=False)
gpu = cuda.current().backend.gpu
stream = gpu.stream()
"""


def _run(directory: Path, program: str) -> tuple[int, str]:
    """A program's status and what it said on stderr."""
    # CPython 3.12 and newer warn of a fork beside other threads, of which the drain is one.
    quiet = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
    done = python(write_program(directory, _BEGIN + program), cwd=directory, env=quiet)
    return done.returncode, done.stderr


def _learned(directory: Path) -> dict[str | None, dict[str, Value]]:
    """What the trace learned later of each span, by name."""
    trace = Trace(directory / "t.gnt")
    return {
        event.names[1]: dict(trace.annotations(event))
        for event in trace.events()
        if event.kind is Kind.SPAN and event.phase is Phase.BEGIN
    }


def _covers(elapsed: Value, work_ns: int) -> bool:
    """Whether a time is known, and holds the work: time passes before its launch too."""
    return isinstance(elapsed, int) and elapsed >= work_ns


def test_exit_while_work_is_pending_has_the_reason(tmp_path: Path) -> None:
    status = _run(
        tmp_path,
        """
with span("demo", "long", gpu=True, stream=stream):
    gpu.launch("k", 10**15, stream)
""",
    )

    assert (status, _learned(tmp_path)["long"]["gpu_reason"]) == (
        (0, ""),
        "not finished when the recording ended",
    )


def test_exit_waits_a_little_for_what_is_nearly_done(tmp_path: Path) -> None:
    status = _run(
        tmp_path,
        """
with span("demo", "short", gpu=True, stream=stream):
    gpu.launch("k", 20_000_000, stream)
""",
    )

    assert status == (0, "")
    assert _covers(_learned(tmp_path)["short"]["gpu_ns"], 20_000_000)


def test_exit_after_the_driver_is_gone_calls_nothing_in_vain(tmp_path: Path) -> None:
    """GIVEN a driver that shuts down before the recording ends, THEN the exit is clean."""
    status = _run(
        tmp_path,
        """
import atexit
with span("demo", "long", gpu=True, stream=stream):
    gpu.launch("k", 10**15, stream)
atexit.register(gpu.end)  # runs before what was registered earlier
""",
    )

    assert (status, _learned(tmp_path)["long"]["gpu_reason"]) == (
        (0, ""),
        "the context was destroyed",
    )


def test_exit_while_a_span_is_open_in_another_thread(tmp_path: Path) -> None:
    status = _run(
        tmp_path,
        """
import threading, time
opened = threading.Event()
def work():
    with span("demo", "open", gpu=True, stream=stream):
        opened.set()
        time.sleep(60)
threading.Thread(target=work, daemon=True).start()
opened.wait()
""",
    )

    assert (status, _learned(tmp_path)["open"]["gpu_reason"]) == (
        (0, ""),
        "not finished when the recording ended",
    )


def test_a_query_that_hangs_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    status, said = _run(
        tmp_path,
        """
import threading
cuda.current().backend.event_query = lambda event: threading.Event().wait()
with span("demo", "hangs", gpu=True, stream=stream):
    pass
""",
    )

    assert (status, "[watcher-hangs]" in said) == (0, True)
    assert _learned(tmp_path)["hangs"]["gpu_reason"] == "not finished when the recording ended"


def test_a_fork_inside_a_span_leaves_its_measure_to_the_parent(tmp_path: Path) -> None:
    """GIVEN a child that ends the span it inherited, THEN the parent's answer stands alone."""
    status = _run(
        tmp_path,
        """
import os
with span("demo", "step", gpu=True, stream=stream):
    gpu.launch("k", 3_000_000, stream)
    child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
""",
    )

    assert status == (0, "")
    assert _covers(_learned(tmp_path)["step"]["gpu_ns"], 3_000_000)


def test_a_forked_child_times_its_own_work(tmp_path: Path) -> None:
    """GIVEN a child with spans of its own, on the GPU that it chooses for itself."""
    status = _run(
        tmp_path,
        """
import os
with span("demo", "parent", gpu=True, stream=stream):
    gpu.launch("k", 3_000_000, stream)
child = os.fork()
if child == 0:
    with span("demo", "child", gpu=True):
        cuda.current().backend.gpu.launch("k", 1_000_000)
    gn.stop()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
""",
    )
    learned = _learned(tmp_path)

    assert status == (0, "")
    assert _covers(learned["child"]["gpu_ns"], 1_000_000)
    assert _covers(learned["parent"]["gpu_ns"], 3_000_000)


def test_stop_leaves_the_driver_as_it_was(tmp_path: Path) -> None:
    """GIVEN spans done and pending, THEN after stop() no event and no stream of ours is left."""
    gpu_narration.start(tmp_path / "t", **{**QUIET, "backend": "mock"})
    gpu = simulated_gpu()
    stream = gpu.stream()
    for length_ns in (1000, 10**15):
        with span("demo", "step", gpu=True, stream=stream):
            gpu.launch("k", length_ns, stream)

    gpu_narration.stop()

    assert (gpu._events, list(gpu._streams)) == ({}, [stream])


def test_a_span_open_across_two_recordings_is_told_to_neither(tmp_path: Path) -> None:
    """GIVEN a span that outlives its recording, WHEN it ends in the next one."""
    first = gpu_narration.start(tmp_path / "one", **{**QUIET, "backend": "mock"}).path
    step = span("demo", "step", gpu=True, vram=True, stream=simulated_gpu().stream())
    step.__enter__()
    gpu_narration.stop()
    second = gpu_narration.start(tmp_path / "two", **{**QUIET, "backend": "mock"}).path
    gpu_narration.trace_tiny("demo", "event", "", "")
    step.__exit__(None, None, None)
    gpu_narration.stop()

    (began,) = Seen(Trace(first)).learned(Kind.SPAN)
    trace = Trace(second)
    learned = [dict(trace.annotations(event)) for event in trace.events()]
    assert (began["gpu_reason"], learned) == ("not finished when the recording ended", [{}])


def test_the_next_recording_times_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        path = gpu_narration.start(tmp_path / name, **{**QUIET, "backend": "mock"}).path
        gpu = simulated_gpu()
        stream = gpu.stream()
        with span("demo", "step", gpu=True, stream=stream):
            gpu.launch("k", 1_000_000, stream)
        gpu_narration.stop()

    assert _covers(Seen(Trace(path)).learned(Kind.SPAN)[0]["gpu_ns"], 1_000_000)


def test_no_session_is_left_after_stop(tmp_path: Path) -> None:
    gpu_narration.start(tmp_path / "t", **{**QUIET, "backend": "mock"})
    gpu_narration.stop()

    assert cuda.current() is None
