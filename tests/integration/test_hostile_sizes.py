"""Values and programs beyond all measure: huge, deep, and without memory."""

from __future__ import annotations

import decimal
import gc
import math
import sys
from typing import Any

import pytest

from gpu_narration import correlation, narrate, span, trace_fn, trace_tiny, trace_with_correlation
from gpu_narration.tracefile.format import CutText, Summary
from tests.conftest import Record
from tests.support.run import run_python

HUGE = 100 << 20


def summary(record: Record, value: object) -> Any:
    record.start()
    trace_tiny("app", "step", "", "", value)
    (event,) = record.stop().events
    return event.arguments[0].value


# ---- size ----


@pytest.fixture(scope="module")
def huge() -> str:
    return "x" * HUGE


def test_a_huge_text_is_cut_wherever_it_comes(record: Record, huge: str) -> None:
    """GIVEN 100 MB as argument, target, human text, correlation, field and result THEN the trace
    stays small and each says how long it was.
    """

    @trace_fn
    def echo(text: str, **more: str) -> str:
        return text

    recorder = record.start()
    trace_tiny("app", "argument", "", "{}", huge)
    trace_tiny("app", "target", huge, "")
    trace_tiny("app", "human", "", huge)
    trace_with_correlation("app", "given", "", "", huge)
    with correlation(huge):
        trace_tiny("app", "context", "", "")
    narrate("app", "field", text=huge)
    narrate("app", "target", huge, huge)
    echo(huge, more=huge)
    with span("app", "span", huge):
        pass
    assert recorder.stop()["bytes_written"] < 100_000
    done = record.stop()
    (argument,) = done.named("argument")
    assert argument.arguments[0].value == CutText("x" * 1024, HUGE)
    assert all(len(line) < 15_000 for line in done.lines)


