"""Taking a context to other threads and processes.

Tasks and ``asyncio.to_thread`` inherit a context; a plain thread, an executor and a
callback from C do not.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

from gpu_narration._core import current_span, publish_span
from gpu_narration.contexts.ids import Ids, current_ids

P = ParamSpec("P")
R = TypeVar("R")


class ContextThreadPoolExecutor(ThreadPoolExecutor):
    """A pool whose work runs in the context of whoever submitted it; ``map`` as well."""

    def submit(
        self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:  # fmt: skip
        return super().submit(partial(_carried().run, fn, *args, **kwargs))


def wrap(function: Callable[P, R]) -> Callable[P, R]:
    if (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    ):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(
            f"context.wrap takes functions that run when they are called, not {name}; "
            "a task inherits the context in which it is made"
        )
    carried = _carried()

    @functools.wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> R:
        # A copy for each call: one context is entered by one thread at a time.
        return carried.copy().run(function, *args, **kwargs)

    return within


def submit(
    executor: Executor, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> Future[R]:
    if isinstance(executor, ContextThreadPoolExecutor):
        return executor.submit(function, *args, **kwargs)
    if isinstance(executor, ProcessPoolExecutor):
        return executor.submit(_run_with, current_ids(), function, args, kwargs)
    return executor.submit(partial(_carried().run, function, *args, **kwargs))


def _carried() -> Context:
    """A copy of the context that is current, in which the open span is the parent."""
    carried = copy_context()
    span = current_span()
    if span:
        carried.run(publish_span, span)
    return carried


def _run_with(
    ids: Ids | None, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> R:
    """In another process, which knows nothing of our context."""
    from gpu_narration.contexts import context

    if ids is None:
        return function(*args, **kwargs)
    with context(ids):
        return function(*args, **kwargs)
