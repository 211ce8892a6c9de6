"""Code of the program's own that runs inside the recorder, and does there what it should not."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import types
import weakref
from pathlib import Path

import pytest

from gpu_narration import _core, span, trace_fn, trace_tiny
from gpu_narration.tracefile import Phase, Trouble
from tests.conftest import Record, Recorded
from tests.support.programs import events_of, read_all
from tests.support.run import run_python

# ---- a recording that ends, or another that begins ----


def test_a_recording_may_end_while_a_correlation_id_is_let_go(tmp_path: Path) -> None:
    """GIVEN ids whose finaliser stops the recording WHEN it lets one go THEN the program goes on."""
    done = run_python(
        """
        import gpu_narration as gn
        from gpu_narration import _core

        class Id(str):
            def __del__(self):
                gn.stop()

        gn.start("t.gnt", backend="none")
        for i in range(1000):
            _core.set_correlation(Id(i))
            gn.trace_tiny("a", "b", "", "")
        print("on", _core.stats())
        """,
        cwd=tmp_path,
    )
    assert done.stdout == "on None\n"
    assert events_of(tmp_path / "t.gnt")


def test_an_event_of_an_ids_finaliser_has_the_id_that_is_current(record: Record) -> None:
    under_test = True  # the core lets the newest ids go only in later recordings

    class Id(str):
        __slots__ = ()

        def __del__(self) -> None:
            if under_test:
                trace_tiny("a", "gone", "", "{}", str(self))

    record.start()
    for i in range(1000):
        _core.set_correlation(Id(i))
        trace_tiny("a", "step", "", "{}", i)
    _core.set_correlation(None)
    gone = record.stop().named("gone")
    under_test = False
    assert len(gone) > 900
    for event in gone:
        assert event.correlation not in (None, event.arguments[0].value)


def restarts(record: Record, work: object) -> tuple[Recorded, Recorded]:
    """Two recordings: the second begins while a thread does its first event in the first."""
    first: list[Recorded] = []

    class Thread(threading.Thread):
        def run(self) -> None:
            self.armed = True
            work()  # type: ignore[operator]

        @property
        def _name(self) -> str:
            if self.__dict__.pop("armed", False):
                first.append(record.stop())
                record.start()
            return "worker"

        @_name.setter
        def _name(self, name: str) -> None:
            pass

    record.start()
    thread = Thread()
    thread.start()
    thread.join()
    return first[0], record.stop()


def one_event() -> None:
    trace_tiny("a", "step", "", "")


def one_span() -> None:
    with span("a", "step"):
        pass


@trace_fn(actor="a")
def step() -> None:
    pass


@pytest.mark.parametrize("work", [one_event, one_span, step])
def test_an_event_is_not_in_a_recording_that_began_within_it(record: Record, work: object) -> None:
    """GIVEN a thread whose name, asked at its first event, starts another recording WHEN that
    event is made THEN it is in neither, and nothing undefined is written."""
    for recorded in restarts(record, work):
        assert (recorded.events, recorded.trace.notices()) == ([], [])


# ---- finalisers that make spans ----


def test_finalisers_with_spans_leave_the_contexts_of_tasks_whole(tmp_path: Path) -> None:
    """GIVEN traced finalisers that the collector runs in the midst of spans and new tasks WHEN
    freed memory is filled THEN the program goes on, all spans end, and gc is as it was."""
    done = run_python(
        """
        import asyncio, gc
        import gpu_narration as gn

        class Cycle:
            def __init__(self):
                self.me = self

            @gn.trace_fn(actor="a")
            def __del__(self): ...

        async def work():
            for _ in range(5):
                with gn.span("a", "outer"), gn.span("a", "inner"):
                    Cycle()
                await asyncio.sleep(0)

        async def main():
            for threshold in range(3, 40):
                gc.set_threshold(threshold)
                for _ in range(60):
                    await asyncio.gather(work(), work())

        gn.start("t.gnt", backend="none")
        asyncio.run(main())
        gc.collect()
        gn.stop()
        print(gc.callbacks)
        """,
        cwd=tmp_path,
        env={"PYTHONMALLOC": "debug"},
    )
    assert done.stdout == "[]\n"
    phases = [(event.names[1], event.phase) for event in events_of(tmp_path / "t.gnt")]
    spans = 37 * 60 * 2 * 5
    for name in ("outer", "inner", "__del__"):
        assert phases.count((name, Phase.BEGIN)) == phases.count((name, Phase.END)) == spans


def test_a_span_of_a_finaliser_lies_in_the_span_that_it_came_in(record: Record) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            with span("a", "gone"):
                trace_tiny("a", "within", "", "")

    async def main() -> None:
        with span("a", "outer"):
            Cycle()
            gc.collect()
            trace_tiny("a", "after", "", "")

    record.start()
    asyncio.run(main())
    recorded = record.stop()
    outer, gone = recorded.begin("outer"), recorded.begin("gone")
    assert (gone.span, recorded.one("within").span) == (outer.id, gone.id)
    assert recorded.one("after").span == outer.id


def test_a_finaliser_may_time_the_gpu_while_a_span_does(tmp_path: Path) -> None:
    """GIVEN finalisers with GPU spans that the collector runs while others open and close THEN
    none waits for a lock that its own thread holds."""
    run_python(
        """
        import faulthandler, gc
        import gpu_narration as gn

        faulthandler.dump_traceback_later(60, exit=True)

        class Cycle:
            def __init__(self):
                self.me = self

            @gn.trace_fn(actor="a", gpu=True, vram=True)
            def __del__(self): ...

        @gn.trace_fn(actor="a", gpu=True, vram=True)
        def step():
            Cycle()

        gn.start("t.gnt", backend="mock")
        for threshold in (3, 5, 7, 11, 17, 31):
            gc.set_threshold(threshold)
            for _ in range(300):
                step()
        gc.collect()
        gn.stop()
        """,
        cwd=tmp_path,
    )
    phases = [(event.names[1], event.phase) for event in events_of(tmp_path / "t.gnt")]
    for name in ("step", "__del__"):
        assert phases.count((name, Phase.BEGIN)) == phases.count((name, Phase.END)) == 1800


# ---- modules and interpreters ----


def test_a_module_that_is_loaded_anew_is_not_kept(record: Record) -> None:
    """GIVEN a module loaded a hundred times WHEN each traces THEN the last namespace lives on."""
    code = compile("trace_tiny('a', 'b', '', '')", "plugin", "exec")

    class Held:
        pass

    held = []
    record.start()
    try:
        for _ in range(100):
            module = types.ModuleType("plugin_of_a_test")
            module.__dict__.update(trace_tiny=trace_tiny, held=Held())
            held.append(weakref.ref(module.__dict__["held"]))
            sys.modules[module.__name__] = module
            exec(code, module.__dict__)
    finally:
        del sys.modules["plugin_of_a_test"]
    del module
    gc.collect()
    assert [kept() is not None for kept in held] == [False] * 99 + [True]
    assert len(record.stop().events) == 100


SUBINTERPRETERS = """
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        import _interpreters as interpreters
    import contextlib, os, sys

    def one(*arguments, **keywords):
        with contextlib.suppress(TypeError, ValueError):
            number = interpreters.create(*arguments, **keywords)
            code = (
                "try:\\n    import gpu_narration\\n    print('imported')\\n"
                "except ImportError:\\n    print('refused')\\n"
            )
            failed = interpreters.run_string(number, code)
            assert failed is None, failed
            sys.stdout.flush()
            interpreters.destroy(number)

    def all_kinds():
        one()
        one(isolated=False)  # up to 3.12, with the main interpreter's lock
        one("legacy")  # the same, from 3.13 on
