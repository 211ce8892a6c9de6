"""What an attached NVTX tool receives, and that without one nothing is called."""

from __future__ import annotations

import json
import signal

import pytest

from gpu_narration._types import Kind
from gpu_narration.tracefile import Phase, Trace
from tests.support.native import nvtx_tool
from tests.support.nvtx import START, observe, tool_environment
from tests.support.nvtx_log import NvtxLog
from tests.support.run import run_python

INT64 = 2  # enum nvtxPayloadType_t
REGISTERED = 3  # enum nvtxMessageType_t

NVTX_LOADED = """
import json, sys
print(json.dumps("nvtx" in sys.modules))
"""


def ids(events):
    return [event.id for event in events]


def test_every_call_is_in_one_domain_of_ours(tmp_path):
    """GIVEN two recordings in a process WHEN both mark THEN one domain is made and used."""
    seen = observe(
        tmp_path,
        """
        trace_tiny("engine", "load", "model", "Loading")
        narration.stop()
        narration.start("u.gnt", backend="none")
        with span("engine", "decode"):
            trace_tiny("engine", "load", "model", "Loading")
        """,
    )

    assert [call.domain for call in seen.log.of("domain")] == ["gpu_narration"]
    assert {call.domain for call in seen.log.of("mark", "push", "pop")} == {"gpu_narration"}
    assert seen.log.count("mark") == 2


def test_a_mark_carries_the_events_id(tmp_path):
    """GIVEN 100 events WHEN a tool is attached THEN 100 marks have their ids as int64."""
    seen = observe(
        tmp_path,
        """
        for i in range(100):
            trace_tiny("tokenizer", "decode", "token_{}", "Decoding token {}", i)
        """,
    )

    marks = seen.log.of("mark")
    assert len(marks) == 100
    assert [mark.payload for mark in marks] == ids(seen.events(Kind.TINY))
    assert {(mark.message, mark.category, mark.payload_type) for mark in marks} == {
        ("decode", "event", INT64)
    }


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        ('trace_tiny("eng", "act", "tgt", "human")', Kind.TINY, "act"),
        (
            'trace_with_correlation("eng", "act", "tgt", "human", "r-1")',
            Kind.CORRELATED,
            "act",
        ),
        ('trace_enter("eng", "function", "n=1")', Kind.ENTER, "function"),
        ('trace_exit("eng", "function", "ok")', Kind.EXIT, "function"),
        ('trace_loop("eng", "act", 0, 8, "detail")', Kind.LOOP, "act"),
        ('trace_state("eng", "depth", "5", "human")', Kind.STATE, "depth"),
    ],
)
def test_each_light_call_is_one_mark_named_for_what_it_says(tmp_path, call, kind, message):
    """GIVEN one light call WHEN it is made THEN one mark with its name and its id comes."""
    seen = observe(tmp_path, f"narration.{call}")

    [mark] = seen.log.of("mark")
    [event] = seen.events(kind)
    assert (mark.message, mark.category, mark.payload) == (message, "event", event.id)


def test_a_narration_is_a_mark_of_its_category(tmp_path):
    """GIVEN narrate() WHEN it is called THEN the mark names its action and its id."""
    seen = observe(tmp_path, 'print(narrate("orchestrator", "accept", "job-1", "Accepted"))')

    [mark] = seen.log.of("mark")
    assert (mark.message, mark.category) == ("accept", "narration")
    assert mark.payload == int(seen.stdout)


def test_a_span_is_a_pushed_range_with_the_id_of_its_beginning(tmp_path):
    """GIVEN ten spans WHEN they are used THEN ten pushes have their ids, and ten pops come."""
    seen = observe(
        tmp_path,
        """
        for _ in range(10):
            with span("engine", "prefill"):
                pass
        """,
    )

    pushes = seen.log.of("push")
    assert [push.payload for push in pushes] == ids(seen.events(Kind.SPAN, phase=Phase.BEGIN))
    assert {(push.message, push.category) for push in pushes} == {("prefill", "span")}
    assert (len(pushes), seen.log.count("pop"), seen.log.count("start")) == (10, 10, 0)


def test_a_function_is_a_pushed_range_of_its_category(tmp_path):
    """GIVEN a traced function WHEN it runs THEN push and pop come, named for the function."""
    seen = observe(
        tmp_path,
        """
        @trace_fn
        def decode(n):
            return n
        decode(3)
        """,
    )

    [push] = seen.log.of("push")
    [begin] = seen.events(Kind.FUNCTION, phase=Phase.BEGIN)
    assert (push.message, push.category, push.payload) == ("decode", "function", begin.id)
    assert seen.log.shape() == ["push decode", "pop"]


