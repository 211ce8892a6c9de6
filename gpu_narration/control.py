"""Steering a recording from outside: what is asked, what is answered, and by whom.

The command ``gpu-narration`` puts a request into the trace directory; every
process that records there looks for it now and then, does what it says, and puts
an answer beside it::

    control.json              the last request
    PID-START.control.json    what one process answered; there from its start on

Both are written under another name first and then renamed, so a reader never
sees half of one.  Neither side believes the directory: what does not belong to
the right user, is too large or does not parse is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from gpu_narration._errors import internal_error, say

REQUEST = "control.json"
VERBS = ("filter", "flush", "dump")

#: Between two looks for a request.
PERIOD_S = 1.0

#: What may be asked for in one request, or told in one answer.
_BYTES_MAX = 64 * 1024


class RefusedError(ValueError):
    """A file that is not to be believed; the text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """What all processes of a trace are asked to do.

    number: counts the requests of one trace.
    directives: for the verb filter; None asks for the filter in force.
    filter: the last one set by a request, the one with ``filter_number``; processes that
        begin later take it over, and those that missed that request.
    """

    number: int
    verb: str
    directives: str | None = None
    filter: str | None = None
    filter_number: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one process has to say.

    number: of the request it answers; at first of the last one before its time.
    done: whether it did what was asked; ``text`` tells more, or why not.
    signal: on this one it looks at once; None where it looks by itself only.
    polls: whether it looks by itself.
    """

    number: int
    done: bool = True
    text: str = ""
    signal: int | None = None
    polls: bool = True


Message = TypeVar("Message", Request, Answer)


def answer_name(process: str) -> str:
    """The file in which a process (``PID-START``) answers."""
    return f"{process}.{REQUEST}"


def read(path: Path, kind: type[Message], owners: set[int]) -> Message:
    """A request or an answer, if it belongs to one of the users.

    Raises FileNotFoundError, :class:`RefusedError`, or another OSError.
    """
    # A link or a pipe put in its place must neither be followed nor block us.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise RefusedError("it is no regular file")
        if facts.st_uid not in owners:
            raise RefusedError(f"it belongs to user {facts.st_uid}")
        if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise RefusedError("others can write to it")
        data = file.read(_BYTES_MAX + 1)
    if len(data) > _BYTES_MAX:
        raise RefusedError(f"it is larger than {_BYTES_MAX} bytes")
    return _parse(data, kind)


def _parse(data: bytes, kind: type[Message]) -> Message:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RefusedError("it is no JSON") from error
    if not isinstance(fields, dict) or set(fields) != set(kind.__dataclass_fields__):
        raise RefusedError("it has other fields than a message of this version")
    for name, value in fields.items():
        if not _fits(value, str(kind.__dataclass_fields__[name].type)):
            raise RefusedError(f"its {name} is {type(value).__name__}")
    return kind(**fields)


def _fits(value: Any, annotation: str) -> bool:
    allowed = annotation.split(" | ")
    return (type(value).__name__ if value is not None else "None") in allowed


def write(directory: Path, name: str, message: Request | Answer) -> None:
    """Puts a message in its place, whole; raises OSError."""
    made = directory / f".{name}.{os.getpid()}-{threading.get_native_id()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        made.unlink()  # of a process of the same number that died here
    descriptor = os.open(made, flags, 0o644)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o644)  # whatever the umask: the other side may be another user
            json.dump(asdict(message), file)
        made.rename(directory / name)
    except BaseException:
        with contextlib.suppress(OSError):
            made.unlink()
        raise


class Responder:
    """One process's side: looks for requests and answers them.

    ``act`` does what a request asks for and returns whether it was done, and a text.
    """

    def __init__(
        self,
        directory: Path,
        process: str,
        act: Callable[[Request], tuple[bool, str]],
        *,
        polls: bool,
        signal: int | None,
    ) -> None:
        self._directory = directory
        self._path = str(directory / REQUEST)
        self._name = answer_name(process)
        self._act = act
        self._polls = polls
        self._signal = signal
        self._number = 0
        self._seen: tuple[int, int] | None = None
        self._looking = threading.Lock()
        self._wanted = False
        self._closed = False
        self._complained = False

    def open(self) -> str | None:
        """Says that this process can be steered; the filter that a request before asked for."""
        self._seen = self._mark()
        wanted = None
        if self._seen is not None:
            with contextlib.suppress(OSError, RefusedError):
                request = self._read()
                self._number, wanted = request.number, request.filter
        with contextlib.suppress(OSError):  # the ring comes next, and is what has to be told of
            self._answer(Answer(self._number))
        return wanted

    def close(self) -> None:
        """Looks no more, and takes back what it has said."""
        self._closed = True
        with contextlib.suppress(OSError):
            (self._directory / self._name).unlink()

    def look(self) -> float | None:
        """Answers a request if there is a new one; when to look again.

        The watcher looks, and a signal handler may do so in the middle of that: so
        nothing is waited for, and who comes second has the first look again.
        """
        self._wanted = True
        while self._wanted and not self._closed and self._looking.acquire(blocking=False):
            try:
                self._wanted = False
                mark = self._mark()
                if mark is not None and mark != self._seen:
                    self._seen = mark
                    self._respond()
            finally:
                self._looking.release()
        return PERIOD_S if self._polls else None

    def _mark(self) -> tuple[int, int] | None:
        """What changes with each request; None where there was none."""
        try:
            facts = os.stat(self._path)  # noqa: PTH116 - a Path would double the cost
        except OSError:
            return None
        return facts.st_ino, facts.st_mtime_ns

    def _read(self) -> Request:
        request = read(Path(self._path), Request, {os.geteuid(), 0})
        if request.verb not in VERBS:
            raise RefusedError("it asks for what this version cannot do")
        return request

    def _respond(self) -> None:
        try:
            request = self._read()
        except FileNotFoundError:
            return
        except (OSError, RefusedError) as error:
            self._complain(error)
            self._put(Answer(self._number, done=False, text=f"the request was refused: {error}"))
            return
        before = self._number
        if request.number <= before:
            return
        self._number = request.number
        try:
            if before < request.filter_number < request.number:
                # The one that set it was replaced before we came to look.
                self._act(Request(request.filter_number, "filter", request.filter))
            done, text = self._act(request)
        except Exception as error:  # noqa: BLE001 - the program must not see it
            internal_error("control", error)
            done, text = False, f"it failed: {error!r}"
        self._put(Answer(request.number, done=done, text=text))

    def _put(self, answer: Answer) -> None:
        try:
            self._answer(answer)
        except OSError as error:
            self._complain(error)

    def _answer(self, answer: Answer) -> None:
        if not self._closed:
            whole = Answer(answer.number, answer.done, answer.text, self._signal, self._polls)
            write(self._directory, self._name, whole)

    def _complain(self, error: Exception) -> None:
        """Once: who can put files here could fill the program's stderr."""
        if not self._complained:
            self._complained = True
            say(f"a request in {self._directory} is not followed: {error} [control-refused]")


def next_request(
    directory: Path, owners: set[int], verb: str, directives: str | None, after: int
) -> Request:
    """The request that follows the one that is there, and any up to the number ``after``."""
    last = Request(after, verb)
    with contextlib.suppress(OSError, RefusedError):
        last = read(directory / REQUEST, Request, owners)
    number = max(after, last.number) + 1
    if directives is not None:
        return Request(number, verb, directives, directives, number)
    return Request(number, verb, None, last.filter, last.filter_number)
