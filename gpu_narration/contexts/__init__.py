"""Contexts: which request, job or step the work belongs to.

The ids lie in a context variable, so tasks and ``asyncio.to_thread`` inherit them.
Every event recorded while they are set belongs to them, without passing them by hand.
docs/context.md is the page for users.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from gpu_narration._core import correlation_variable, current_span, redact_field, set_correlation
from gpu_narration.contexts.ids import TRACE_FIELDS, Ids, current_ids, ids_here, new_id, new_trace

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

    from gpu_narration.contexts.headers import Headers

__all__ = [
    "Ids",
    "context",
    "correlation",
    "correlation_id",
    "set_correlation_id",
]

P = ParamSpec("P")
R = TypeVar("R")

#: Names of ids that only an incoming request, or we, can give.
_TAKEN = frozenset((*TRACE_FIELDS, "span_id"))


class context:  # noqa: N801 - it is called where a function would be
    """Ids for a block: ``with context(job_id="job-123", session_id="s-9") as ids:``.

    correlation_id: of the request; default the one that is set here.  With no argument
        at all, and none set, a new one is made (UUIDv7).  The :class:`Ids` of another
        context are taken over whole.
    new_trace: begin a trace of one's own (W3C ``trace_id``) inside another's.
    ids: session_id, job_id, task_id, pool_id, replica_id, worker_id or names of your own.
        They are added to those that are set here; None takes one away.

    A block with a correlation id has a trace id as well: the one that is set here, else a
    new one.  Ids are written to the trace once, when the first event of the block is, and
    the reader joins them to all its events, spans and GPU work.

    For one block at a time.  Raises TypeError for a correlation id that is no str,
    OptionError for an id with the name of a part of the trace context.
    """

    __slots__ = ("_before", "_correlation_id", "_headers", "_ids", "_new_trace")

    def __init__(
        self, correlation_id: str | None = None, *, new_trace: bool = False, **ids: object
    ) -> None:
        if correlation_id is not None and not isinstance(correlation_id, str):
            kind = type(correlation_id).__name__
            raise TypeError(f"a correlation id must be str or None, not {kind}")
        self._correlation_id = correlation_id
        self._new_trace = new_trace
        self._ids = _checked(ids)
        self._headers: Headers | None = None
        self._before: list[str | None] = []

    @classmethod
    def from_headers(cls, headers: Headers, **ids: object) -> context:
        """A block for an incoming request: ``with context.from_headers(request.headers):``.

        headers: a mapping, or pairs of name and value, as str or bytes.  ``traceparent``
            and ``tracestate`` (W3C Trace Context) and ``X-Correlation-Id`` are taken over
            where they are valid.  What is not is replaced by new ids and counted
            (:meth:`refused`), never an error.
        """
        made = cls()
        made._ids = _checked(ids)
        made._headers = headers
        return made

    def __enter__(self) -> Ids:
        ids = self._made()
        self._before.append(correlation_variable.get(None))
        set_correlation(ids)
        return ids

    def __exit__(self, *exc_info: object) -> None:
        # By value: a generator may be closed in another context, where a token of this
        # one is refused.
        set_correlation(self._before.pop())

    def _made(self) -> Ids:
        here = ids_here()
        if self._headers is not None:
            from gpu_narration.contexts.headers import incoming

            came = incoming(self._headers)
            return _add(Ids(came, {**here.others, **came.fields}, current_span()), self._ids)
        if isinstance(self._correlation_id, Ids):
            given = self._correlation_id
            return _add(Ids(given, given.fields, current_span()), self._ids)
        name = self._correlation_id
        if name is None:
            name = str(here) or ("" if self._ids or here.fields else new_id())
        return _add(_named(here, str(name), new=self._new_trace), self._ids)

    # ---- what can be asked of the context that is set here ----

    @staticmethod
    def current() -> Ids | None:
        """The ids that are set here; None outside of all contexts."""
        return current_ids()

    @staticmethod
    def headers() -> dict[str, str]:
        """Headers for a request to another service, empty outside of all contexts.

        ``traceparent`` names the innermost span that is open here, so that the other
        service's spans lie inside it; ``tracestate`` goes on as it came;
        ``X-Correlation-Id`` is left out where the id has characters that no header may have.
        """
        from gpu_narration.contexts.headers import outgoing

        return outgoing(current_ids())

    @staticmethod
    def refused() -> dict[str, int]:
        """How often incoming headers were not taken over in this process, by reason."""
        from gpu_narration.contexts.headers import refused

        return refused()

    # ---- carrying it over ----

    @staticmethod
    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        """The function, to be run in the context that is set now: by a thread, a callback.

        Its spans lie in the span that is open now.  It may run many times, in several
        threads at once.  Raises TypeError for coroutine and generator functions, whose
        bodies run later: tasks inherit a context by themselves.
        """
        from gpu_narration.contexts.executors import wrap

        return wrap(function)

    @staticmethod
    def submit(
        executor: Executor, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        """``executor.submit`` that takes the context along, to threads and to processes.

        A process gets the ids, and makes spans of its own.
        """
        from gpu_narration.contexts.executors import submit

        return submit(executor, function, *args, **kwargs)


@contextmanager
def correlation(correlation_id: str | None = None) -> Iterator[str]:
    """Sets the correlation id for the block; makes a new one (UUIDv7) if none is given.

    >>> with correlation("job-123") as job:
    ...     job
    'job-123'

    Whatever else is set here stays: the trace, job_id and the like; :class:`context`
    sets those.
    """
    value = new_id() if correlation_id is None else str(correlation_id)
    before = correlation_variable.get(None)
    set_correlation(_named(ids_here(), value))
    try:
        yield value
    finally:
        set_correlation(before)  # by value: see context.__exit__


def correlation_id() -> str | None:
    """The correlation id that is set here, or None."""
    value = correlation_variable.get(None)
    return None if value is None else str(value) or None


def set_correlation_id(correlation_id: str | None) -> None:
    """Sets the correlation id for the rest of the current context; None takes it away.

    Raises TypeError for what is neither str nor None.
    """
    if correlation_id is not None and not isinstance(correlation_id, str):
        kind = type(correlation_id).__name__
        raise TypeError(f"a correlation id must be str or None, not {kind}")
    here = ids_here()
    ids = _named(here, str(correlation_id or ""))
    set_correlation(ids if ids or ids.fields else None)


def _named(here: Ids, correlation_id: str, *, new: bool = False) -> Ids:
    """The ids that are set here, under another correlation id; "" has no trace."""
    if not correlation_id:
        return Ids("", here.others)
    if here.trace_id is not None and not new:
        return Ids(correlation_id, here.fields, here.outer_span)
    return Ids(correlation_id, {**new_trace(correlation_id), **here.others}, current_span())


def _add(ids: Ids, more: dict[str, object]) -> Ids:
    for name, value in more.items():
        if value is None:
            ids.fields.pop(name, None)
        else:
            ids.fields[name] = redact_field(name, _plain(value))
    return ids


def _plain(value: object) -> object:
    if isinstance(value, str):
        return str.__str__(value)  # of an enumeration, the member's value
    of = type(value)
    return str(value) if (of.__module__, of.__qualname__) == ("uuid", "UUID") else value


def _checked(ids: dict[str, object]) -> dict[str, object]:
    if _TAKEN.isdisjoint(ids):
        return ids
    from gpu_narration._errors import OptionError

    raise OptionError(
        f"{', '.join(sorted(_TAKEN.intersection(ids)))} cannot be set by hand",
        meaning="where a context stands in a distributed trace comes from its traceparent header",
        next_step="use context.from_headers({'traceparent': …}), or another name",
    )
