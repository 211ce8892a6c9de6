"""The standard library's ``logging``: its records become narrations, narrations its records."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gpu_narration._errors import OptionError, internal_error, say
from gpu_narration._types import VOICES, Kind, Level
from gpu_narration.bridges.levels import from_logging, to_logging
from gpu_narration.bridges.told import VIA, as_text, tell
from gpu_narration.narration.levels import level_from

if TYPE_CHECKING:
    from gpu_narration.recorder import Recorder
    from gpu_narration.tracefile import Event
    from gpu_narration.tracefile.format import Value

#: What every record has; the rest is what the program gave as ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class NarrationHandler(logging.Handler):
    """Records of the program's loggers become narrations.

    ``logging.getLogger().addHandler(NarrationHandler())``.  The logger's name is the actor,
    the action ``log``, the function's name the target; levels are mapped (CRITICAL is FATAL,
    what lies below DEBUG is TRACE), fields of ``extra`` are fields, an exception is its
    type and text.  ``source_location`` is that of the record.  In a context the narration
    has its ids.

    What :class:`LoggingOutput` makes of narrations is not narrated again, nor does it make
    records of what came from here.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if "narration" in vars(record):
            return  # it was one
        text: object
        try:
            text = record.getMessage()
        except Exception as misfit:  # noqa: BLE001 - arguments that do not fit are the program's
            text = record.msg
            if record.args:
                text = f"{as_text(text)} (its arguments do not fit: {type(misfit).__name__})"
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        # A record that was made by hand may hold anything.
        number: object = record.levelno
        tell(
            "logging",
            from_logging(number) if isinstance(number, int) else Level.INFO,
            as_text(record.name or "root"),
            as_text(record.funcName or ""),
            text,
            location=f"{record.pathname}:{record.lineno}" if record.pathname else None,
            error=error,
            fields={k: v for k, v in vars(record).items() if k not in _STANDARD},
        )


class LoggingOutput:
    """Narrations of the recording that runs go to a logger, a moment after they are made.

    ``with gn.start("app.gnt"), LoggingOutput():``.  A thread of its own reads the trace and
    calls the logger's handlers, so who narrates waits for none of them.  A record has the
    narration's time, place and fields (``record.actor`` and so on are in
    ``record.narration``), and ``correlation_id`` and ``trace_id`` for formatters.

    logger: default ``logging.getLogger("gpu_narration")``.
    level: the lowest level that goes out.
    everything: trace events as well, as the sentences that ``show`` prints.
    voice: human, cute or story.

    A handler that raises loses the record that it raised for, and no other.

    A flight recorder's narrations come when it writes them out.  Raises OptionError where
    nothing records, for an unknown level or voice and for what is no logger.
    """

    def __init__(
        self,
        logger: logging.Logger | str = "gpu_narration",
        *,
        level: Level | str | int = Level.INFO,
        everything: bool = False,
        voice: str = "human",
        recorder: Recorder | None = None,
    ) -> None:
        from gpu_narration import recorder as recording
        from gpu_narration.tracefile.follow import Follower

        running = recorder if recorder is not None else recording.active()
        if running is None:
            raise OptionError(
                "nothing records that could go to a logger", next_step="call start() first"
            )
        if not isinstance(logger, (str, logging.Logger)):
            raise OptionError(
                f"a logger is meant, not {type(logger).__name__}",
                next_step="give one of the logging package, or its name",
            )
        if voice not in VOICES:
            raise OptionError(
                f"there is no voice {voice!r}", next_step=f"choose one of {', '.join(VOICES)}"
            )
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._level, self._everything, self._voice = level_from(level), everything, voice
        self._follower = Follower(running.path)
        self._flush = recording.flush
        self._give_up = 0.0
        self._has_failed = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu_narration-logging", daemon=True)
        self._thread.start()
        running.at_end(lambda _counts: self.close())

    def close(self, timeout_s: float = 10.0) -> None:
        """Waits until all that was narrated by now is out, and ends the thread."""
        self._give_up = time.monotonic() + timeout_s
        self._flush(timeout_s)
        self._closing.set()
        if self._thread is not threading.current_thread():  # a handler may stop the recording
            self._thread.join(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while True:
                closing = self._closing.wait(self._follower.pause_s)
                batch = self._follower.poll()
                own = [p for p in self._follower.processes() if p.pid == os.getpid()]
                indices = {process.index for process in own}
                for event in batch.events:
                    if event.process in indices and self._takes(event):
                        self._log(event)
                # In its first second a trace cannot tell times: its events wait for that.
                behind = any(process.behind_bytes for process in own)
                if batch.ended or (closing and (not behind or time.monotonic() > self._give_up)):
                    return
                if closing:
                    time.sleep(self._follower.pause_s)
        except Exception as error:  # noqa: BLE001 - of the trace; the program goes on
            internal_error("bridge to logging", error)

    def _takes(self, event: Event) -> bool:
        return (
            (self._everything or event.kind is Kind.NARRATION)
            and event.level >= self._level
            and VIA not in event.fields
        )

    def _log(self, event: Event) -> None:
        number = to_logging(event.level)
        try:
            if self._logger.isEnabledFor(number):
                learned = self._follower.annotations(event)
                self._logger.handle(self._record(event, learned, number))
        except Exception as error:  # noqa: BLE001 - of a handler or a filter of the program's
            if not self._has_failed:
                say(
                    f"a handler of the logger {self._logger.name!r} failed, "
                    f"the next narrations go on: {error!r}"
                )
            self._has_failed = True

    def _record(
        self, event: Event, learned: Mapping[str, Value], number: int
    ) -> logging.LogRecord:  # fmt: skip
        from gpu_narration.views.jsonl import event_object

        told = event_object(event, learned, self._voice)
        path, _, line = _location(event).rpartition(":")
        made = self._logger.makeRecord(
            self._logger.name, number, path or "(unknown file)", int(line) if line.isdigit() else 0,
            told["text"], (), None,
            extra={
                "narration": told,
                "correlation_id": event.correlation,
                "trace_id": event.context.get("trace_id"),
            },
        )  # fmt: skip
        created_ns = event.monotonic_ns + time.time_ns() - time.monotonic_ns()
        made.created = created_ns / 1e9
        made.msecs = created_ns // 1_000_000 % 1000
        return made


def _location(event: Event) -> str:
    """Where it was narrated, as ``file:line``; "" where that is not known."""
    given = event.fields.get("source_location", event.source_location)
    return given if isinstance(given, str) else ""
