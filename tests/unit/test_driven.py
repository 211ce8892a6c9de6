"""Generators of traced functions: one span each, ended once."""

from __future__ import annotations

import gc

import pytest

from gpu_narration import span, trace_fn, trace_tiny

traced = trace_fn(actor="t")


@traced
def count(n):
    """Yields and listens; says how it was treated."""
    total = 0
    try:
        for i in range(n):
            total += (yield i) or 0
    except ValueError:
        yield "caught"
    finally:
        trace_tiny("t", "cleanup", "", "")
    return total


def consume(generator):
    return list(generator)


def send(generator):
    return [next(generator), generator.send(5), generator.send(7)]


def throw(generator):
    return [next(generator), generator.throw(ValueError("x"))]


def throw_through(generator):
    next(generator)
    with pytest.raises(KeyError):
        generator.throw(KeyError("x"))


def close(generator):
    next(generator)
    generator.close()
    generator.close()


def abandon(generator):
    next(generator)


def never_begin(generator):
    generator.close()


def exhaust_and_close(generator):
    consume(generator)
    generator.close()
    assert list(generator) == []


def send_too_early(generator):
    with pytest.raises(TypeError, match="just-started"):
        generator.send(5)
    return consume(generator)


TREATMENTS = {
    "consumed": (consume, ["OK"], 1),
    "sent to": (lambda g: (send(g), consume(g)), ["OK"], 1),
    "thrown into and caught": (lambda g: (throw(g), consume(g)), ["OK"], 1),
    "thrown through": (throw_through, ["ERROR"], 1),
    "closed": (close, ["CLOSED"], 1),
    "abandoned": (abandon, ["CLOSED"], 1),
    "never begun": (never_begin, [], 0),
    "exhausted and closed": (exhaust_and_close, ["OK"], 1),
    "sent to too early": (send_too_early, ["OK"], 1),
}


@pytest.mark.parametrize("name", TREATMENTS)
def test_a_generator_ends_its_span_once_with_how_it_ended(record, name):
    treat, outcomes, cleanups = TREATMENTS[name]
    record.start()
    treat(count(3))
    gc.collect()
    recorded = record.stop()
    assert (recorded.outcomes("count"), len(recorded.named("cleanup"))) == (outcomes, cleanups)


def test_the_return_value_of_a_generator_is_its_result(record):
    record.start()
    generator = count(2)
    next(generator)
    generator.send(5)
    with pytest.raises(StopIteration) as stopped:
        generator.send(7)
    recorded = record.stop()
    assert (stopped.value.value, recorded.ends("count")[0].arguments[0].value) == (12, 12)


def test_yield_from_passes_values_and_the_result_through(record):
    def outer():
        return (yield from count(2))

    record.start()
    generator = outer()
    got = [next(generator), generator.send(1)]
    with pytest.raises(StopIteration) as stopped:
        generator.send(2)
    assert (got, stopped.value.value, record.stop().outcomes("count")) == ([0, 1], 3, ["OK"])


def test_the_span_of_a_generator_is_not_current_between_its_steps(record):
    record.start()
    for _ in count(2):
        trace_tiny("t", "between", "", "")
    assert [event.span for event in record.stop().named("between")] == [None, None]


def test_the_body_of_a_generator_is_in_its_span_at_every_step(record):
    @traced
    def body():
        for _ in range(3):
            trace_tiny("t", "inside", "", "")
            yield

    record.start()
    list(body())
    recorded = record.stop()
    assert [event.span for event in recorded.named("inside")] == [recorded.begin("body").id] * 3


def test_a_span_in_a_generator_holds_across_its_yields(record):
    @traced
    def body():
        with span("t", "held"):
            yield
            trace_tiny("t", "inside", "", "")
            yield
        trace_tiny("t", "after", "", "")

    record.start()
    for _ in body():
        trace_tiny("t", "between", "", "")
    recorded = record.stop()
    assert (
        recorded.one("inside").span,
        recorded.one("after").span,
        {event.span for event in recorded.named("between")},
    ) == (recorded.begin("held").id, recorded.begin("body").id, {None})


def test_interleaved_generators_keep_their_own_spans(record):
    @traced
    def left():
        for _ in range(3):
            trace_tiny("t", "in_left", "", "")
            yield

    @traced
    def right():
        for _ in range(3):
            trace_tiny("t", "in_right", "", "")
            yield

    record.start()
    with span("t", "outer"):
        list(zip(left(), right(), strict=True))
    recorded = record.stop()
    outer = recorded.begin("outer").id
    assert (
        {event.span for event in recorded.named("in_left")},
        {event.span for event in recorded.named("in_right")},
        recorded.begin("left").span,
        recorded.begin("right").span,
    ) == ({recorded.begin("left").id}, {recorded.begin("right").id}, outer, outer)


def test_a_generator_abandoned_in_a_cycle_ends_when_it_is_collected(record):
    @traced
    def cyclic(holder):
        yield holder

    record.start()
    holder = []
    holder.append(cyclic(holder))
    next(holder[0])
    del holder
    gc.collect()
    assert record.stop().outcomes("cyclic") == ["CLOSED"]


def test_a_generator_that_runs_already_refuses_and_goes_on(record):
    generators = []

    @traced
    def selfish():
        with pytest.raises(ValueError, match="already executing"):
            next(generators[0])
        yield 1

    record.start()
    generators.append(selfish())
    assert list(generators[0]) == [1]
    assert record.stop().outcomes("selfish") == ["OK"]
