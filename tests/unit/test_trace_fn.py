"""trace_fn: a call of a function is one span, and nobody else notices."""

from __future__ import annotations

import functools
import re

import pytest

from gpu_narration import set_filter, stats, trace_fn, trace_tiny

_TIME = re.compile(r"elapsed_ms=\d+\.\d+")


def untimed(lines):
    """Lines without the times in them."""
    return [_TIME.sub("elapsed_ms=_", line) for line in lines]


@trace_fn(actor="orchestratord")
def dispatch_job(job_id, pool_id="default"):
    if pool_id is None:
        raise ValueError("no pool")
    return "worker-gpu0-r1"


def test_a_call_is_a_line_when_it_starts_and_one_when_it_completes(record):
    record.start()
    dispatch_job("job-123")
    assert untimed(record.stop().lines) == [
        'TRACE orchestratord dispatch_job job_id="job-123" pool_id="default" "dispatch_job started"',
        'TRACE orchestratord dispatch_job result="worker-gpu0-r1" elapsed_ms=_ "dispatch_job completed"',
    ]


def test_a_call_that_raises_is_a_line_that_says_what_failed(record):
    record.start()
    with pytest.raises(ValueError, match="no pool"):
        dispatch_job("job-123", pool_id=None)
    assert untimed(record.stop().lines) == [
        'TRACE orchestratord dispatch_job job_id="job-123" pool_id=None "dispatch_job started"',
        'TRACE orchestratord dispatch_job error="ValueError: no pool" elapsed_ms=_ "dispatch_job failed"',
    ]


def arguments_of(record, function, *args, **kwargs):
    """What the line of a call says between the name and the sentence."""
    record.start()
    function(*args, **kwargs)
    line = record.stop().lines[0]
    return line.split(" ", 3)[3].rpartition('"' + function.__name__)[0].strip()


traced = trace_fn(actor="t")


@traced
def everything(first, /, second, *rest, third, fourth=4, **others):
    return None


@traced
def with_defaults(a=1, b="x", c=None, d=2.5, e=(), *, f=True):
    return None


@traced
def secrets(user, password, api_key=None, *, token="", key="", hf_token="x", **options):
    return None


@traced
def positions(*args):
    return None


