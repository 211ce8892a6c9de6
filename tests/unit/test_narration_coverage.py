"""Coverage of narration: which functions ran and said nothing."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest

from gpu_narration.testing import NarrationCoverage

SOURCE = """
import functools
import gpu_narration as gn

def narrates():
    gn.narrate("a", "b", "", "Said")

def traces():
    gn.trace_tiny("a", "b", "", "")

def spans():
    with gn.span("a", "b"):
        pass

@gn.trace_fn
def decorated():
    return 1

@gn.narrate_fn(human="Dispatched {job}")
def narrated(job):
    return job

def quiet():
    return 2

def calls_one_that_speaks():
    traces()

def speaks_in_an_inner_one():
    def inner():
        gn.trace_tiny("a", "b", "", "")
    inner()

def not_called():
    pass

async def coroutine():
    gn.trace_tiny("a", "b", "", "")

def generator():
    yield 1
    gn.trace_tiny("a", "b", "", "")

class Engine:
    def __init__(self):
        gn.trace_tiny("a", "b", "", "")

    @staticmethod
    def static():
        gn.trace_tiny("a", "b", "", "")

    @classmethod
    def of_class(cls):
        return 3

    @property
    def looked_at(self):
        return 4

    @functools.cached_property
    def kept(self):
        gn.trace_tiny("a", "b", "", "")
        return 5
"""


@pytest.fixture
def app() -> Iterator[Any]:
    module = types.ModuleType("watched_app")
    sys.modules["watched_app"] = module
    exec(compile(SOURCE, "watched_app.py", "exec"), vars(module))
    yield module
    del sys.modules["watched_app"]


def names(found: list[str]) -> list[str]:
    return [name.removeprefix("watched_app:") for name in found]


def test_functions_speak_by_each_of_the_calls(app: Any) -> None:
    with NarrationCoverage(app) as coverage:
        for function in (app.narrates, app.traces, app.spans, app.decorated, app.quiet):
            function()
        app.narrated("job-1")
    assert names(coverage.spoke()) == ["decorated", "narrated", "narrates", "spans", "traces"]
    assert names(coverage.silent()) == ["quiet"]
    assert "not_called" in names(coverage.never_called())


def test_what_another_function_says_is_its_own(app: Any) -> None:
    with NarrationCoverage("watched_app") as coverage:
        app.calls_one_that_speaks()
    assert names(coverage.spoke()) == ["traces"]
    assert names(coverage.silent()) == ["calls_one_that_speaks"]


def test_what_an_inner_function_says_its_outer_one_has_said(app: Any) -> None:
    with NarrationCoverage(app) as coverage:
        app.speaks_in_an_inner_one()
    assert names(coverage.spoke()) == ["speaks_in_an_inner_one"]


def test_methods_of_every_kind_are_watched(app: Any) -> None:
    with NarrationCoverage(app) as coverage:
        engine = app.Engine()
        _ = app.Engine.static(), app.Engine.of_class(), engine.looked_at, engine.kept
    assert names(coverage.spoke()) == ["Engine.__init__", "Engine.kept", "Engine.static"]
    assert names(coverage.silent()) == ["Engine.looked_at", "Engine.of_class"]


def test_coroutines_and_generators_speak_when_they_run(app: Any) -> None:
    with NarrationCoverage(app) as coverage:
        asyncio.run(app.coroutine())
        list(app.generator())
    assert names(coverage.spoke()) == ["coroutine", "generator"]


def test_threads_that_begin_in_the_block_are_seen(app: Any) -> None:
    with NarrationCoverage(app) as coverage:
        thread = threading.Thread(target=app.quiet)
        thread.start()
        thread.join()
    assert names(coverage.silent()) == ["quiet"]


def test_a_profiler_that_was_set_goes_on(app: Any) -> None:
    seen: list[str] = []

    def profile(frame: types.FrameType, event: str, arg: object) -> None:
        if event == "call":
            seen.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        with NarrationCoverage(app):
            app.quiet()
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(before)
    assert "quiet" in seen


def test_silence_fails_by_name_but_for_what_is_let_off(app: Any) -> None:
    with NarrationCoverage(app) as coverage:
        app.quiet()
        app.traces()
    coverage.assert_none_silent("quiet")
    coverage.assert_none_silent("watched_app:quiet")
    with pytest.raises(AssertionError) as failure:
        coverage.assert_none_silent()
    assert str(failure.value) == (
        "1 functions ran and said nothing:\n  watched_app:quiet\nthese spoke:\n  watched_app:traces"
    )


def test_functions_of_other_modules_are_not_this_ones(app: Any) -> None:
    app.borrowed = names
    with NarrationCoverage(app) as coverage:
        app.borrowed([])
    assert coverage.silent() == []
