"""The fixture ``narrations``, in runs of pytest of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PRELUDE = """
import asyncio, threading, time
import pytest
import gpu_narration as gn
"""


@pytest.fixture(autouse=True)
def no_backend_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU_NARRATION_BACKEND", raising=False)


def _run(pytester: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_story=PRELUDE + body)
    return pytester.runpytest("-p", "no:cacheprovider", "--strict-markers", *arguments)


def test_each_test_has_its_own_events(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
@pytest.mark.parametrize("name", ["one", "two"])
def test_said(narrations, name):
    gn.narrate("app", name, "", f"Said {name}", job_id="j")
    narrations.assert_includes(f"Said {name}", level="info", job_id="j", count=1)
    assert len(narrations.events) == 1
    narrations.assert_balanced()

def test_nothing(narrations):
    assert narrations.events == []
""")  # fmt: skip
    done.assert_outcomes(passed=3)


def test_threads_and_tasks_of_one_test_are_not_in_the_next(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
go, done = threading.Event(), threading.Event()

def late():
    go.wait(20)
    gn.trace_tiny("app", "late", "", "")
    done.set()

def test_first(narrations):
    threading.Thread(target=late, daemon=True).start()

    async def tasks():
        await asyncio.gather(*(asyncio.to_thread(gn.trace_tiny, "app", "task", "", "") for _ in range(5)))

    asyncio.run(tasks())
    narrations.assert_includes(action="task", count=5)

def test_second(narrations):
    go.set()
    done.wait(20)
    thread = threading.Thread(target=gn.trace_tiny, args=("app", "own", "", ""))
    thread.start()
    thread.join()
    assert [event.names[1] for event in narrations.events] == ["own"]
""")  # fmt: skip
    done.assert_outcomes(passed=2)


def test_workers_of_xdist_have_their_own(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
@pytest.mark.parametrize("name", range(12))
def test_said(narrations, name):
    gn.narrate("app", "say", str(name), "Said")
    time.sleep(0.02)
    narrations.assert_field("target", str(name), action="say")
    assert len(narrations.events) == 1
""", "-n", "2")  # fmt: skip
    done.assert_outcomes(passed=12)


def test_a_failure_shows_what_was_captured(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
def test_said(narrations):
    gn.narrate("queue", "admit", "job-1", "Admitted job-1")
    narrations.assert_includes("Evicted")
""")  # fmt: skip
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines([
        "*no event with 'Evicted'; 1 events were captured",
        '*INFO queue admit job-1 "Admitted job-1"',
    ])  # fmt: skip


SNAPSHOT = """
def test_story(narrations):
    gn.narrate("queue", "admit", "job-1", "Admitted job-1", duration_ms=2.5)
    narrations.assert_snapshot()
"""


def test_a_snapshot_is_made_by_the_flag_and_kept_beside_the_test(pytester: pytest.Pytester) -> None:
    """GIVEN no snapshot THEN the test fails, WHEN the flag is given it is written, THEN it passes."""
    _run(pytester, SNAPSHOT).assert_outcomes(failed=1)
    _run(pytester, SNAPSHOT, "--narrations-update").assert_outcomes(passed=1)
    kept = Path(pytester.path) / "narrations" / "test_story" / "test_story.txt"
    assert kept.read_text() == 'INFO queue admit job-1 duration_ms=<time> "Admitted job-1"\n'
    _run(pytester, SNAPSHOT).assert_outcomes(passed=1)
    changed = SNAPSHOT.replace("Admitted", "Refused")
    done = _run(pytester, changed)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ['*-INFO queue admit*"Admitted job-1"', '*+INFO queue admit*"Refused job-1"']
    )


def test_a_test_with_a_limit_may_look_at_its_narrations(pytester: pytest.Pytester) -> None:
    done = _run(pytester, """
from gpu_narration import cuda

@pytest.mark.vram_limit("2 GiB")
def test_load(narrations):
    with gn.span("engine", "load", vram=True):
        cuda.current().backend.gpu.malloc(1 << 30)
    narrations.assert_includes(action="load", phase="end", vram_delta_bytes=1 << 30)
""", "--gpu-narration-backend", "mock")  # fmt: skip
    done.assert_outcomes(passed=1)


def test_silent_functions_are_found(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(app="""
import gpu_narration as gn

def speaks():
    gn.narrate("app", "speak", "", "Spoke")

def quiet():
    return 1
""")  # fmt: skip
    done = _run(pytester, """
import app

def test_said(narrations):
    narrations.watch(app)
    app.speaks()
    app.quiet()
    assert narrations.silent() == ["app:quiet"]
    narrations.watch().assert_none_silent("quiet")

def test_nothing_is_watched(narrations):
    with pytest.raises(gn.OptionError):
        narrations.silent()
""")  # fmt: skip
    done.assert_outcomes(passed=2)
