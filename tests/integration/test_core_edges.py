"""Edges of the core that only hostile programs reach."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from gpu_narration import trace_fn, trace_tiny, trace_with_correlation
from tests.support.run import run_python


def test_names_that_fill_the_record_leave_one_whole_event(record):
    """GIVEN names made for one call, longer together than a record THEN what fits is there."""
    record.start()
    trace_with_correlation(
        *(f"{letter}" * 4000 + f"{len(letter)}" for letter in "abcd"), "r" * 900, 1
    )
    trace_tiny("a", "b", "after", "")
    recorded = record.stop()
    first, second = recorded.events
    assert [name.rstrip("…")[-1] for name in first.names] == list("abcd")
    assert first.left_out == 2
    assert second.names[2] == "after"


def _with_start(error, start):
    error.start = start
    return error


@pytest.mark.parametrize(
    "error",
    [
        UnicodeDecodeError.__new__(UnicodeDecodeError),
        UnicodeEncodeError.__new__(UnicodeEncodeError),
        _with_start(UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), -5),
        _with_start(UnicodeEncodeError("utf-8", "x", 0, 1, "bad"), 1 << 40),
        BaseExceptionGroup("many", [ValueError(object())]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_half_made_or_bent_ends_its_span(record, error):
    @trace_fn
    def fails():
        raise error

    record.start()
    with pytest.raises(type(error)):
        fails()
    recorded = record.stop()
    assert recorded.lines[-1].startswith(f'TRACE tests fails error="{type(error).__name__}')


def test_a_subinterpreter_is_told_that_it_cannot_record():
    modules = ("_interpreters", "_xxsubinterpreters")
    name = next((m for m in modules if importlib.util.find_spec(m) is not None), None)
    if name is None:
        pytest.skip("this Python has no module to make interpreters with")
    code = (
        "try:\n    import gpu_narration\n"
        "except ImportError as error:\n    assert 'main interpreter' in str(error), error\n"
        "else:\n    raise SystemExit('it was imported')\n"
    )
    run_python(f"""
        import sys
        sys.path[:0] = {sys.path!r}
        import gpu_narration, {name} as interpreters
        try:
            interpreter = interpreters.create("legacy")
        except TypeError:
            interpreter = interpreters.create(isolated=False)
        failed = interpreters.run_string(interpreter, {code!r})
        assert failed is None, failed
        gpu_narration.trace_tiny("a", "b", "c", "d")
    """)
