"""The correlation id: which request, job or step the work belongs to.

It lives in a context variable, so tasks and ``asyncio.to_thread`` inherit it.
Every event recorded while it is set belongs to it, without passing it by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gpu_narration._core import correlation_variable, set_correlation


@contextmanager
def correlation(correlation_id: str | None = None) -> Iterator[str]:
    """Sets the correlation id for the block; makes a new one if none is given.

    >>> with correlation("job-123") as job:
    ...     job
    'job-123'
    """
    value = _new_id() if correlation_id is None else str(correlation_id)
    before = correlation_variable.get(None)
    set_correlation(value)
    try:
        yield value
    finally:
        # By value: a generator may be closed in another context, where a token
        # of this one is refused.
        set_correlation(before)


def _new_id() -> str:
    import uuid

    return uuid.uuid4().hex


def correlation_id() -> str | None:
    """The correlation id that is set here, or None."""
    return correlation_variable.get(None)


def set_correlation_id(correlation_id: str | None) -> None:
    """Sets the correlation id for the rest of the current context."""
    set_correlation(correlation_id)
