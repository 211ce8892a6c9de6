"""Every range that a tool sees opened is closed, once and on its own thread.

Here for plain code, generators and threads; coroutines are in test_nvtx_async.py.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.nvtx import ELSEWHERE, observe

BOOM = """
class Boom(Exception): pass
def boom(): raise Boom("boom")
"""

#: Each opens exactly as many ranges as its number says, in push/pop and start/end.
WAYS_OUT = {
    "return": (1, 0, "trace_fn(lambda: 1)()"),
    "exception in a span": (
        1, 0,
        BOOM + """
try:
    with span("a", "x"):
        boom()
except Boom:
    pass
""",
    ),
    "exception through three functions": (
        3, 0,
        BOOM + """
@trace_fn
def inner(): boom()
@trace_fn
def middle(): inner()
@trace_fn
def outer(): middle()
try:
    outer()
except Boom:
    pass
""",
    ),
    "recursion": (
        50, 0,
        """
@trace_fn
def down(n):
    return down(n - 1) if n else 0
down(49)
""",
    ),
    "recursion without end": (
        200, 0,
        """
import sys
sys.setrecursionlimit(400)
calls = 0
@trace_fn
def down():
    global calls
    calls += 1
    if calls == 200:
        raise RecursionError
    down()
try:
    down()
except RecursionError:
    pass
""",
    ),
    "nested spans": (
        3, 0,
        """
with span("a", "outer"), span("a", "middle"):
    with span("a", "inner"):
        pass
""",
    ),
    "a span entered again inside itself": (
        2, 0,
        """
again = span("a", "again")
with again:
    with again:
        pass
""",
    ),
    "a span that is dropped open": (
        1, 0,
        """
def leave_open():
    opened = span("a", "dropped")
    opened.__enter__()
leave_open()
""",
    ),
    "a span that is dropped while an exception travels": (
        1, 0,
        """
def refuse(opened): raise ValueError("kept")
try:
    refuse(span("a", "dropped").__enter__())
except ValueError as error:
    assert str(error) == "kept"
try:
    [].index(span("a", "unused"))
except ValueError:
    pass
""",
    ),
    "ExitStack in odd order": (
        3, 0,
        """
from contextlib import ExitStack
first, second = ExitStack(), ExitStack()
first.enter_context(span("a", "one"))
second.enter_context(span("a", "two"))
first.enter_context(span("a", "three"))
first.close()
second.close()
""",
    ),
    "return out of with in a loop": (
        5, 0,
        """
def search():
    for i in range(10):
        with span("a", "try"):
            if i == 4:
                return i
search()
""",
    ),
    "sys.exit": (
        2, 0,
        """
import sys
@trace_fn
def leave():
    with span("a", "x"):
        sys.exit()
try:
    leave()
except SystemExit:
    pass
""",
    ),
    "generator run to its end": (
        0, 1,
        """
@trace_fn
def count():
    yield from range(5)
list(count())
""",
    ),
    "generator closed early": (
        0, 1,
        """
@trace_fn
def count():
    yield from range(5)
counting = count()
next(counting)
counting.close()
counting.close()
""",
    ),
    "generator dropped": (
        0, 1,
        """
@trace_fn
def count():
    yield from range(5)
next(count())
""",
    ),
    "generator thrown into": (
        0, 1,
        BOOM + """
@trace_fn
def count():
    yield from range(5)
counting = count()
next(counting)
try:
    counting.throw(Boom("boom"))
except Boom:
    pass
""",
    ),
    "generators interleaved": (
        0, 2,
        """
@trace_fn
def count(n):
    yield from range(n)
assert list(zip(count(3), count(4))) == [(0, 0), (1, 1), (2, 2)]
""",
    ),
    "generator never begun": (0, 0, "trace_fn((lambda: (yield)))()"),
    "generator finished on another thread": (
        0, 1,
        """
import threading
@trace_fn
def count():
    yield from range(5)
counting = count()
next(counting)
thread = threading.Thread(target=list, args=(counting,))
thread.start()
thread.join()
""",
    ),
    "spans in two generators interleaved": (
        0, 2,
        """
def count(name):
    with span("a", name):
        yield 1
        yield 2
list(zip(count("one"), count("two")))
""",
    ),
    "contextmanager": (
        0, 1,
        """
from contextlib import contextmanager
@contextmanager
def scope():
    with span("a", "x"):
        yield
with scope():
    pass
""",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("pushed", "started", "body"), WAYS_OUT.values(), ids=WAYS_OUT)
def test_each_way_out_of_a_span_closes_its_range(tmp_path, pushed, started, body):
    """GIVEN a way to leave spans WHEN a program takes it THEN each range was closed once."""
    seen = observe(tmp_path, body)

    assert seen.log.unbalanced() == []
    assert (seen.log.count("push"), seen.log.count("start")) == (pushed, started)


def test_threads_push_and_pop_on_their_own_stacks(tmp_path):
    """GIVEN 4 threads with 50 nested spans each WHEN they run at once THEN all is popped."""
    seen = observe(
        tmp_path,
        """
        import threading
        ready = threading.Barrier(4)
        @trace_fn
        def down(n):
            with span("a", "x"):
                return down(n - 1) if n else 0
        def work():
            ready.wait()
            down(24)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """,
    )

    assert seen.log.unbalanced() == []
    per_thread = Counter(call.tid for call in seen.log.of("push"))
    assert sorted(per_thread.values()) == [50] * 4


def test_a_span_closed_by_another_thread_is_popped_where_it_was_pushed(tmp_path):
    """GIVEN a span that a second thread closes WHEN the first goes on THEN it pops, in time."""
    seen = observe(
        tmp_path,
        ELSEWHERE
        + """
opened = span("a", "lent")
opened.__enter__()
elsewhere(opened.__exit__, None, None, None)
trace_tiny("a", "next", "event", "")
""",
    )

    assert seen.log.unbalanced() == []
    assert seen.log.shape() == ["push lent", "pop", "mark next"]


def test_a_pop_that_is_owed_is_made_before_the_enclosing_one(tmp_path):
    """GIVEN a span whose inner one another thread closes WHEN it ends THEN both are popped."""
    seen = observe(
        tmp_path,
        ELSEWHERE
        + """
with span("a", "outer"):
    opened = span("a", "lent")
    opened.__enter__()
    elsewhere(opened.__exit__, None, None, None)
""",
    )

    assert seen.log.unbalanced() == []
    assert seen.log.shape() == ["push outer", "push lent", "pop", "pop"]


def test_a_pop_that_is_owed_is_made_at_stop(tmp_path):
    """GIVEN a span that another thread closed last WHEN stop() comes THEN it is popped."""
    seen = observe(
        tmp_path,
        ELSEWHERE
        + """
opened = span("a", "lent")
opened.__enter__()
elsewhere(opened.__exit__, None, None, None)
""",
    )

    assert seen.log.unbalanced() == []