@pytest.mark.parametrize("width", ["\xe9", "\u20ac", "\U0001f600"])
def test_a_huge_wide_text_is_cut(record: Record, width: str) -> None:
    back = summary(record, width * (HUGE // 4))
    assert isinstance(back, CutText)
    assert back.length == HUGE // 4


def test_the_name_of_a_field_may_be_huge(record: Record, huge: str) -> None:
    record.start()
    narrate("app", "step", **{huge: 1, "y": 2})
    (event,) = record.stop().events
    names = list(event.fields)
    assert len(names) == 2
    assert names[0].startswith("xxx")
    assert len(names[0]) < 300


def test_names_of_fields_that_are_new_each_time_keep_no_memory(record: Record) -> None:
    """GIVEN a new field name of 2 kB per event THEN what is kept of them is bounded."""
    record.start()
    before = sys.getallocatedblocks()
    for i in range(20_000):
        narrate("app", "step", **{f"{i:02000d}": 1})
    gc.collect()
    assert sys.getallocatedblocks() - before < 8000
    assert len(record.stop().events) == 20_000


def test_a_huge_text_is_not_kept(record: Record) -> None:
    """GIVEN 100 MB as correlation, target and field name WHEN the program drops it THEN it goes."""
    text = "y" * HUGE
    before = sys.getrefcount(text)
    record.start()
    for _ in range(100):
        trace_tiny("app", "step", text, text)
    with correlation(text):
        trace_tiny("app", "step", "", "")
    trace_tiny("app", "step", "", "")
    narrate("app", "step", text, text, **{text: 1})
    assert sys.getrefcount(text) == before
    record.stop()


def test_a_huge_template_is_shown_cut(record: Record) -> None:
    """GIVEN 1 MB of template and 10,000 fields THEN they are cut, told, and the next is whole."""
    record.start()
    trace_tiny("app", "long", "", "word " * 200_000, 1)
    trace_tiny("app", "fields", "", "{}" * 10_000, *range(10_000))
    trace_tiny("app", "deep", "", "{" * 100_000, 1)
    trace_tiny("app", "wide", "", "{:>999999999}", 1)
    trace_tiny("app", "attribute", "", "{0.__class__}", 1)
    trace_tiny("app", "next", "", "{} of {}", 1, 2)
    done = record.stop()
    assert all(len(line) < 30_000 for line in done.lines)
    assert sum("the template does not fit" in line for line in done.lines) == 2
    assert done.lines[-1] == 'TRACE app next "1 of 2"'


def test_ten_thousand_values_are_kept_or_counted(record: Record) -> None:
    record.start()
    trace_tiny("app", "step", "", "", *range(10_000))
    (event,) = record.stop().events
    assert len(event.arguments) + event.left_out == 10_000
    assert [argument.value for argument in event.arguments[:500]] == list(range(500))


NUMBERS = {
    "a million digits": (10**1_000_000, Summary("<int, 3321929 bits>")),
    "minus a million digits": (-(10**1_000_000), Summary("<int, 3321929 bits>")),
    "infinity": (math.inf, math.inf),
    "minus infinity": (-math.inf, -math.inf),
    "decimal": (decimal.Decimal("NaN"), Summary("NaN")),
    "the smallest": (5e-324, 5e-324),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_any_number_is_kept_or_measured(record: Record, name: str) -> None:
    value, expected = NUMBERS[name]
    assert summary(record, value) == expected


def test_not_a_number_stays_none(record: Record) -> None:
    back = summary(record, math.nan)
    assert isinstance(back, float)
    assert math.isnan(back)


def test_a_list_that_holds_itself_is_a_list(record: Record) -> None:
    value: list[object] = []
    value.append(value)
    assert summary(record, value) == Summary("list[1]")


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud83d\ude00", "\x00", "\udc80" * 300])
def test_surrogates_come_back(record: Record, text: str) -> None:
    assert summary(record, text) == text


def test_surrogates_may_stand_anywhere(record: Record) -> None:
    text = "a\ud800"
    record.start()
    trace_tiny(text, text, text, text)
    with correlation(text), span(text, text, text):
        narrate(text, text, text, text, **{text: text})
    done = record.stop()
    assert [event.names[0] for event in done.events] == [text] * 4
    assert all(line.encode("utf-8", "strict") for line in done.lines)


# ---- depth ----


@pytest.mark.parametrize("limit", [200, 1000])
def test_recursion_to_the_limit_is_the_programs_own_error(limit: int) -> None:
    """GIVEN traced recursion without end THEN RecursionError comes, and every span has its end."""
    done = run_python(
        f"""
        import sys, pathlib
        import gpu_narration as gn
        from gpu_narration.tracefile import Trace

        @gn.trace_fn
        def down(depth, path):
            gn.trace_tiny("app", "step", "", "{{}}", pathlib.PurePosixPath("x"))
            return down(depth + 1, path)

        gn.start("t.gnt", backend="none")
        sys.setrecursionlimit({limit})
        for _ in range(3):
            try:
                down(0, pathlib.PurePosixPath("x"))
            except RecursionError:
                print("reached")
        sys.setrecursionlimit(1000)
        gn.stop()
        events = list(Trace("t.gnt").events())
        begins = [e for e in events if e.phase.value == "begin"]
        ends = [e for e in events if e.phase.value == "end"]
        print(len(begins) > {limit} // 2, len(begins) == len(ends))
        print({{e.error_type for e in ends}}, Trace("t.gnt").processes[0].note("end").get("suppressed"))
        """
    )
    assert done.stdout.splitlines() == [*["reached"] * 3, "True True", "{'RecursionError'} 0"]
    assert done.stderr == ""


@pytest.mark.parametrize("stack_bytes", [128 << 10, 1 << 20, 64 << 20])
def test_a_raised_limit_ends_in_an_error_and_no_crash(stack_bytes: int) -> None:
    """GIVEN a recursion limit beyond what the thread's stack can hold WHEN traced calls nest
    THEN a RecursionError says so, and as many calls as the stack has room for are made.
    """
    done = run_python(
        f"""
        import sys, threading
        import gpu_narration as gn

        deepest = 0
        @gn.trace_fn
        def down(depth):
            global deepest
            deepest = max(deepest, depth)
            return depth if depth == 60_000 else down(depth + 1)

        def work():
            try:
                down(0)
                print("fine")
            except RecursionError as error:
                print("error", "down()" in str(error) or sys.version_info >= (3, 12))
            print(deepest > {stack_bytes} // 4096)

        gn.start("t.gnt", backend="none")
        sys.setrecursionlimit(10**6)
        threading.stack_size({stack_bytes})
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        gn.stop()
        """
    )
    end, enough = done.stdout.splitlines()
    assert end in ("fine", "error True")
    assert enough == "True" or sys.version_info >= (3, 12)


# ---- no memory ----

#: Nothing is raised in it: CPython itself loses an exception that it has no memory for.
WITHOUT_MEMORY = """
import _testcapi, pathlib
import gpu_narration as gn
from gpu_narration.tracefile import Trace

class Thing: ...
thing, path, big = Thing(), pathlib.PurePosixPath("x"), 2**200

@gn.trace_fn
def traced(one, two=2, **more):
    return one

@gn.trace_fn
def steps(one):
    yield one

def calls(n):
    gn.trace_tiny("app", "plain", "", "{}", n)
    gn.trace_tiny("app", f"name {n}", f"target {n}", "{}", n, thing, [1], path, big, None)
    gn.trace_with_correlation("app", "with", "", "", f"id {n}", thing)
    with gn.span("app", "part", f"{n}"):
        traced(thing, two=path, **{f"key_{n}": n})
    for _ in steps(path): pass
    gn.narrate("app", "say", human=f"{n}", field=thing)

gn.start("t.gnt", backend="none", ring_bytes=1 << 20)
outcomes = {"fine": 0}
for n in range(COUNT):
    try:
        _testcapi.set_nomemory(n, n + WIDTH)
        try:
            calls(n)
        finally:
            _testcapi.remove_mem_hooks()
        outcome = "fine"
    except MemoryError:
        outcome = "MemoryError"
    outcomes[outcome] = outcomes.get(outcome, 0) + 1
calls(-1)
gn.stop()
events = list(Trace("t.gnt").events())
print(sorted(outcomes), outcomes["fine"] > 0, events[-1].names[1])
print({n.trouble.value for n in Trace("t.gnt").notices()})
"""


@pytest.mark.parametrize("width", [1, 3, 50])
def test_without_memory_a_call_makes_do(width: int) -> None:
    """GIVEN that each allocation in turn fails THEN nothing but MemoryError is seen, and the
    trace is whole.
    """
    pytest.importorskip("_testcapi", reason="this Python cannot make allocations fail")
    done = run_python(WITHOUT_MEMORY.replace("COUNT", "400").replace("WIDTH", str(width)))
    assert done.stdout.splitlines() == ["['MemoryError', 'fine'] True say", "set()"]
