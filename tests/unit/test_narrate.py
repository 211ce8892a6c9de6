"""narrate and its sisters: fields, levels, and where a narration comes from."""

from __future__ import annotations

import gc
import json
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

import gpu_narration as gn
from gpu_narration import Level, Narration, NarrationFields, narrate
from gpu_narration._errors import OptionError
from gpu_narration.tracefile.format import Summary
from gpu_narration.views import jsonl, logfmt, pretty, text
from tests.conftest import Record

#: One value for each field of the type, and none of them twice.
ALL: dict[str, Any] = {
    "correlation_id": "req-1", "session_id": "s-2", "job_id": "j-3", "task_id": "t-4",
    "pool_id": "p-5", "replica_id": "r-6", "worker_id": "w-7", "operation": "load",
    "duration_ms": 8.5, "error_kind": "Timeout9", "http_status": 503, "retry_attempt": 11,
    "max_retries": 12, "retry_after_ms": 13.5, "backoff_ms": 14.5, "predicted_start_ms": 15.5,
    "queue_position": 16, "engine": "llama17", "engine_version": "b18", "model_ref": "m19.gguf",
    "tokens_in": 20, "tokens_out": 21, "first_token_ms": 22.5, "decode_time_ms": 23.5,
    "device": "gpu24", "gpu_device": 25, "vram_total_bytes": 26, "vram_free_bytes": 27,
    "requested_bytes": 28, "emitted_by": "mine@29", "emitted_at_ms": 30,
    "source_location": "app.py:31", "trace_id": "32ab", "span_id": "33cd",
    "parent_span_id": "34ef",
}  # fmt: skip
SISTERS = {
    "trace": gn.narrate_trace, "debug": gn.narrate_debug, "info": gn.narrate_info,
    "warn": gn.narrate_warn, "error": gn.narrate_error, "fatal": gn.narrate_fatal,
}  # fmt: skip


def line_here() -> int:
    return sys._getframe(1).f_lineno


def only(record: Record, call: Any) -> Any:
    """The event that a call leaves."""
    record.start()
    call()
    (event,) = record.stop().events
    return event


# ---- fields ----


def test_the_table_of_this_test_has_every_field() -> None:
    texts = {"actor", "action", "target", "human", "cute", "story", "extra"}
    assert set(ALL) == set(NarrationFields.__annotations__) - texts


def shown_in(record: Record, form: str) -> str:
    event = only(
        record, lambda: narrate(NarrationFields(actor="a", action="b", human="said", **ALL))
    )
    match form:
        case "text":
            return text.line(event, {})
        case "pretty":
            return "\n".join(pretty.lines(event, {}))
        case "json":
            return json.dumps(jsonl.event_object(event, {}))
    return logfmt.line(jsonl.event_object(event, {}))


@pytest.mark.parametrize("form", ["text", "pretty", "json", "logfmt"])
def test_every_field_reaches_every_output(record: Record, form: str) -> None:
    shown = shown_in(record, form)
    assert [name for name, value in ALL.items() if str(value) not in shown] == []
    assert [name for name in ALL if name not in shown] == []


def test_values_come_back_with_their_types(record: Record) -> None:
    event = only(record, lambda: narrate("a", "b", **ALL))
    assert event.fields == {name: ALL[name] for name in ALL if name != "correlation_id"}
    assert event.correlation == "req-1"


@pytest.mark.parametrize(
    "call",
    [
        lambda: narrate("a", "b", "c", "d", job_id="j"),
        lambda: narrate(actor="a", action="b", target="c", human="d", job_id="j"),
        lambda: narrate(NarrationFields(actor="a", action="b", target="c", human="d", job_id="j")),
        lambda: narrate(
            NarrationFields(actor="a", action="b", target="c", human="d", job_id="0"), job_id="j"
        ),
        lambda: narrate("a", "b", "c", "d", extra={"job_id": "j"}),
        lambda: narrate("a", "b", "c", "d", extra={"job_id": "0"}, job_id="j"),
        lambda: Narration("a", "b", "c").human("d").fields(job_id="j").emit(),
        lambda: Narration("a", "b", "c").human("d").extra(job_id="j").emit(),
    ],
    ids=["texts", "names", "fields", "fields and more", "extra", "named wins", "builder", "free"],
)
def test_all_ways_of_saying_it_leave_the_same(record: Record, call: Any) -> None:
    event = only(record, call)
    assert text.line(event, {}) == 'INFO a b c job_id="j" "d"'


