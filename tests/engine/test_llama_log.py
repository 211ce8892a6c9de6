"""llama.cpp's log: narrated, and still the program's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_narration._types import Kind, Level
from tests.support.llama_programs import Ran

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

Program = Callable[..., Ran]

OWN = """
from llama_cpp import llama_cpp as api
heard = {"first": [], "second": []}
def callback(name):
    return api.llama_log_callback(lambda level, text, data: heard[name].append([level, text.decode()]))
first, second = callback("first"), callback("second")
def current():
    found, data = ctypes.c_void_p(), ctypes.c_void_p()
    api.llama_log_get(ctypes.cast(ctypes.byref(found), ctypes.POINTER(api.llama_log_callback)),
                      ctypes.byref(data))
    return found.value
address = lambda function: ctypes.cast(function, ctypes.c_void_p).value
"""


def _narrated(done: Ran) -> list[tuple[Level, str | None]]:
    return [
        (event.level, event.names[3])
        for event in done.events()
        if event.kind is Kind.NARRATION and event.names[1] == "log"
    ]


def test_lines_are_narrated_with_their_levels_and_handed_on(ran: Program) -> None:
    done = ran(
        OWN
        + """
api.llama_log_set(first, None)
gn.start(trace, **QUIET)
ffi.llama.install()
load()
broken = api.llama_model_load_from_file(b"/there/is/none.gguf", api.llama_model_default_params())
gn.stop()
tell(heard=heard["first"])
"""
    )

    levels = {1: Level.DEBUG, 2: Level.INFO, 3: Level.WARN, 4: Level.ERROR}
    whole = [
        (levels[level], text.rstrip())
        for level, text in done.said["heard"]
        if text.endswith("\n") and text.strip(".\n") and level in levels
    ]
    narrated = _narrated(done)
    assert [line for line in whole if line not in narrated] == []
    assert {Level.DEBUG, Level.INFO, Level.ERROR} <= {level for level, _ in narrated}


def test_a_callback_that_is_set_later_gets_the_lines_and_ours_too(ran: Program) -> None:
    done = ran(
        OWN
        + """
api.llama_log_set(first, None)
gn.start(trace, **QUIET)
ffi.llama.install()
api.llama_log_set(second, None)
load()
gn.stop()
tell(first=len(heard["first"]), second=len(heard["second"]))
"""
    )

    assert done.said["first"] == 0
    assert done.said["second"] > 50
    assert len(_narrated(done)) > 50


@pytest.mark.parametrize("last", ["first", "second"])
def test_uninstalled_the_callback_is_the_program_s_own(ran: Program, last: str) -> None:
    done = ran(
        OWN
        + f"""
api.llama_log_set(first, None)
gn.start(trace, **QUIET)
ffi.llama.install()
api.llama_log_set({last}, None)
ours = current()
ffi.llama.uninstall()
gn.stop()
tell(own=current() == address({last}), ours=ours not in (address(first), address(second)))
"""
    )

    assert done.said == {"own": True, "ours": True}


def test_a_callback_that_was_set_before_a_recording_is_found_at_the_next_load(ran: Program) -> None:
    done = ran(
        OWN
        + """
ffi.llama.install()
api.llama_log_set(second, None)
gn.start(trace, **QUIET)
load()
gn.stop()
tell(second=len(heard["second"]))
"""
    )

    assert done.said["second"] > 50
    assert len(_narrated(done)) > 50


def test_left_alone_the_log_is_not_touched_and_what_only_it_says_is_unknown(ran: Program) -> None:
    done = ran(
        OWN
        + """
api.llama_log_set(first, None)
gn.start(trace, **QUIET)
ffi.llama.install(log=False)
load()
gn.stop()
tell(own=current() == address(first))
"""
    )

    fields = [event.fields for event in done.events() if "kv_bytes" in event.fields]
    assert done.said["own"]
    assert _narrated(done) == []
    assert [(one["kv_bytes"], one["kv_reason"]) for one in fields] == [
        (None, "llama.cpp's log was not asked for")
    ]


def test_the_log_may_speak_when_the_interpreter_has_ended(ran: Program) -> None:
    """GIVEN a model that is freed after everything else THEN the process still ends well."""
    done = ran(
        OWN
        + """
import atexit, os
gn.start(trace, **QUIET)
atexit.register(lambda: None)
ffi.llama.install()
keep = load(verbose=True)
tell(ok=True)
"""
    )

    assert done.said["ok"]
