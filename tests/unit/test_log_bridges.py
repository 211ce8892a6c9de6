"""Log records that become narrations, and narrations that become log records."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

import gpu_narration as gn
from gpu_narration._types import Kind, Level
from gpu_narration.bridges.logs import LoggingOutput, NarrationHandler
from gpu_narration.bridges.structlogs import NarrationProcessor
from gpu_narration.tracefile import Event
from gpu_narration.tracefile.format import Summary
from tests.conftest import Record, Recorded
from tests.support.run import run_python


def here() -> int:
    """The line that asks."""
    return sys._getframe(1).f_lineno


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger whose records become narrations."""
    made = logging.getLogger("tests.bridged")
    handler = NarrationHandler()
    made.addHandler(handler)
    made.setLevel(1)
    made.propagate = False
    yield made
    made.removeHandler(handler)


def only(recorded: Recorded) -> Event:
    (event,) = recorded.events
    return event


# ---- logging in ----


def test_a_record_becomes_a_narration(record: Record, logger: logging.Logger) -> None:
    record.start()
    logger.warning("loaded %s in %d ms", "llama", 5, extra={"job_id": "j-1", "tokens": 3})
    line = here() - 1
    event = only(record.stop())

    assert (event.kind, event.level) == (Kind.NARRATION, Level.WARN)
    assert event.names == (
        "tests.bridged", "log", "test_a_record_becomes_a_narration", "loaded llama in 5 ms",
    )  # fmt: skip
    assert (event.fields["job_id"], event.fields["tokens"]) == ("j-1", 3)
    assert event.fields["source_location"] == f"{__file__}:{line}"
    assert event.fields["via"] == "logging"


@pytest.mark.parametrize(
    ("number", "level"),
    [(1, Level.TRACE), (5, Level.TRACE), (10, Level.DEBUG), (20, Level.INFO), (25, Level.INFO),
     (30, Level.WARN), (40, Level.ERROR), (50, Level.FATAL), (60, Level.FATAL)],
)  # fmt: skip
def test_levels_are_mapped(
    record: Record, logger: logging.Logger, number: int, level: Level
) -> None:
    record.start()
    logger.log(number, "said")
    assert only(record.stop()).level is level


def test_an_exception_is_its_type_and_its_text(record: Record, logger: logging.Logger) -> None:
    record.start()
    try:
        raise ValueError("no pool")
    except ValueError:
        logger.exception("dispatch failed")
    event = only(record.stop())
    assert (event.level, event.fields["error_kind"]) == (Level.ERROR, "ValueError")
    assert event.fields["error"] == "no pool"


def test_arguments_that_do_not_fit_are_told_and_not_raised(record: Record) -> None:
    record.start()
    # By itself: pytest's own handler raises.
    NarrationHandler().handle(logging.makeLogRecord({"msg": "%d tokens", "args": ("many",)}))
    assert only(record.stop()).names[3] == "%d tokens (its arguments do not fit: TypeError)"


def test_fields_that_are_words_of_a_narration_keep_their_place(
    record: Record, logger: logging.Logger
) -> None:
    record.start()
    logger.info("said", extra={"actor": "a", "level": 7, "source_location": "s", "via": "v"})
    event = only(record.stop())
    assert event.names[0] == "tests.bridged"
    assert event.fields["via"] == "logging"
    assert {event.fields[f"log_{name}"] for name in ("actor", "level", "source_location", "via")} == {
        "a", 7, "s", "v",
    }  # fmt: skip


def test_a_record_in_a_context_has_its_ids(record: Record, logger: logging.Logger) -> None:
    record.start()
    with gn.context("req-1", job_id="j"):
        logger.info("said")
    event = only(record.stop())
    assert (event.correlation, event.context["job_id"]) == ("req-1", "j")


def test_values_that_are_no_plain_ones_are_summarised(
    record: Record, logger: logging.Logger
) -> None:
    record.start()
    logger.info("said", extra={"shape": [1, 2]})
    assert only(record.stop()).fields["shape"] == Summary("list[2]")