def test_a_launch_is_named_for_its_kernel_from_the_first_time_on(tmp_path):
    """GIVEN a kernel whose name is made at run time WHEN it is launched THEN its marks name it."""
    seen = observe(
        tmp_path,
        """
        from gpu_narration import cuda
        from gpu_narration.cuda.mock_backend import MockKernel
        saxpy = cuda.kernel(MockKernel("".join(["sax", "py"]), 1000))
        for _ in range(3):
            saxpy((1,), (32,), ())
        """,
        start=START.replace("none", "mock"),
    )

    launches = [mark for mark in seen.log.of("mark") if mark.category == "launch"]
    assert [mark.message for mark in launches] == ["saxpy"] * 3
    assert [mark.payload for mark in launches] == ids(seen.events(Kind.LAUNCH))


def test_a_change_of_memory_is_a_mark(tmp_path):
    """GIVEN the simulator's first reading of memory WHEN it is told THEN a vram mark has its id."""
    seen = observe(tmp_path, "", start=START.replace("none", "mock"))

    [mark] = seen.log.of("mark")
    [event] = seen.events(Kind.VRAM)
    assert (mark.category, mark.payload) == ("vram", event.id)


def test_a_call_into_a_c_library_is_a_pushed_range(tmp_path):
    """GIVEN a traced ctypes function WHEN it is called THEN push and pop come in category ffi."""
    seen = observe(
        tmp_path,
        """
        import ctypes
        from gpu_narration import ffi
        absolute = ffi.trace_function(ctypes.CDLL(None).abs, actor="libc")
        assert absolute(-5) == 5
        """,
    )

    [push] = seen.log.of("push")
    [begin] = seen.events(Kind.FOREIGN, phase=Phase.BEGIN)
    assert (push.message, push.category, push.payload) == ("abs", "ffi", begin.id)
    assert seen.log.shape() == ["push abs", "pop"]


def test_a_name_is_registered_once_however_often_it_is_used(tmp_path):
    """GIVEN 500 events and spans of one name WHEN they come THEN one string is registered."""
    seen = observe(
        tmp_path,
        """
        for i in range(500):
            trace_tiny("engine", "decode", f"job-{i}", "Working")
            with span("engine", "decode", f"job-{i}"):
                pass
        """,
    )

    assert seen.log.strings == [("gpu_narration", "decode")]
    assert {call.message_type for call in seen.log.of("mark", "push")} == {REGISTERED}
    assert seen.log.count("mark") == seen.log.count("push") == 500


def test_names_made_at_run_time_are_never_registered(tmp_path):
    """GIVEN 500 actions that are all new WHEN they come THEN the marks are named for the actor.

    NVTX keeps registered strings for ever, so ids and prompts must not become one.
    """
    seen = observe(
        tmp_path,
        """
        for i in range(500):
            trace_tiny("engine", f"decode {i}", "token", "Working")
        """,
    )

    assert seen.log.strings == [("gpu_narration", "engine")]
    assert [mark.message for mark in seen.log.of("mark")] == ["engine"] * 500


def test_what_the_filter_keeps_out_is_not_shown_to_the_tool(tmp_path):
    """GIVEN a filter that keeps one actor out WHEN both speak THEN the tool hears the other."""
    seen = observe(
        tmp_path,
        """
        narration.set_filter("tokenizer=off")
        trace_tiny("tokenizer", "decode", "token", "Working")
        with span("tokenizer", "encode"):
            trace_tiny("engine", "load", "model", "Working")
        """,
    )

    assert seen.log.shape() == ["mark load"]


def test_the_trace_says_that_a_tool_was_attached(tmp_path):
    """GIVEN a tool WHEN the recording begins THEN a note names the domain."""
    seen = observe(tmp_path, "")

    assert seen.trace.processes[0].note("nvtx") == {"domain": "gpu_narration"}