def test_a_free_name_is_a_field_like_one_in_extra(record: Record) -> None:
    event = only(record, lambda: narrate("a", "b", shoe_size=44, extra={"hat size": 58}))
    assert event.fields == {"shoe_size": 44, "hat size": 58}


def test_none_is_recorded_as_none_and_a_silent_voice_not_at_all(record: Record) -> None:
    event = only(record, lambda: narrate("a", "b", vram_free_bytes=None, cute=None, story=None))
    assert event.fields == {"vram_free_bytes": None}


def test_a_target_and_a_sentence_that_are_none_are_left_out(record: Record) -> None:
    """As the other voices, for wrappers that hand on what they were not given."""
    event = only(record, lambda: narrate("a", "b", None, None))
    assert event.names == ("a", "b", "", "")


def test_a_builder_may_be_given_no_sentence(record: Record) -> None:
    event = only(record, lambda: Narration("a", "b").human(None).cute(None).emit())
    assert (event.names[3], event.fields) == ("", {})


def test_what_is_no_plain_value_is_summarised(record: Record) -> None:
    event = only(record, lambda: narrate("a", "b", extra={"many": [1, 2], "odd": object()}))
    assert event.fields == {"many": Summary("list[2]"), "odd": Summary("<object>")}


def test_more_fields_than_an_event_can_have_are_counted(record: Record) -> None:
    event = only(record, lambda: narrate("a", "b", extra={f"f{i}": i for i in range(300)}))
    assert (len(event.fields), event.left_out) == (256, 44)


def test_fields_that_do_not_fit_are_counted(record: Record) -> None:
    fields = {f"f{i}": "x" * 1024 for i in range(40)}
    event = only(record, lambda: narrate("a", "b", extra=fields))
    assert len(event.fields) + event.left_out == 40
    assert 20 <= len(event.fields) < 40


