"""Ranges that are open when a recording or the program ends are closed all the same."""

from __future__ import annotations

import pytest

from tests.support.nvtx import ELSEWHERE, observe

#: A recording ends inside a span, which then ends by itself.
STOPPED_INSIDE = {
    "span": (
        1, 0,
        """
with span("a", "x"):
    narration.stop()
""",
    ),
    "function": (
        1, 0,
        """
@trace_fn
def work():
    narration.stop()
work()
""",
    ),
    "generator": (
        0, 1,
        """
@trace_fn
def count():
    yield 1
    yield 2
counting = count()
next(counting)
narration.stop()
list(counting)
""",
    ),
    "generator closed later": (
        0, 1,
        """
@trace_fn
def count():
    yield from range(5)
counting = count()
next(counting)
narration.stop()
counting.close()
""",
    ),
    "and another recording begins": (
        2, 0,
        """
with span("a", "old"):
    narration.stop()
    narration.start("u.gnt", backend="none")
    with span("a", "new"):
        pass
""",
    ),
    "and another thread closes it in the next recording": (
        1, 0,
        ELSEWHERE + """
opened = span("a", "lent")
opened.__enter__()
narration.stop()
narration.start("u.gnt", backend="none")
trace_tiny("a", "here", "again", "")
elsewhere(opened.__exit__, None, None, None)
""",
    ),
    "and the next recording has no tool": (
        1, 0,
        """
with span("a", "old"):
    narration.stop()
    narration.start("u.gnt", backend="none", nvtx="off")
""",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("pushed", "started", "body"), STOPPED_INSIDE.values(), ids=STOPPED_INSIDE)
def test_what_is_open_at_stop_is_closed_when_it_ends(tmp_path, pushed, started, body):
    """GIVEN an open span WHEN the recording stops in it THEN its range still ends once."""
    seen = observe(tmp_path, body)

    assert seen.log.unbalanced() == []
    assert (seen.log.count("push"), seen.log.count("start")) == (pushed, started)


def test_a_generator_that_is_open_at_the_end_of_the_program_ends_its_range(tmp_path):
    """GIVEN a suspended generator WHEN the program just ends THEN its range ends."""
    seen = observe(
        tmp_path,
        """
        @trace_fn
        def count():
            yield from range(5)
        counting = count()
        next(counting)
        """,
        stop="",
    )

    assert seen.log.shape() == ["start count", "end"]
