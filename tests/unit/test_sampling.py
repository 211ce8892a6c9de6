"""Levels that are thinned (``trace/N``): which events are kept, and the exact counts of the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import gpu_narration as gn
from gpu_narration.tracefile import Trace
from tests.conftest import Record, Recorded
from tests.support.run import environment

ALL = "sampled_out"


def decode(count: int, first: int = 0) -> None:
    for i in range(first, first + count):
        gn.trace_loop("engine", "decode", i, count, "step")


def left_out(recorded: Recorded) -> int:
    """All that the trace says was left out: by its events, and by its last note."""
    told = [recorded.trace.annotations(event).get(ALL, 0) for event in recorded.events]
    ends = [event.phase.value for event in recorded.events]
    once = [count for count, phase in zip(told, ends, strict=True) if phase != "end"]
    notes = [note for process in recorded.trace.processes for note in process.notes]
    rest = [sum(note.fields.values()) for note in notes if note.topic == ALL]
    return sum(once) + sum(rest)


def indices(recorded: Recorded) -> list[int]:
    return [event.arguments[0].value for event in recorded.named("decode")]


def test_the_first_and_then_one_in_n_is_recorded(record: Record) -> None:
    record.start(filter="engine=trace/10")
    decode(35)
    recorded = record.stop()
    assert indices(recorded) == [0, 10, 20, 30]


def test_an_event_tells_how_many_were_left_out_before_it(record: Record) -> None:
    record.start(filter="engine=trace/10")
    decode(35)
    recorded = record.stop()
    assert [recorded.trace.annotations(event).get(ALL) for event in recorded.events] == [
        None, 9, 9, 9,
    ]  # fmt: skip
    assert " sampled_out=9 " in recorded.lines[1]


def test_the_rest_is_told_at_the_end_by_actor_and_action(record: Record) -> None:
    record.start(filter="engine=trace/10")
    decode(35)
    recorded = record.stop()
    assert recorded.trace.processes[0].note(ALL) == {"engine.decode": 4}
    assert recorded.trace.processes[0].note("end")[ALL] == 31


def test_stats_count_while_it_runs(record: Record) -> None:
    recorder = record.start(filter="engine=trace/10")
    decode(35)
    assert recorder.stats()[ALL] == 31
    assert recorder.stats()["records"] == 4
    record.stop()


@pytest.mark.parametrize("name", ["engine", "engine.decode", __name__, "tests", ""])
def test_it_goes_by_module_actor_or_actor_and_action(record: Record, name: str) -> None:
    record.start(filter=f"{name}=trace/5" if name else "trace/5")
    decode(10)
    assert indices(record.stop()) == [0, 5]


def test_another_action_of_the_actor_is_whole(record: Record) -> None:
    record.start(filter="engine.decode=trace/100")
    for i in range(10):
        gn.trace_tiny("engine", "prefill", "x", "y", i)
    decode(10)
    recorded = record.stop()
    assert len(recorded.named("prefill")) == 10
    assert len(recorded.named("decode")) == 1


@pytest.mark.parametrize(
    ("call", "action"),
    [
        (lambda: gn.trace_enter("a", "f"), "a.f"),
        (lambda: gn.trace_exit("a", "f"), "a.f"),
        (lambda: gn.trace_state("a", "depth", "1 to 2", "x"), "a.depth"),
        (lambda: gn.trace_with_correlation("a", "b", "c", "d", "id"), "a.b"),
        (lambda: gn.trace_tiny("a", action="b", target="c", human="d"), "a.b"),
        (lambda: gn.trace_tiny("a", "b", "c", "{}", "long" * 200), "a.b"),
        (lambda: gn.trace_tiny("a", "b", "c", "{}", object()), "a.b"),
        (lambda: gn.trace_tiny("a", "b", "c", "{}", *range(20)), "a.b"),
    ],
)
def test_every_call_is_counted_once(record: Record, call: object, action: str) -> None:
    """GIVEN a call on a slow way into the trace THEN one in three is kept all the same."""
    recorder = record.start(filter=f"info,{action}=trace/3")
    for _ in range(12):
        call()
    assert (recorder.stats()["records"], recorder.stats()[ALL]) == (4, 8)
    assert left_out(record.stop()) == 8


def test_spans_are_left_out_whole(record: Record) -> None:
    """GIVEN a thinned span THEN it has both ends or none, and what is inside hangs one higher."""
    record.start(filter="engine.prefill=trace/3")
    with gn.span("app", "outer"):
        for _ in range(4):
            with gn.span("engine", "prefill"):
                gn.trace_tiny("app", "inner", "x", "y")
    recorded = record.stop()
    outer, (first, second) = recorded.begin("outer").id, [
        event.id for event in recorded.named("prefill") if event.phase.value == "begin"
    ]  # fmt: skip
    assert [event.span for event in recorded.named("inner")] == [first, outer, outer, second]
    assert len(recorded.ends("prefill")) == 2
    assert left_out(recorded) == 2


@pytest.mark.parametrize("form", ["plain", "generator"])
def test_functions_are_left_out_whole(record: Record, form: str) -> None:
    @gn.trace_fn(actor="app")
    def plain(x: int) -> int:
        return x

    @gn.trace_fn(actor="app")
    def generator(x: int) -> object:
        yield x

    record.start(filter=f"app.{form}=trace/4")
    for i in range(8):
        assert plain(i) == i
        assert list(generator(i)) == [i]
    recorded = record.stop()
    assert len(recorded.ends(form)) == 2
    assert left_out(recorded) == 6


def test_a_generator_that_never_starts_is_not_left_out(record: Record) -> None:
    @gn.trace_fn(actor="app")
    def generator() -> object:
        yield 1

    recorder = record.start(filter="app=trace/4")
    for _ in range(8):
        generator()
    assert recorder.stats()[ALL] == 0
    record.stop()


def test_levels_above_are_whole(record: Record) -> None:
    record.start(filter="engine=trace/100")
    for _ in range(5):
        gn.narrate("engine", "says", "x", "y")
        gn.trace_tiny("engine", "does", "x", "y")
    recorded = record.stop()
    assert len(recorded.named("says")) == 5
    assert len(recorded.named("does")) == 1


def test_a_level_of_narrations_can_be_thinned_and_what_is_below_is_off(record: Record) -> None:
    record.start(filter="debug/2")
    for _ in range(4):
        gn.narrate("a", "debugs", "x", "y", level="debug")
        gn.narrate("a", "informs", "x", "y")
        gn.trace_tiny("a", "traces", "x", "y")
    recorded = record.stop()
    assert [len(recorded.named(name)) for name in ("debugs", "informs", "traces")] == [2, 4, 0]


def test_a_filter_that_changes_loses_no_count(record: Record) -> None:
    """GIVEN counts not told yet WHEN the filter no longer thins THEN the next event tells them."""
    record.start(filter="engine=trace/100")
    decode(50)
    gn.set_filter("")
    decode(2, first=50)
    recorded = record.stop()
    assert indices(recorded) == [0, 50, 51]
    assert [recorded.trace.annotations(each).get(ALL) for each in recorded.named("decode")] == [
        None, 49, None,
    ]  # fmt: skip


def test_a_shorter_stride_holds_at_once(record: Record) -> None:
    record.start(filter="engine=trace/1000")
    decode(2)
    gn.set_filter("engine=trace/3")
    decode(6, first=2)
    assert indices(record.stop()) == [0, 4, 7]


def test_every_recording_counts_anew(record: Record) -> None:
    for _ in range(2):
        record.start(filter="engine=trace/10")
        decode(15)
        recorded = record.stop()
        assert indices(recorded) == [0, 10]
        assert left_out(recorded) == 13


def test_one_in_one_is_all(record: Record) -> None:
    recorder = record.start(filter="trace/1")
    decode(5)
    assert recorder.stats()[ALL] == 0
    assert len(record.stop().events) == 5


def test_a_killed_process_leaves_the_counts_of_what_it_recorded(tmp_path: Path) -> None:
    program = (
        "import gpu_narration as gn, os, signal\n"
        "gn.start('t.gnt', filter='engine=trace/10', backend='none', vram=False)\n"
        "for i in range(35): gn.trace_loop('engine', 'decode', i, 35, 'x')\n"
        "gn.flush()\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), check=False, timeout=60
    )
    trace = Trace(tmp_path / "t.gnt")
    told = [trace.annotations(event).get(ALL) for event in trace.events()]
    assert told == [None, 9, 9, 9]