def test_a_forked_child_marks_its_own_events(tmp_path):
    """GIVEN a fork WHEN the child records THEN the tool gets its marks with the child's ids."""
    seen = observe(
        tmp_path,
        """
        import os
        trace_tiny("parent", "before", "fork", "")
        child = os.fork()
        if child == 0:
            with span("child", "work"):
                trace_tiny("child", "inside", "span", "")
            narration.stop()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
    )

    parent, child = (process.pid for process in sorted(seen.trace.processes, key=lambda p: p.pid))
    calls = seen.log.of("mark", "push", "pop")
    assert [(call.pid, call.call, call.message) for call in calls] == [
        (parent, "mark", "before"),
        (child, "push", "work"),
        (child, "mark", "inside"),
        (child, "pop", None),
    ]


# ---- when there is no tool ----


def test_without_a_tool_nvtx_is_not_even_imported(tmp_path):
    """GIVEN no tool WHEN a whole recording runs THEN the module nvtx was never loaded."""
    done = run_python(
        START
        + """
with span("engine", "decode"):
    trace_tiny("engine", "load", "model", "Loading")
narration.stop()
"""
        + NVTX_LOADED,
        cwd=tmp_path,
    )

    assert json.loads(done.stdout) is False


def test_switched_off_it_leaves_an_attached_tool_alone(tmp_path):
    """GIVEN a tool WHEN start(nvtx="off") THEN nvtx is not imported and the tool hears nothing."""
    done = run_python(
        START.replace('backend="none"', 'backend="none", nvtx="off"')
        + 'trace_tiny("engine", "load", "model", "Loading")\nnarration.stop()\n'
        + NVTX_LOADED,
        cwd=tmp_path,
        env=tool_environment(tmp_path),
    )

    assert json.loads(done.stdout) is False
    assert not (tmp_path / "nvtx.log").exists()


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({}, id="nothing-set"),
        pytest.param({"NVTX_INJECTION64_PATH": "/nowhere/libtool.so"}, id="bad-path"),
    ],
)
def test_a_tool_that_cannot_be_had_costs_only_its_ranges(tmp_path, variables):
    """GIVEN nvtx="on" WHEN no tool can be loaded THEN the trace is whole and notes no domain."""
    run_python(
        START.replace('backend="none"', 'backend="none", nvtx="on"')
        + """
with span("engine", "decode"):
    trace_tiny("engine", "load", "model", "Loading")
narration.stop()
""",
        cwd=tmp_path,
        env=variables,
    )

    trace = Trace(tmp_path / "t.gnt")
    assert [event.kind for event in trace.events()] == [Kind.SPAN, Kind.TINY, Kind.SPAN]
    assert trace.processes[0].note("nvtx") == {}


# ---- the tool itself ----


def test_the_tools_log_survives_hostile_names(tmp_path):
    """GIVEN quotes, controls and emoji in a name WHEN it is logged THEN it reads back the same."""
    name = 'a"b\\c\nd\te\x7fé\U0001f600'
    run_python(
        f"import nvtx; nvtx.get_domain('d').mark(message={name!r}, payload=-7)",
        cwd=tmp_path,
        env=tool_environment(tmp_path),
    )

    [mark] = NvtxLog(tmp_path / "nvtx.log").of("mark")
    assert (mark.message, mark.payload) == (name, -7)


def test_the_tool_serves_every_library_that_embeds_nvtx(tmp_path):
    """GIVEN two libraries with NVTX in them WHEN both call THEN the tool attached to each."""
    run_python(
        """
        import nvtx
        domain = nvtx.get_domain("d")
        domain.get_counter("vram_used", int).sample(1)  # lives in a library of its own
        domain.mark(message="after")
        """,
        cwd=tmp_path,
        env=tool_environment(tmp_path),
    )

    log = NvtxLog(tmp_path / "nvtx.log")
    assert log.count("attach") == 2
    assert [call.seq for call in log.calls] == list(range(len(log.calls)))
    assert log.count("mark") == 1


def test_the_tools_log_survives_a_crash(tmp_path):
    """GIVEN a program that kills itself in a span WHEN its log is read THEN the push is there."""
    done = run_python(
        START
        + """
import os, signal
with span("engine", "decode"):
    os.kill(os.getpid(), signal.SIGKILL)
""",
        cwd=tmp_path,
        env=tool_environment(tmp_path),
        check=False,
    )

    assert done.returncode == -signal.SIGKILL
    assert NvtxLog(tmp_path / "nvtx.log").shape() == ["push decode"]


def test_the_tool_says_why_it_does_not_attach(tmp_path):
    """GIVEN no NVTX_TOOL_LOG WHEN a program uses NVTX THEN the tool names the variable."""
    done = run_python(
        "import nvtx; nvtx.get_domain('d').mark(message='unheard')",
        env={"NVTX_INJECTION64_PATH": str(nvtx_tool())},
    )

    assert "nvtx_tool: NVTX_TOOL_LOG names no file" in done.stderr