def test_a_record_made_while_one_is_told_is_told_no_more(
    record: Record, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVEN a narrate() that logs itself WHEN a record comes THEN there is no end of it, but one."""
    from gpu_narration.bridges import told

    real = told.narrate

    def narrate(*args: Any, **kwargs: Any) -> Any:
        logger.info("from inside")
        return real(*args, **kwargs)

    monkeypatch.setattr(told, "narrate", narrate)
    record.start()
    logger.info("from outside")
    assert only(record.stop()).names[3] == "from outside"


def test_without_a_recording_logging_goes_on(logger: logging.Logger) -> None:
    logger.info("said")


def test_many_threads_log_at_once(record: Record, logger: logging.Logger) -> None:
    record.start()

    def work(number: int) -> None:
        with gn.context(f"req-{number}"):
            for _ in range(50):
                logger.info("said", extra={"number": number})

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = record.stop().events
    assert len(events) == 400
    assert all(event.correlation == f"req-{event.fields['number']}" for event in events)


# ---- structlog in ----


@pytest.fixture
def bound() -> Iterator[Any]:
    """A structlog logger whose events become narrations and go nowhere else."""
    structlog.configure(processors=[structlog.stdlib.add_log_level, NarrationProcessor(drop=True)])
    yield structlog.get_logger()
    structlog.reset_defaults()


def test_an_event_of_structlog_becomes_a_narration(record: Record, bound: Any) -> None:
    record.start()
    bound.bind(job_id="j").warning("loaded", model="llama")
    line = here() - 1
    event = only(record.stop())
    assert (event.level, event.names[0], event.names[3]) == (Level.WARN, "structlog", "loaded")
    assert (event.fields["job_id"], event.fields["model"]) == ("j", "llama")
    assert event.fields["source_location"] == f"{__file__}:{line}"
    assert event.fields["via"] == "structlog"


def test_structlogs_own_caller_goes_before_ours(record: Record) -> None:
    caller = structlog.processors.CallsiteParameterAdder()
    structlog.configure(processors=[caller, NarrationProcessor(drop=True)])
    record.start()
    structlog.get_logger().info("said")
    line = here() - 1
    event = only(record.stop())
    structlog.reset_defaults()
    assert event.fields["source_location"] == f"{__file__}:{line}"
    assert event.names[2] == "test_structlogs_own_caller_goes_before_ours"


def test_an_exception_of_structlog_is_told(record: Record, bound: Any) -> None:
    record.start()
    try:
        raise KeyError("pool")
    except KeyError:
        bound.exception("failed")
    event = only(record.stop())
    assert (event.level, event.fields["error_kind"]) == (Level.ERROR, "KeyError")


def test_an_event_goes_on_to_the_next_processor_as_it_came() -> None:
    event = {"event": "said", "job_id": "j"}
    assert NarrationProcessor()(None, "info", event) is event
    assert event == {"event": "said", "job_id": "j"}


@pytest.mark.parametrize(
    ("method", "level"),
    [("debug", Level.DEBUG), ("info", Level.INFO), ("warn", Level.WARN), ("critical", Level.FATAL),
     ("fatal", Level.FATAL), ("msg", Level.INFO)],
)  # fmt: skip
def test_the_level_is_that_of_the_method(record: Record, method: str, level: Level) -> None:
    record.start()
    NarrationProcessor()(None, method, {"event": "said"})
    assert only(record.stop()).level is level


# ---- logging out ----


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[Kept]:
    """What comes out of the logger ``tests.out``."""
    handler = Kept()
    out = logging.getLogger("tests.out")
    out.addHandler(handler)
    out.setLevel(1)
    out.propagate = False
    yield handler
    out.removeHandler(handler)


def test_narrations_go_to_a_logger(record: Record, kept: Kept) -> None:
    import time

    record.start()
    before = time.time()
    with LoggingOutput("tests.out"), gn.context("req-1", job_id="j") as ids:
        gn.narrate("queue", "admit", "job-1", "Admitted job-1", level="warn", queue_position=3)
        line = here() - 1
        gn.trace_tiny("queue", "detail", "", "")
        gn.narrate("queue", "detail", "", "Too fine", level="debug")
    after = time.time()
    record.stop()

    (made,) = kept.records
    assert (made.levelno, made.getMessage(), made.name) == (30, "Admitted job-1", "tests.out")
    assert (made.correlation_id, made.trace_id) == ("req-1", ids.trace_id)  # type: ignore[attr-defined]
    assert (made.pathname, made.lineno) == (__file__, line)
    told = made.narration  # type: ignore[attr-defined]
    assert (told["actor"], told["fields"]["queue_position"]) == ("queue", 3)
    assert told["context"]["job_id"] == "j"
    assert before - 0.1 <= made.created <= after + 0.1


def test_all_events_go_out_where_they_are_asked_for(record: Record, kept: Kept) -> None:
    record.start()
    with LoggingOutput("tests.out", level=Level.TRACE, everything=True):
        gn.trace_tiny("tokenizer", "decode", "", "Decoding token {} of {}", 5, 100)
    record.stop()
    assert [(r.levelno, r.getMessage()) for r in kept.records] == [(5, "Decoding token 5 of 100")]


@pytest.mark.parametrize("level", list(Level)[1:])
def test_levels_go_out_as_numbers_of_logging(record: Record, kept: Kept, level: Level) -> None:
    record.start()
    with LoggingOutput("tests.out", level=Level.TRACE):
        gn.narrate("a", "b", "", "Said", level=level)
    record.stop()
    numbers = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40, "FATAL": 50}
    assert [made.levelno for made in kept.records] == [numbers[level.name]]


def test_in_and_out_at_once_is_no_circle(record: Record, kept: Kept) -> None:
    """GIVEN one logger that leads in and out WHEN something is logged and narrated THEN each once."""
    out = logging.getLogger("tests.out")
    inward = NarrationHandler()
    out.addHandler(inward)
    record.start()
    try:
        with LoggingOutput("tests.out"):
            out.warning("logged")
            gn.narrate("a", "b", "", "Narrated")
    finally:
        out.removeHandler(inward)
    recorded = record.stop()
    assert [made.getMessage() for made in kept.records] == ["logged", "Narrated"]
    assert [event.names[3] for event in recorded.events] == ["logged", "Narrated"]


def test_the_end_of_the_recording_ends_it_and_all_is_out(record: Record, kept: Kept) -> None:
    recorder = record.start()
    output = LoggingOutput("tests.out", recorder=recorder)
    for i in range(2000):
        gn.narrate("a", "b", "", f"Said {i}")
    record.stop()
    assert not output._thread.is_alive()
    assert [made.getMessage() for made in kept.records] == [f"Said {i}" for i in range(2000)]


def test_it_needs_a_recording() -> None:
    with pytest.raises(gn.OptionError, match="nothing records"):
        LoggingOutput()


def test_a_handler_that_fails_loses_only_the_record_it_failed_for(
    record: Record, kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    class Moody(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "2" in record.getMessage():
                raise OSError("gone")

    moody, out = Moody(), logging.getLogger("tests.out")
    out.addHandler(moody)
    out.handlers.reverse()  # it fails first, so nothing of that record is kept
    recorder = record.start()
    with LoggingOutput("tests.out", recorder=recorder):
        for i in range(1, 5):
            gn.narrate("a", "b", "", f"Said {i}")
    record.stop()
    out.removeHandler(moody)
    assert [made.getMessage() for made in kept.records] == ["Said 1", "Said 3", "Said 4"]
    assert capsys.readouterr().err.count("a handler of the logger 'tests.out' failed") == 1


@pytest.mark.parametrize(
    "options", [{"logger": 5}, {"level": "loud"}, {"voice": "shouted"}, {"logger": None}]
)
def test_an_output_that_cannot_be_is_refused_at_once(record: Record, options: Any) -> None:
    recorder = record.start()
    with pytest.raises(gn.OptionError):
        LoggingOutput(**{"recorder": recorder, **options})
    record.stop()


class Unprintable:
    """As an object of the program's may be."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    "fields",
    [
        {"msg": Unprintable()},
        {"msg": "x", "levelno": None},
        {"msg": "x", "levelno": "high"},
        {"msg": "x", "name": 5, "funcName": 7},
        {"msg": "x", "exc_info": True},
        {"msg": "x %s", "args": (Unprintable(),)},
        {"msg": Unprintable(), "args": (1,)},
    ],
)
def test_a_record_that_was_made_badly_never_breaks_who_logs(record: Record, fields: Any) -> None:
    record.start()
    NarrationHandler().emit(logging.makeLogRecord(fields))
    assert only(record.stop()).level is Level.INFO


def test_an_event_of_structlog_that_has_no_text_is_told_by_its_type(record: Record) -> None:
    record.start()
    NarrationProcessor()(None, "info", {"event": Unprintable(), "logger": Unprintable()})
    event = only(record.stop())
    assert (event.names[0], event.names[3]) == ("<Unprintable>", "<Unprintable>")


def test_the_bridges_are_not_loaded_with_the_package() -> None:
    done = run_python(
        "import sys, gpu_narration; "
        "print([m for m in sys.modules if 'bridges' in m or m in ('structlog', 'logging')])"
    )
    assert done.stdout == "[]\n"