def test_a_text_of_another_class_is_taken_as_what_it_is(record: Record) -> None:
    class Name(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise AssertionError("the program's own code was run")

    event = only(record, lambda: narrate(Name("a"), Name("b"), human=Name("said")))
    assert event.names == ("a", "b", "", "said")


# ---- secrets ----

SECRET = "ghp_" + "a1B2" * 9


@pytest.mark.parametrize(
    "call",
    [
        lambda: narrate("a", "b", "c", f"Pushed with {SECRET}"),
        lambda: narrate("a", "b", SECRET),
        lambda: narrate("a", SECRET),
        lambda: narrate(SECRET, "b"),
        lambda: narrate("a", "b", cute=f"psst {SECRET}"),
        lambda: narrate("a", "b", story=f'"{SECRET}," said the key.'),
        lambda: narrate("a", "b", job_id=SECRET),
        lambda: narrate("a", "b", free=SECRET.encode()),
        lambda: narrate("a", "b", extra={"free": f"é {SECRET}"}),
        lambda: narrate("a", "b", extra={f"{SECRET}!": 1}),
        lambda: narrate("a", "b", path=Path("/") / SECRET),
        lambda: narrate("a", "b", password=SECRET[4:]),
        lambda: narrate("a", "b", "c", "x" * 900 + f" {SECRET}"),
        lambda: narrate("a", "b", long="x" * 100_000 + f" {SECRET}"),
        lambda: Narration("a", "b").human(SECRET).emit(),
    ],
)
def test_a_secret_reaches_no_file(record: Record, tmp_path: Path, call: Any) -> None:
    record.start()
    call()
    record.stop()
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 0
    assert [file for file in files if SECRET[4:].encode() in file] == []


# ---- levels ----


@pytest.mark.parametrize("level", [level for level in Level if level is not Level.MUTE])
def test_each_level_has_its_name_its_number_and_its_call(record: Record, level: Level) -> None:
    record.start()
    narrate("a", "b", level=level)
    narrate("a", "b", level=level.name.lower())
    narrate("a", "b", level=int(level))
    SISTERS[level.name.lower()]("a", "b")
    assert [event.level for event in record.stop().events] == [level] * 4


def test_fatal_is_not_error(record: Record) -> None:
    event = only(record, lambda: gn.narrate_fatal("a", "b", "", "The device is gone"))
    assert text.line(event, {}) == 'FATAL a b "The device is gone"'


@pytest.mark.parametrize("level", ["loud", "", 7, -1, 1 << 80, 2.5, None, object(), "\ud800"])
@pytest.mark.parametrize("records", [True, False])
def test_what_is_no_level_is_refused_in_every_state(
    record: Record, level: Any, records: bool
) -> None:
    if records:
        record.start()
    with pytest.raises(OptionError, match="choose one of mute, trace, debug, info"):
        narrate("a", "b", level=level)
    if records:
        assert record.stop().events == []


def test_the_filter_keeps_levels_out(record: Record) -> None:
    record.start(filter="warn")
    for tell in SISTERS.values():
        for _ in range(3):
            tell("a", "b")
    levels = [event.level.name for event in record.stop().events]
    assert levels == [name for name in ("WARN", "ERROR", "FATAL") for _ in range(3)]


# ---- wrong calls ----

WRONG = [
    (narrate, "missing required argument 'actor'"),
    (lambda: narrate("a"), "missing required argument 'action'"),
    (lambda: narrate("a", "b", actor="c"), "multiple values for argument 'actor'"),
    (lambda: narrate("a", "b", "c", "d", "e"), "at most 4 positional"),
    (lambda: narrate(1, "b"), "actor must be str, not int"),
    (lambda: narrate("a", "b", human=b"x"), "human must be str, not bytes"),
    (lambda: narrate("a", "b", extra=[1]), "extra must be a dict, not list"),
    (lambda: narrate("a", "b", extra={1: 2}), "names in extra must be str, not int"),
    (lambda: narrate("a", "b", stacklevel=0), "stacklevel must be an int of 1 or more"),
    (lambda: narrate("a", "b", stacklevel="up"), "stacklevel must be an int of 1 or more"),
    (lambda: gn.narrate_warn("a", "b", level="info"), "narrate_warn() has its level already"),
]


@pytest.mark.parametrize("records", [True, False])
def test_a_wrong_call_is_a_type_error_in_every_state(record: Record, records: bool) -> None:
    if records:
        record.start()
    for call, message in WRONG:
        with pytest.raises(TypeError) as caught:
            call()
        assert message in str(caught.value)
    if records:
        assert record.stop().events == []


# ---- where it comes from ----


def test_the_line_is_the_one_of_the_call(record: Record) -> None:
    record.start()
    narrate("a", "first")
    narrate("a", "second")
    line = line_here()
    found = [event.source_location for event in record.stop().events]
    assert found == [f"{__file__}:{line - 2}", f"{__file__}:{line - 1}"]


def wrapper(depth: int) -> None:
    narrate("a", "b", stacklevel=depth)


def test_a_wrapper_can_give_the_line_of_its_caller(record: Record) -> None:
    record.start()
    wrapper(2)
    line = line_here() - 1
    wrapper(10_000)
    near, far = record.stop().events
    assert near.source_location == f"{__file__}:{line}"
    assert far.source_location is not None  # the outermost there is


def test_a_builder_tells_from_where_it_is_emitted(record: Record) -> None:
    record.start()
    told = Narration("a", "b").human("said")
    told.emit()
    line = line_here() - 1
    (event,) = record.stop().events
    assert event.source_location == f"{__file__}:{line}"


def module_of(name: str, **contents: object) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(contents, narrate=narrate)
    exec("def tell(): narrate('a', 'b')", module.__dict__)
    return module


@pytest.mark.parametrize(
    ("name", "version", "emitter"),
    [
        ("nt_versioned.inner.part", "1.2.3", "nt_versioned@1.2.3"),
        ("nt_unversioned", None, "nt_unversioned"),
        ("pytest", None, f"pytest@{pytest.__version__}"),
    ],
)
def test_the_package_is_the_callers_with_its_version(
    record: Record, monkeypatch: Any, name: str, version: str | None, emitter: str
) -> None:
    if version is not None:
        package = name.partition(".")[0]
        monkeypatch.setitem(sys.modules, package, module_of(package, __version__=version))
    event = only(record, module_of(name).tell)
    assert (event.emitted_by, event.site.module) == (emitter, name)


def test_a_module_that_answers_for_every_name_is_not_asked(
    record: Record, monkeypatch: Any
) -> None:
    def answer(name: str) -> str:
        raise AssertionError(f"{name} was asked for")

    monkeypatch.setitem(sys.modules, "nt_lazy", module_of("nt_lazy", __getattr__=answer))
    assert only(record, module_of("nt_lazy.part").tell).emitted_by == "nt_lazy"


def test_what_the_caller_gives_wins(record: Record) -> None:
    event = only(
        record, lambda: narrate("a", "b", emitted_by="x@1", source_location="y:2", span_id="z")
    )
    fields: Any = jsonl.event_object(event, {})["fields"]
    assert [fields[name] for name in ("emitted_by", "source_location", "span_id")] == [
        "x@1", "y:2", "z",
    ]  # fmt: skip


def test_the_ids_of_its_spans_and_its_time_are_known(record: Record) -> None:
    record.start()
    with gn.correlation("req-9"), gn.span("a", "outer") as outer, gn.span("a", "inner") as inner:
        narrate("a", "told")
        ids = (inner.id, outer.id)
    recorded = record.stop()
    event = recorded.one("told")
    told = jsonl.event_object(event, {})
    fields: Any = told["fields"]
    assert told["correlation_id"] == "req-9"
    assert (fields["span_id"], fields["parent_span_id"]) == ids
    assert abs(fields["emitted_at_ms"] - time.time_ns() // 1_000_000) < 3_600_000


def test_endless_new_code_keeps_no_memory(record: Record) -> None:
    """GIVEN a new code object per event THEN what is kept of them is bounded."""
    record.start()
    scope = {"narrate": narrate}

    def tell(count: int) -> None:
        for i in range(count):
            exec(compile("narrate('a', 'b')", f"cell {i}", "exec"), scope)

    tell(12_000)
    gc.collect()
    before = sys.getallocatedblocks()
    tell(6_000)
    gc.collect()
    assert sys.getallocatedblocks() - before < 3_000
    record.stop()


def test_the_same_line_in_other_namespaces_is_another_place(record: Record) -> None:
    code = compile("narrate('a', 'b')", "shared.py", "exec")
    record.start()
    for name in ("nt_one", "nt_two", "nt_one"):
        exec(code, {"narrate": narrate, "__name__": name})
    modules = [event.site.module for event in record.stop().events]
    assert modules == ["nt_one", "nt_two", "nt_one"]


# ---- the builder ----


def test_a_builder_that_is_never_emitted_says_so() -> None:
    with pytest.warns(ResourceWarning, match=r"Narration\('a', 'b', ''\) was never emitted"):
        Narration("a", "b").human("lost")


def test_an_emitted_builder_says_nothing(record: Record) -> None:
    record.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = Narration("a", "b").human("x").cute("y").story("z").level("warn")
        number = told.correlation_id("req").emit()
        del told
    (event,) = record.stop().events
    assert (event.id, event.level, event.correlation) == (number, Level.WARN, "req")
    assert event.fields == {"cute": "y", "story": "z"}


def test_a_builder_takes_what_narrate_takes(record: Record) -> None:
    record.start()
    with pytest.raises(OptionError):
        Narration("a", "b").level("loud").emit()
    assert record.stop().events == []
