"""Contexts: which ids events, spans and GPU work get without passing them by hand."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

import pytest

import gpu_narration as gn
from gpu_narration import _core
from gpu_narration._types import Kind
from gpu_narration.contexts import Ids
from gpu_narration.contexts.executors import ContextThreadPoolExecutor
from gpu_narration.contexts.headers import span_id_of
from gpu_narration.contexts.ids import new_id
from gpu_narration.cuda import MockGpu, MockKernel, kernel
from gpu_narration.tracefile import Event
from gpu_narration.views import logfmt
from gpu_narration.views.jsonl import event_object
from tests.conftest import Record
from tests.support.recording import ManualClock, recorded_on_mock
from tests.support.run import run_python

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def say(action: str) -> None:
    gn.trace_tiny("app", action, "", "")


def ids_of(event: Event) -> dict[str, object]:
    """The ids of an event but for those of the trace."""
    return {name: value for name, value in event.context.items() if not name.startswith("trace")}


# ---- new ids ----


def test_a_new_id_is_a_uuid_of_version_7() -> None:
    made = uuid.UUID(new_id())
    assert (made.version, made.variant, str(made)) == (7, uuid.RFC_4122, str(made).lower())


def test_a_new_id_holds_the_time_in_ms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_123_500_000)
    digits = new_id().replace("-", "")
    assert (int(digits[:12], 16), int(digits[13:16], 16)) == (1_700_000_000_123, 2048)


def test_ids_sort_by_the_time_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(10**18, 10**18 + 10**9, 10**6 // 4))
    monkeypatch.setattr("time.time_ns", lambda: next(times))
    made = [new_id() for _ in range(1000)]
    assert made == sorted(set(made))


def test_a_new_correlation_is_its_own_trace_whose_right_half_is_random() -> None:
    with gn.context() as ids:
        assert ids.trace_id == ids.correlation_id.replace("-", "")  # type: ignore[union-attr]
        assert ids.trace_flags == 3


def test_a_correlation_id_of_the_programs_own_gets_a_random_trace() -> None:
    with gn.context("job-1") as one:
        pass
    with gn.context("job-1") as other:
        pass
    assert one.trace_id != other.trace_id
    assert re.fullmatch("[0-9a-f]{32}", one.trace_id or "")


# ---- what a block sets ----


def test_ids_of_a_block_reach_its_events_and_spans(record: Record) -> None:
    record.start()
    with gn.context("req-1", job_id="job-1", session_id="s-1"):
        say("step")
        with gn.span("app", "work"):
            pass
        gn.narrate("app", "told", "", "Told")
    say("outside")
    recorded = record.stop()

    expected = {"job_id": "job-1", "session_id": "s-1"}
    events = [event for event in recorded.events if event.names[1] != "outside"]
    assert [(e.correlation, ids_of(e)) for e in events] == [("req-1", expected)] * 4
    assert dict(recorded.one("outside").context) == {}


def test_ids_need_no_correlation(record: Record) -> None:
    record.start()
    with gn.context(job_id="job-1"):
        say("step")
        assert gn.correlation_id() is None
    event = record.stop().one("step")
    assert (event.correlation, dict(event.context)) == (None, {"job_id": "job-1"})


def test_blocks_add_to_each_other_and_none_takes_away(record: Record) -> None:
    record.start()
    with gn.context("r", job_id="j", worker_id=3), gn.context(task_id="t", job_id=None):
        say("inner")
    event = record.stop().one("inner")
    assert (event.correlation, ids_of(event)) == ("r", {"worker_id": 3, "task_id": "t"})


def test_blocks_without_a_correlation_add_to_each_other_too() -> None:
    with gn.context(job_id="j"), gn.context(task_id="t"):
        here = gn.context.current()
        assert here is not None
        assert here.fields == {"job_id": "j", "task_id": "t"}
        with gn.correlation("r"):
            inner = gn.context.current()
            assert inner is not None
            assert (inner.correlation_id, inner.others) == ("r", here.fields)


def test_a_block_gives_back_what_was_set_before() -> None:
    with gn.context("outer", job_id="j") as outer:
        with gn.context("inner"):
            pass
        assert gn.context.current() is outer
    assert gn.context.current() is None


def test_an_exception_leaves_the_block_and_its_ids() -> None:
    with pytest.raises(KeyError), gn.context("r"):
        raise KeyError
    assert gn.context.current() is None


def test_another_correlation_id_inside_stays_in_the_trace() -> None:
    with gn.context("request", job_id="j") as outer, gn.correlation("step"):
        inner = gn.context.current()
        assert inner is not None
        assert (inner.correlation_id, inner.trace_id, inner.others) == (
            "step", outer.trace_id, {"job_id": "j"},
        )  # fmt: skip


def test_a_trace_of_ones_own_can_be_begun_inside_anothers() -> None:
    with gn.context("r") as outer, gn.context("r", new_trace=True) as inner:
        assert inner.trace_id != outer.trace_id


def test_the_correlation_id_can_be_taken_away_and_other_ids_stay() -> None:
    with gn.context("r", job_id="j"):
        gn.set_correlation_id(None)
        here = gn.context.current()
        assert here is not None
        assert (gn.correlation_id(), here.fields) == (None, {"job_id": "j"})


def test_a_correlation_id_without_a_block_begins_a_trace() -> None:
    gn.set_correlation_id("r")
    try:
        here = gn.context.current()
        assert here is not None
        assert here.trace_id is not None
    finally:
        gn.set_correlation_id(None)
    assert gn.context.current() is None


def test_what_is_told_of_a_correlation_id_is_a_plain_string() -> None:
    with gn.context("r"):
        assert type(gn.correlation_id()) is str


def test_ids_may_be_uuids_numbers_and_members_of_enumerations() -> None:
    class Pool(StrEnum):
        FAST = "fast"

    given = uuid.uuid4()
    with gn.context(job_id=given, worker_id=7, pool_id=Pool.FAST) as ids:
        assert ids.fields == {"job_id": str(given), "worker_id": 7, "pool_id": "fast"}
        assert type(ids.fields["pool_id"]) is str


@pytest.mark.parametrize(
    "secret",
    ["Bearer abcdefghijklmnopqrstuvwxyz012345", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"],
)
def test_ids_that_are_secrets_are_not_recorded(record: Record, secret: str) -> None:
    """GIVEN secrets where ids belong, in the correlation id of a trace call as well."""
    record.start()
    with gn.context(secret, session_id=secret, password="hunter2"):
        say("step")
    recorded = record.stop()
    told = "\n".join(recorded.lines) + str(recorded.trace.processes[0].decoder.contexts)
    assert "redacted" in told
    assert secret not in told
    assert "hunter2" not in told


def test_the_place_in_a_trace_cannot_be_set_by_hand() -> None:
    with pytest.raises(gn.OptionError, match="trace_id cannot be set by hand"):
        gn.context(trace_id="00")


@pytest.mark.parametrize("make", [gn.context, gn.set_correlation_id])
def test_a_correlation_id_that_is_no_text_is_refused(make: type[gn.context]) -> None:
    with pytest.raises(TypeError, match="must be str or None, not int"):
        make(5)  # type: ignore[arg-type]


def test_long_ids_are_cut_and_said_to_be(record: Record) -> None:
    record.start()
    with gn.context("r" * 5000, job_id="j" * 5000, **{f"id_{i}": "x" * 1000 for i in range(40)}):
        say("step")
    event = record.stop().one("step")
    assert (event.correlation or "")[-2:] == "r…"
    assert len(event.context) < 42


# ---- nothing of one context in another ----


def test_contexts_with_one_correlation_id_keep_their_own_traces(record: Record) -> None:
    """GIVEN two tasks of one correlation id and two traces, turn by turn."""
    record.start()
    traces: dict[str, str | None] = {}

    async def serve(name: str) -> None:
        with gn.context("shared", worker_id=name) as ids:
            traces[name] = ids.trace_id
            for _ in range(20):
                say(name)
                await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(serve("a"), serve("b"))

    asyncio.run(both())
    recorded = record.stop()
    for name in "ab":
        told = {(e.correlation, e.context["trace_id"], e.context["worker_id"])
                for e in recorded.named(name)}  # fmt: skip
        assert told == {("shared", traces[name], name)}


def test_a_context_is_written_once_however_many_its_events(record: Record) -> None:
    record.start()
    with gn.context("r", job_id="j"):
        for _ in range(1000):
            say("step")
    recorded = record.stop()
    decoder = recorded.trace.processes[0].decoder
    assert len(decoder.contexts) == 1
    assert len({id(event.context) for event in recorded.named("step")}) == 1


def test_more_contexts_than_the_core_remembers_are_told_apart(record: Record) -> None:
    """GIVEN 300 contexts that take turns WHEN each has two events THEN each has its own ids."""
    record.start()
    blocks = [gn.context(f"r{i}", job_id=i) for i in range(300)]
    for _ in range(2):
        for block in blocks:
            with block:
                say("step")
    told = [(e.correlation, e.context["job_id"]) for e in record.stop().named("step")]
    assert told == [(f"r{i}", i) for i in range(300)] * 2


def test_an_event_of_another_request_has_none_of_this_ones_ids(record: Record) -> None:
    record.start()
    with gn.context("r", job_id="j"):
        gn.trace_with_correlation("app", "other", "", "", "another")
        gn.trace_with_correlation("app", "own", "", "", "r")
    recorded = record.stop()
    assert (recorded.one("other").correlation, dict(recorded.one("other").context)) == (
        "another", {},
    )  # fmt: skip
    assert ids_of(recorded.one("own")) == {"job_id": "j"}


def test_the_end_of_a_span_has_the_ids_of_its_beginning(record: Record) -> None:
    record.start()
    with gn.context("outer", job_id="j"):
        open_span = gn.span("app", "long")
        open_span.__enter__()
    with gn.context("later"):
        open_span.__exit__(None, None, None)
    (end,) = record.stop().ends("long")
    assert (end.correlation, ids_of(end)) == ("outer", {"job_id": "j"})


def test_each_recording_is_told_the_ids_of_a_context_that_outlives_it(record: Record) -> None:
    with gn.context("r", job_id="j"):
        for _ in range(2):
            record.start()
            say("step")
            assert ids_of(record.stop().one("step")) == {"job_id": "j"}


def test_ids_that_were_never_filled_in_are_no_ids(record: Record) -> None:
    record.start()
    _core.set_correlation(str.__new__(Ids, "bare"))
    say("step")
    _core.set_correlation(None)
    event = record.stop().one("step")
    assert (event.correlation, dict(event.context)) == ("bare", {})


def test_the_ids_of_gpu_work_are_those_of_its_context(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        saxpy = kernel(MockKernel("saxpy", 1000), every=1)
        with gn.context("req-1", job_id="j"):
            saxpy((1,), (1,), (), stream=gpu.stream())

    seen = recorded_on_mock(tmp_path, program)
    launches = [event for event in seen.events if event.kind is Kind.LAUNCH]
    assert [(e.correlation, ids_of(e)) for e in launches] == [("req-1", {"job_id": "j"})]


# ---- what a reader is shown ----


def test_a_line_has_the_ids_and_not_the_trace(record: Record) -> None:
    record.start()
    with gn.context("r", job_id="j", worker_id=3):
        say("step")
    assert record.stop().lines == [
        'TRACE app step job_id="j" worker_id=3 correlation_id="r" ""'
    ]  # fmt: skip


def test_a_narrations_own_field_goes_before_the_contexts(record: Record) -> None:
    record.start()
    with gn.context(job_id="context"):
        gn.narrate("app", "told", "", "Told", job_id="own")
    (line,) = record.stop().lines
    assert line.count("job_id=") == 1
    assert 'job_id="own"' in line


def test_json_has_all_of_it(record: Record) -> None:
    record.start()
    with gn.context.from_headers({"traceparent": CALLER, "tracestate": "a=b"}, job_id="j"):
        say("step")
    shown = event_object(record.stop().one("step"), {})
    assert shown["context"] == {
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "parent_span_id": "b7ad6b7169203331",
        "trace_flags": 1,
        "tracestate": "a=b",
        "job_id": "j",
    }


def test_logfmt_has_it_as_keys_of_its_own(record: Record) -> None:
    record.start()
    with gn.context.from_headers({"traceparent": CALLER}, job_id="context", task_id="t"):
        gn.narrate("app", "told", "", "Told", job_id="own")
    shown = logfmt.line(event_object(record.stop().one("told"), {}))
    for pair in ("trace_id=0af7651916cd43dd8448eb211c80319c", "task_id=t", "job_id=own"):
        assert f" {pair}" in shown
    assert "job_id=context" not in shown


# ---- threads and processes ----


def test_a_thread_pool_of_ours_runs_in_the_context_of_who_submits(record: Record) -> None:
    """GIVEN one worker WHEN two contexts submit to it THEN each has its own ids, and its span."""
    record.start()
    with ContextThreadPoolExecutor(1) as pool:
        for name in ("a", "b"):
            with gn.context(f"req-{name}"), gn.span("app", f"outer-{name}"):
                pool.submit(say, name).result()
        pool.submit(say, "none").result()
    recorded = record.stop()
    for name in "ab":
        event = recorded.one(name)
        assert event.correlation == f"req-{name}"
        assert event.span == recorded.begin(f"outer-{name}").id
    assert (recorded.one("none").correlation, recorded.one("none").span) == (None, None)


def test_map_of_such_a_pool_takes_the_context_along(record: Record) -> None:
    record.start()
    with ContextThreadPoolExecutor(2) as pool, gn.context("r"):
        list(pool.map(say, ["one", "two"]))
    assert {event.correlation for event in record.stop().events} == {"r"}


def test_submit_takes_the_context_to_any_thread_pool(record: Record) -> None:
    record.start()
    with ThreadPoolExecutor(1) as pool, gn.context("r"), gn.span("app", "outer"):
        assert gn.context.submit(pool, lambda x, *, y: say("step") or x + y, 1, y=2).result() == 3
    recorded = record.stop()
    assert recorded.one("step").correlation == "r"
    assert recorded.one("step").span == recorded.begin("outer").id


def test_a_wrapped_function_runs_in_its_context_in_many_threads_at_once(record: Record) -> None:
    record.start()
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait(10)
        say("step")

    with gn.context("r", job_id="j"):
        wrapped = gn.context.wrap(work)
    threads = [threading.Thread(target=wrapped) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [(event.correlation, ids_of(event)) for event in record.stop().events]
    assert told == [("r", {"job_id": "j"})] * 4


def test_a_wrapped_function_leaves_nothing_behind_in_the_thread(record: Record) -> None:
    record.start()
    with gn.context("r"), gn.span("app", "outer"):
        wrapped = gn.context.wrap(say)
    say("before")
    wrapped("inside")
    say("after")
    recorded = record.stop()
    assert recorded.one("inside").span == recorded.begin("outer").id
    outside = [recorded.one("before"), recorded.one("after")]
    assert [(event.correlation, event.span) for event in outside] == [(None, None)] * 2


async def _coroutine() -> None: ...


def _generator():
    yield


@pytest.mark.parametrize("function", [_coroutine, _generator])
def test_what_runs_later_cannot_be_wrapped(function) -> None:
    with pytest.raises(TypeError, match="functions that run when they are called"):
        gn.context.wrap(function)


def test_tasks_and_to_thread_inherit_without_help(record: Record) -> None:
    record.start()

    async def serve(name: str) -> None:
        with gn.context(name, job_id=name):
            await asyncio.create_task(step(name))
            await asyncio.to_thread(say, name)

    async def step(name: str) -> None:
        say(name)

    async def serve_all() -> None:
        await asyncio.gather(*(serve(f"r{i}") for i in range(20)))

    asyncio.run(serve_all())
    recorded = record.stop()
    told = [(e.names[1], e.correlation, e.context["job_id"]) for e in recorded.events]
    assert len(told) == 40
    assert all(action == correlation == job for action, correlation, job in told)


PROCESSES = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
import gpu_narration as gn
from gpu_narration.tracefile import Trace

def work(x):
    gn.trace_tiny("app", "work", "", "")
    here = gn.context.current()
    return x, here.correlation_id, here.trace_id, here.others

if __name__ == "__main__":
    method = multiprocessing.get_context(sys.argv[1])
    with gn.start("t.gnt", backend="none", vram=False) as recorder:
        with ProcessPoolExecutor(1, mp_context=method) as pool, gn.context("r", job_id="j") as ids:
            assert gn.context.submit(pool, work, 1).result() == (1, "r", ids.trace_id, {"job_id": "j"})
    (event,) = Trace(recorder.path).events()
    print(event.correlation, event.context["trace_id"] == ids.trace_id, event.context["job_id"])
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_submit_takes_the_ids_to_another_process(tmp_path, method: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROCESSES)
    assert run_python(program, method, cwd=tmp_path).stdout == "r True j\n"


# ---- headers that go out ----


@pytest.mark.parametrize("name", ["traceparent", "tracestate", "X-Correlation-Id"])
@pytest.mark.parametrize("value", [5, ["a"], {}, object()])
def test_a_header_that_is_no_text_is_refused_and_not_raised(name: str, value: object) -> None:
    parent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    with gn.context.from_headers({**parent, name: value}) as ids:
        assert (ids.refused, ids.correlation_id is None) == ("headers: not readable", False)


def test_a_header_that_is_none_is_not_there() -> None:
    with gn.context.from_headers({"traceparent": None, "X-Correlation-Id": "r-1"}) as ids:
        assert (str(ids), ids.refused) == ("r-1", None)


def test_outside_of_all_contexts_there_are_no_headers() -> None:
    assert gn.context.headers() == {}
    with gn.context(job_id="j"):
        assert gn.context.headers() == {}


def test_headers_name_the_open_span_as_the_exporter_will(record: Record) -> None:
    recorder = record.start()
    with gn.context.from_headers({"traceparent": CALLER, "tracestate": "a=b"}):
        before = gn.context.headers()
        with gn.span("app", "call"):
            inside = gn.context.headers()
    recorded = record.stop()

    process = recorded.trace.processes[0].name
    span = span_id_of(f"{recorder.trace_id}/{process}", recorded.begin("call").id)
    assert inside == {
        "traceparent": f"00-0af7651916cd43dd8448eb211c80319c-{span}-01",
        "tracestate": "a=b",
        "X-Correlation-Id": "0af7651916cd43dd8448eb211c80319c",
    }
    assert before["traceparent"] == CALLER


def test_a_span_round_the_context_is_no_parent_in_its_trace(record: Record) -> None:
    record.start()
    with gn.span("app", "outer"), gn.context.from_headers({"traceparent": CALLER}):
        headers = gn.context.headers()
    record.stop()
    assert headers["traceparent"] == CALLER


def test_a_nested_block_of_the_same_trace_names_the_span_between(record: Record) -> None:
    record.start()
    with gn.context("r"), gn.span("app", "between"):
        outer = gn.context.headers()
        with gn.context(job_id="j"):
            assert gn.context.headers() == outer
    record.stop()


@pytest.mark.parametrize("text", ["a b", "x\r\nSet-Cookie: y", "é", "a" * 129])
def test_a_correlation_id_that_no_header_may_have_stays_here(text: str) -> None:
    with gn.context(text):
        assert list(gn.context.headers()) == ["traceparent"]