"""


@pytest.mark.parametrize("first", ["main", "subinterpreter"])
def test_a_subinterpreter_cannot_import_it(tmp_path: Path, first: str) -> None:
    """WHEN subinterpreters of any kind import it THEN they are told no, and main goes on."""
    begin = "" if first == "main" else "\n    all_kinds()"
    done = run_python(
        SUBINTERPRETERS
        + begin
        + """
    import gpu_narration as gn
    gn.start("t.gnt", backend="none")
    all_kinds()
    gn.trace_tiny("a", "b", "", "{}", ...)
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    gn.stop()
    """,
        cwd=tmp_path,
    )
    assert set(done.stdout.split()) == {"refused"}
    assert len(events_of(tmp_path / "t.gnt")) == 1


def test_what_was_imported_twice_is_one(tmp_path: Path) -> None:
    """GIVEN a program that empties sys.modules WHEN it imports again THEN the recording goes on."""
    run_python(
        """
        import os, sys
        import gpu_narration as gn

        gn.start("t.gnt", backend="none")
        for name in [name for name in sys.modules if name.startswith("gpu_narration")]:
            del sys.modules[name]
        from gpu_narration import _core
        assert _core.trace_tiny is gn.trace_tiny
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        _core.trace_tiny("a", "b", "", "")
        gn.stop()
        """,
        cwd=tmp_path,
    )
    assert len(events_of(tmp_path / "t.gnt")) == 1


def test_names_of_modules_without_end_fill_a_quota(tmp_path: Path) -> None:
    """GIVEN code run under 140000 module names THEN every event is there, and fewer sites."""
    run_python(
        """
        import gpu_narration as gn

        code = compile("trace_tiny('a', 'b', '', '')", "code", "exec")
        gn.start("t.gnt", backend="none")
        for i in range(140000):
            exec(code, {"__name__": f"module_{i}", "trace_tiny": gn.trace_tiny})
        gn.stop()
        """,
        cwd=tmp_path,
    )
    events, notices = read_all(tmp_path / "t.gnt")
    assert (len(events), {notice.trouble for notice in notices} - {Trouble.DIED}) == (140000, set())
    sites = {event.site.id for event in events if event.site is not None}
    assert 130000 < len(sites) < 132000