CALLS = {
    "positional": (
        lambda r: arguments_of(r, everything, 1, 2, third=3),
        "first=1 second=2 third=3 fourth=4",
    ),
    "rest and others": (
        lambda r: arguments_of(r, everything, 1, 2, "x", third=3, five=5),
        'first=1 second=2 arg2="x" third=3 five=5 fourth=4',
    ),
    "keywords out of order": (
        lambda r: arguments_of(r, everything, 1, third=3, second=2, fourth=9),
        "first=1 third=3 second=2 fourth=9",
    ),
    "defaults": (
        lambda r: arguments_of(r, with_defaults),
        'a=1 b="x" c=None d=2.5 f=true',
    ),
    "defaults given": (
        lambda r: arguments_of(r, with_defaults, 5, f=False),
        'a=5 f=false b="x" c=None d=2.5',
    ),
    "positions": (
        lambda r: arguments_of(r, positions, 1, "b"),
        'arg0=1 arg1="b"',
    ),
    "secrets by position": (
        lambda r: arguments_of(r, secrets, "me", "pw", "abc"),
        'user="me" password=••• api_key=•••',
    ),
    "secrets by name": (
        lambda r: arguments_of(r, secrets, user="me", password="pw", api_key="k", hf_token="h"),
        'user="me" password=••• api_key=••• hf_token=•••',
    ),
    "token and key that are words": (
        lambda r: arguments_of(r, secrets, "me", "pw", token="Hello", key="blk.0.attn_k.weight"),
        'user="me" password=••• token="Hello" key="blk.0.attn_k.weight"',
    ),
    "token and key that are credentials": (
        lambda r: arguments_of(
            r, secrets, "me", "pw", token="sk-abcdefghijklmnop", key="AKIAIOSFODNN7EXAMPLE"
        ),
        'user="me" password=••• token=••• key=•••',
    ),
    "token that is a number": (
        lambda r: arguments_of(r, secrets, "me", "pw", token=15043),
        'user="me" password=••• token=15043',
    ),
    "secrets among the others": (
        lambda r: arguments_of(r, secrets, "me", "pw", db_password="x", Authorization="y", port=1),
        'user="me" password=••• db_password=••• Authorization=••• port=1',
    ),
    "hostile argument": (
        lambda r: arguments_of(r, positions, [1, 2], {"a": 1}),
        'arg0="list[2]" arg1="dict[1]"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_the_arguments_of_a_call_are_shown_by_name(record, name):
    call, expected = CALLS[name]
    assert call(record) == expected


def test_the_result_of_a_function_with_a_secret_name_is_masked(record):
    @traced
    def read_password():
        return "hunter2"

    record.start()
    read_password()
    assert "result=••• " in record.stop().lines[1]


def test_a_secret_is_masked_after_thousands_of_other_keywords(record):
    record.start()
    for i in range(5000):
        positions_and_names(**{f"name_{i}": i})
    positions_and_names(client_secret="hunter2")
    assert "client_secret=•••" in record.stop().lines[-2]


@traced
def positions_and_names(*args, **kwargs):
    return None


def test_no_secret_value_is_anywhere_in_the_trace_files(record):
    recorder = record.start()
    secrets("me", "hunter2-pos", "hunter2-key", hf_token="hunter2-hf", db_password="hunter2-db")
    record.stop()
    assert all(b"hunter2" not in path.read_bytes() for path in recorder.path.iterdir())


class Worker:
    """Methods of every sort."""

    @traced
    def plain(self, x):
        return (self, x)

    @staticmethod
    @traced
    def static(x):
        return x

    @traced
    @staticmethod
    def static_below(x):
        return x

    @classmethod
    @traced
    def of_class(cls, x):
        return (cls, x)

    @traced
    @classmethod
    def of_class_below(cls, x):
        return (cls, x)

    @property
    @traced
    def size(self):
        return 3

    @traced
    def __call__(self, x):
        return x


METHODS = {
    "instance": (lambda w: w.plain(1), "plain x=1"),
    "class with instance": (lambda w: Worker.plain(w, 1), "plain x=1"),
    "bound before": (lambda w: functools.partial(w.plain)(1), "plain x=1"),
    "static": (lambda w: w.static(1), "static x=1"),
    "static of class": (lambda _: Worker.static(1), "static x=1"),
    "static below": (lambda w: w.static_below(1), "static_below x=1"),
    "classmethod": (lambda w: w.of_class(1), "of_class x=1"),
    "classmethod below": (lambda _: Worker.of_class_below(1), "of_class_below x=1"),
    "property": (lambda w: w.size, "size"),
    "dunder call": (lambda w: w(1), "__call__ x=1"),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_shown_without_self_and_gives_what_it_gives(record, name):
    call, expected = METHODS[name]
    worker = Worker()
    silent = call(worker)
    record.start()
    loud = call(worker)
    recorded = record.stop()
    assert (len(recorded.events), recorded.lines[0].rpartition(' "')[0], loud) == (
        2,
        f"TRACE t {expected}",
        silent,
    )


def test_a_recursive_function_opens_a_span_within_the_span(record):
    @traced
    def depth(n):
        return 0 if n == 0 else 1 + depth(n - 1)

    record.start()
    assert depth(5) == 5
    begins = [event for event in record.stop().events if event.phase.value == "begin"]
    assert [event.span for event in begins] == [None, *[event.id for event in begins[:-1]]]


def test_a_recursion_without_end_is_still_a_recursion_error(record):
    @traced
    def endless(n):
        return endless(n + 1)

    record.start()
    with pytest.raises(RecursionError):
        endless(0)
    recorded = record.stop()
    begins = sum(event.phase.value == "begin" for event in recorded.events)
    assert recorded.outcomes("endless") == ["ERROR"] * begins


# ---- errors ----


ERRORS = {
    "key": (lambda: KeyError("x"), "KeyError: 'x'"),
    "empty": (RuntimeError, "RuntimeError"),
    "os": (lambda: FileNotFoundError(2, "No such file", "/x"), "FileNotFoundError: [Errno 2] No such file: '/x'"),
    "two arguments": (lambda: ValueError("a", 1), "ValueError: ('a', 1)"),
    "interrupt": (KeyboardInterrupt, "KeyboardInterrupt"),
    "exit": (lambda: SystemExit(3), "SystemExit: 3"),
    "own str": (lambda: OwnStr("given"), "OwnStr: given"),
    "lines": (lambda: ValueError("a\nb"), "ValueError: a\\nb"),
    "object": (lambda: ValueError([1, 2]), "ValueError: list[2]"),
}  # fmt: skip


class OwnStr(Exception):  # noqa: N818
    """Its text is the program's code."""

    def __str__(self):
        raise AssertionError("the program's own code was run")


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_shown_by_its_type_and_text(record, name):
    make, shown = ERRORS[name]

    @traced
    def fails():
        raise make()

    record.start()
    with pytest.raises(BaseException):  # noqa: B017
        fails()
    assert f'error="{shown}" ' in record.stop().lines[1]


def test_the_file_name_of_an_os_error_is_not_asked_for_its_repr(record):
    asked = []

    class Name:
        def __repr__(self):
            asked.append(self)
            return "name"

    @traced
    def fails():
        raise OSError(2, "No such file", Name())

    record.start()
    with pytest.raises(OSError):
        fails()
    record.stop()
    assert asked == []


# ---- sites ----


def test_a_closure_decorated_in_a_loop_is_one_site(record):
    def make(n):
        @traced
        def closure(x):
            return n + x

        return closure

    record.start()
    results = [make(n)(1) for n in range(100)]
    recorded = record.stop()
    assert (results, len({event.site.id for event in recorded.events})) == (
        [n + 1 for n in range(100)],
        1,
    )


def test_closures_with_defaults_of_their_own_do_not_show_each_others(record):
    def make(n):
        @traced
        def closure(x=n):
            return x

        return closure

    record.start()
    for n in range(3):
        make(n)()
    shown = [line for line in record.stop().lines if "started" in line]
    assert all(f"x={n}" in line or "x=" not in line for n, line in enumerate(shown))


def test_closures_with_defaults_of_their_own_use_few_sites(record):
    def make(n):
        @traced
        def closure(x=n):
            return x

        return closure

    record.start()
    for n in range(100):
        make(n)()
    assert len({event.site.id for event in record.stop().events}) <= 2


# ---- off ----


def test_without_a_recording_a_function_works_and_records_nothing():
    assert (dispatch_job("j"), stats()) == ("worker-gpu0-r1", None)


def test_a_wrong_call_is_the_functions_own_type_error(record):
    record.start()
    with pytest.raises(TypeError, match=r"dispatch_job\(\) missing 1 required"):
        dispatch_job()
    record.stop()


def test_a_filter_that_keeps_the_actor_out_lets_the_function_run(record):
    record.start()
    set_filter("t=off")
    assert everything(1, 2, third=3) is None
    assert record.stop().events == []


def test_a_span_that_was_open_when_the_filter_changed_still_ends(record):
    @traced
    def switching():
        set_filter("off")
        trace_tiny("t", "inside", "", "")

    record.start()
    switching()
    recorded = record.stop()
    assert (len(recorded.events), recorded.outcomes("switching")) == (2, ["OK"])


def test_the_actor_is_the_first_package_of_the_module(record):
    record.start()
    trace_fn(lambda: None)()
    assert record.stop().events[0].names[0] == __name__.partition(".")[0]
