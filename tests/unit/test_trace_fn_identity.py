"""A traced function passes for the function that it stands for."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import re
import traceback

import pytest

from gpu_narration import trace_fn

_TIME = re.compile(r"elapsed_ms=\d+\.\d+")


def untimed(lines):
    """Lines without the times in them."""
    return [_TIME.sub("elapsed_ms=_", line) for line in lines]


@trace_fn(actor="orchestratord")
def dispatch_job(job_id, pool_id="default"):
    if pool_id is None:
        raise ValueError("no pool")
    return "worker-gpu0-r1"


traced = trace_fn(actor="t")


class Worker:
    """Has a method."""

    @traced
    def plain(self, x):
        return (self, x)


def plain_function(a: int, b: str = "x", *c: int, d: float = 1.0, **e: int) -> str:
    """Says something."""
    return f"{a}{b}"


def test_the_signature_is_that_of_the_function():
    assert inspect.signature(trace_fn(plain_function)) == inspect.signature(plain_function)


@pytest.mark.parametrize(
    "name",
    ["__name__", "__qualname__", "__doc__", "__module__", "__annotations__", "__defaults__", "__kwdefaults__", "__code__", "__globals__"],
)  # fmt: skip
def test_an_attribute_is_that_of_the_function(name):
    assert getattr(trace_fn(plain_function), name) == getattr(plain_function, name)


def test_the_function_is_found_under_wrapped():
    assert inspect.unwrap(trace_fn(plain_function)) is plain_function


def test_an_attribute_that_the_program_sets_stays():
    function = trace_fn(plain_function)
    function.registered = True
    assert (function.registered, function.__dict__["registered"]) == (True, True)


QUESTIONS = {
    "isfunction": inspect.isfunction,
    "isroutine": inspect.isroutine,
    "iscoroutinefunction": inspect.iscoroutinefunction,
    "isgeneratorfunction": inspect.isgeneratorfunction,
    "isasyncgenfunction": inspect.isasyncgenfunction,
    "callable": callable,
}


def a_generator():
    yield 1


async def a_coroutine():
    return 1


async def an_async_generator():
    yield 1


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("function", [plain_function, a_generator, a_coroutine, an_async_generator])
def test_inspect_says_the_same_of_the_traced_function(question, function):
    ask = QUESTIONS[question]
    assert ask(trace_fn(function)) == ask(function)


def test_a_traced_function_is_pickled_by_name():
    assert pickle.loads(pickle.dumps(dispatch_job)) is dispatch_job


def test_a_traced_method_is_pickled_by_name():
    assert pickle.loads(pickle.dumps(Worker.plain)) is Worker.__dict__["plain"]


def test_a_traced_function_is_its_own_copy():
    assert copy.deepcopy(dispatch_job) is copy.copy(dispatch_job) is dispatch_job


def test_a_traced_function_is_hashable_and_equal_to_itself_alone():
    other = trace_fn(plain_function)
    assert {dispatch_job: 1}.get(dispatch_job) == 1
    assert other != plain_function


def test_decorating_twice_is_decorating_once():
    function = trace_fn(plain_function)
    assert trace_fn(function) is function


def test_a_traced_function_can_be_weakly_referenced_and_dies():
    import gc
    import weakref

    @traced
    def local():
        return None

    reference = weakref.ref(local)
    del local
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("what", [int, 5, None, "x", functools.partial(plain_function)])
def test_what_is_no_function_is_refused(what):
    if what is None:
        assert callable(trace_fn(None))
        return
    with pytest.raises(TypeError):
        trace_fn(what)


def test_no_frame_of_ours_is_in_a_traceback(record):
    record.start()
    try:
        dispatch_job("j", None)
    except ValueError as error:
        files = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
        depth = len(traceback.extract_tb(error.__traceback__))
    record.stop()
    assert (files, depth) == ({__file__}, 2)


def test_the_exception_that_comes_out_is_the_one_that_went_in(record):
    raised = KeyError("x")

    @traced
    def fails():
        raise raised

    record.start()
    with pytest.raises(KeyError) as caught:
        fails()
    record.stop()
    assert caught.value is raised


def test_strip_gives_the_very_same_function_back(monkeypatch):
    monkeypatch.setenv("GPU_NARRATION_STRIP", "1")
    assert trace_fn(plain_function) is trace_fn(actor="x")(plain_function) is plain_function
