"""Which capture a thread's events belong to: while a block is captured, its threads inherit that.

Only that: a thread gets none of the block's other ids, which it would not have outside of
tests.  Tasks and ``asyncio.to_thread`` inherit whole contexts by themselves.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from gpu_narration._core import correlation_variable, set_correlation
from gpu_narration.contexts.ids import Ids, current_ids, ids_here

#: The id, as it stands in the context of an event; one block inside another is ``outer/inner``.
FIELD = "capture_id"

_lock = threading.Lock()
_open = 0
_start: Callable[[threading.Thread], None] = threading.Thread.start
_submit: Callable[..., Future[Any]] = ThreadPoolExecutor.submit


def capture_id() -> str | None:
    """Of the block that is captured here."""
    ids = current_ids()
    value = None if ids is None else ids.fields.get(FIELD)
    return value if isinstance(value, str) else None


@contextmanager
def carried() -> Iterator[None]:
    """Threads and executors carry it over; as long as any such block is open."""
    global _open, _start, _submit  # noqa: PLW0603 - what is patched is there once
    with _lock:
        _open += 1
        if _open == 1:
            _start, _submit = threading.Thread.start, ThreadPoolExecutor.submit
            threading.Thread.start = _carrying_start  # type: ignore[method-assign]
            ThreadPoolExecutor.submit = _carrying_submit  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            if _open == 0:
                threading.Thread.start = _start  # type: ignore[assignment,method-assign]
                ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign]


def _carrying_start(self: threading.Thread) -> None:
    here = capture_id()
    if here is not None:
        self.run = functools.partial(_run, here, self.run)  # type: ignore[method-assign]
    _start(self)


def _carrying_submit(
    self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Future[Any]:
    return _submit(self, functools.partial(_run, capture_id(), fn, *args, **kwargs))


def _run(capture: str | None, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    before = correlation_variable.get(None)
    here = ids_here()
    fields = {name: value for name, value in here.fields.items() if name != FIELD}
    if capture is not None:
        fields[FIELD] = capture
    set_correlation(Ids(str(here), fields, here.outer_span) if here or fields else None)
    try:
        return function(*args, **kwargs)
    finally:
        set_correlation(before)
