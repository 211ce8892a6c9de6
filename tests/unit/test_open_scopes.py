"""The innermost open span of a process, and events recorded in another thread's span."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from gpu_narration import _core, correlation, span, trace_tiny
from gpu_narration._types import Kind, Level
from gpu_narration.cuda import open_scopes
from gpu_narration.cuda.open_scopes import OpenScope
from tests.support.recording import recorded


def _elsewhere(call):
    """What a call on another thread gives, made while this one waits."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


def _emit_in(scope: OpenScope) -> None:
    _core.emit(
        Kind.VRAM, Level.TRACE, "m", "vram", "state_change", "x", "", {},
        scope.span, scope.correlation,
    )  # fmt: skip


def test_without_a_span_there_is_no_innermost_one(tmp_path: Path) -> None:
    def program() -> None:
        assert open_scopes.innermost({}) is None

    recorded(tmp_path, program)


def test_the_innermost_of_nested_spans_is_found_from_another_thread(tmp_path: Path) -> None:
    def program() -> None:
        with span("engine", "outer"), span("engine", "inner"):
            scope = _elsewhere(lambda: open_scopes.innermost({}))
        assert (scope.name, scope.open_scopes) == ("inner", 1)

    recorded(tmp_path, program)


def test_after_the_inner_span_the_outer_one_is_innermost(tmp_path: Path) -> None:
    def program() -> None:
        with span("engine", "outer"):
            with span("engine", "inner"):
                pass
            assert open_scopes.innermost({}).name == "outer"

    recorded(tmp_path, program)


def test_of_two_threads_the_one_that_recorded_last_is_meant(tmp_path: Path) -> None:
    """GIVEN open spans on two threads WHEN one of them records THEN its span is named, of two."""

    def other() -> tuple[OpenScope | None, OpenScope | None]:
        with span("engine", "theirs"):
            theirs = open_scopes.innermost({})
            release.set()
            recorded_here.wait(10)
            return theirs, open_scopes.innermost({})

    release, recorded_here = threading.Event(), threading.Event()

    def program() -> None:
        found = []
        thread = threading.Thread(target=lambda: found.extend(other()))
        with span("engine", "ours"):
            thread.start()
            release.wait(10)
            trace_tiny("engine", "here", "", "")
            recorded_here.set()
            thread.join()
        assert [(scope.name, scope.open_scopes) for scope in found] == [("theirs", 2), ("ours", 2)]

    recorded(tmp_path, program)


def test_a_span_that_was_open_at_a_moment_is_not_newer(tmp_path: Path) -> None:
    def program() -> None:
        with span("engine", "load"):
            since = open_scopes.sequences()
            assert open_scopes.innermost(since).newer is False

    recorded(tmp_path, program)


def test_a_span_that_began_after_a_moment_is_newer(tmp_path: Path) -> None:
    def program() -> None:
        with span("engine", "outer"):
            since = open_scopes.sequences()
            with span("engine", "inner"):
                assert open_scopes.innermost(since).newer is True

    recorded(tmp_path, program)


def test_an_outer_span_is_not_newer_than_an_inner_one_that_has_ended(tmp_path: Path) -> None:
    """GIVEN a moment in an inner span WHEN that has ended THEN the outer one was open then."""

    def program() -> None:
        with span("engine", "outer"):
            with span("engine", "inner"):
                since = open_scopes.sequences()
            assert open_scopes.innermost(since).newer is False

    recorded(tmp_path, program)


def test_an_event_can_be_recorded_in_the_span_and_request_of_another_thread(
    tmp_path: Path,
) -> None:
    def program() -> None:
        with correlation("req-7"), span("engine", "load"):
            _elsewhere(lambda: _emit_in(open_scopes.innermost({})))

    seen = recorded(tmp_path, program)

    [event] = [event for event in seen.events if event.kind is Kind.VRAM]
    assert (event.span, event.correlation) == (seen.begins()[0].id, "req-7")


def test_the_thread_that_did_so_is_back_in_its_own_strand(tmp_path: Path) -> None:
    """GIVEN an event in another thread's span WHEN the thread goes on THEN as before it."""

    def theirs() -> None:
        with correlation("own"):
            _emit_in(open_scopes.innermost({}))
            trace_tiny("engine", "after", "", "")

    def program() -> None:
        with correlation("req-7"), span("engine", "load"):
            _elsewhere(theirs)

    seen = recorded(tmp_path, program)

    [event] = [event for event in seen.events if event.kind is Kind.TINY]
    assert (event.span, event.correlation) == (None, "own")


def test_a_span_of_a_task_keeps_its_name_when_tasks_take_turns(tmp_path: Path) -> None:
    """GIVEN two tasks in spans of their own WHEN they take turns THEN each finds its name."""
    names: list[str | None] = []

    async def work(name: str) -> None:
        with span("engine", name):
            for _ in range(3):
                await asyncio.sleep(0)
                trace_tiny("engine", "step", "", "")
                names.append(open_scopes.innermost({}).name)

    async def both() -> None:
        await asyncio.gather(work("one"), work("two"))

    recorded(tmp_path, lambda: asyncio.run(both()))

    assert names == ["one", "two"] * 3


def test_a_span_whose_inner_one_has_ended_keeps_its_name_over_a_turn(tmp_path: Path) -> None:
    names: list[str | None] = []

    async def work() -> None:
        with span("engine", "outer"):
            with span("engine", "inner"):
                pass
            await asyncio.sleep(0)
            trace_tiny("engine", "step", "", "")
            names.append(open_scopes.innermost({}).name)

    async def both() -> None:
        await asyncio.gather(work(), work())

    recorded(tmp_path, lambda: asyncio.run(both()))

    assert names == ["outer", "outer"]
