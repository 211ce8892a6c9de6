"""A bar on stderr while a long trace is read, and what the shell's completion needs of one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpu_narration._errors import GpuNarrationError

if TYPE_CHECKING:
    import click

    from gpu_narration.tracefile import Event, Trace

#: How many events are read between two looks at the progress bar.
_STRIDE = 20_000


@contextmanager
def progress(trace: Trace) -> Iterator[Iterable[Event]]:
    """The events, with a bar on stderr if that is a terminal and they are many."""
    points = [point.monotonic_ns for p in trace.processes for point in p.decoder.clock.points]
    if not sys.stderr.isatty() or not points:
        yield trace.events()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    # Events come in the order of time, so the time of the last one tells how far it is.
    begin_ns, end_ns = min(points), max(points)
    bar = Progress(
        TextColumn("Reading {task.fields[count]:,} events"), BarColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    task = bar.add_task("read", total=max(end_ns - begin_ns, 1), count=0)

    def counted() -> Iterator[Event]:
        for count, event in enumerate(trace.events(), 1):
            if count % _STRIDE == 0:
                bar.update(task, completed=event.monotonic_ns - begin_ns, count=count)
                bar.start()  # short traces never show a bar; it may be started again
            yield event

    try:
        yield counted()
    finally:
        bar.stop()


def given_trace(ctx: click.Context) -> Trace | None:
    """The trace on a command line that is still written; None if there is none yet."""
    from gpu_narration.tracefile import Trace

    # With an option half written click leaves the arguments where they are.
    given = ctx.params.get("trace") or next(iter(ctx.args), None)
    try:
        return Trace(given or "")
    except (GpuNarrationError, OSError):
        return None
