"""Headers that come with a request: taken over where they are valid, else new ids and a reason."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpu_narration as gn
from gpu_narration.contexts.headers import incoming
from gpu_narration.contexts.w3c import Refusal, TraceParent, parse_traceparent, parse_tracestate

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
VALID = f"00-{TRACE}-{PARENT}-01"


def is_new(text: object) -> bool:
    return isinstance(text, str) and uuid.UUID(text).version == 7


# ---- traceparent ----


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (VALID, 1),
        (f"00-{TRACE}-{PARENT}-00", 0),
        (f"00-{TRACE}-{PARENT}-03", 3),
        (f"00-{TRACE}-{PARENT}-ff", 3),
        (f" \t{VALID}\t ", 1),
        (f"01-{TRACE}-{PARENT}-01", 1),
        (f"cc-{TRACE}-{PARENT}-01-what-will-be", 1),
        (f"fe-{TRACE}-{PARENT}-01-", 1),
    ],
)
def test_a_valid_traceparent_is_taken_over(value: str, flags: int) -> None:
    assert parse_traceparent(value) == TraceParent(TRACE, PARENT, flags)


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        ("", Refusal.TRACEPARENT_MALFORMED),
        (f"ff-{TRACE}-{PARENT}-01", Refusal.TRACEPARENT_VERSION),
        (f"00-{'0' * 32}-{PARENT}-01", Refusal.TRACEPARENT_ZERO_TRACE),
        (f"00-{TRACE}-{'0' * 16}-01", Refusal.TRACEPARENT_ZERO_PARENT),
        (f"00-{TRACE.upper()}-{PARENT}-01", Refusal.TRACEPARENT_MALFORMED),
        (f"00-{TRACE[1:]}-{PARENT}-01", Refusal.TRACEPARENT_MALFORMED),
        (f"00-{TRACE}g-{PARENT}-01", Refusal.TRACEPARENT_MALFORMED),
        (f"00-{TRACE}-{PARENT[1:]}-01", Refusal.TRACEPARENT_MALFORMED),
        (f"00-{TRACE}-{PARENT}-1", Refusal.TRACEPARENT_MALFORMED),
        (f"0-{TRACE}-{PARENT}-01", Refusal.TRACEPARENT_MALFORMED),
        (f"0X-{TRACE}-{PARENT}-01", Refusal.TRACEPARENT_MALFORMED),
        (f"00-{TRACE}-{PARENT}-01-more", Refusal.TRACEPARENT_MALFORMED),
        (f"00-{TRACE}-{PARENT}-01-", Refusal.TRACEPARENT_MALFORMED),
        (f"cc-{TRACE}-{PARENT}-01.more", Refusal.TRACEPARENT_MALFORMED),
        (f"00-{TRACE}-{PARENT}", Refusal.TRACEPARENT_MALFORMED),
        (f"{VALID},{VALID}", Refusal.TRACEPARENT_MALFORMED),
        (f"00-{TRACE[:-1]}٣-{PARENT}-01", Refusal.TRACEPARENT_MALFORMED),
        (f"{VALID}\n", Refusal.TRACEPARENT_MALFORMED),
        ("0" * 1_000_000, Refusal.TRACEPARENT_MALFORMED),
    ],
)  # fmt: skip
def test_an_invalid_traceparent_is_refused_for_its_reason(value: str, refusal: Refusal) -> None:
    assert parse_traceparent(value) is refusal


@given(st.text(max_size=80))
def test_whatever_comes_is_parsed_or_refused(value: str) -> None:
    assert isinstance(parse_traceparent(value), TraceParent | Refusal)
    state, refusal = parse_tracestate([value])
    assert state is None or refusal in (None, Refusal.TRACESTATE_CUT)


# ---- tracestate ----


def members(count: int, length: int = 1) -> str:
    return ",".join(f"k{i}={'v' * length}" for i in range(count))


@pytest.mark.parametrize(
    ("values", "passed_on"),
    [
        (["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (["a=1", "b=2"], "a=1,b=2"),
        ([" a=1 ,\tb=2\t"], "a=1,b=2"),
        (["a=1,,b=2, ,"], "a=1,b=2"),
        (["tenant@system=1"], "tenant@system=1"),
        (["0digit=1"], "0digit=1"),
        (["a_-*/z=!~ x"], "a_-*/z=!~ x"),
        ([members(32)], members(32)),
        ([f"a={'v' * 256}"], f"a={'v' * 256}"),
        ([f"{'k' * 256}=v"], f"{'k' * 256}=v"),
    ],
)  # fmt: skip
def test_a_valid_tracestate_is_passed_on(values: list[str], passed_on: str) -> None:
    assert parse_tracestate(values) == (passed_on, None)


@pytest.mark.parametrize("values", [[], [""], [" , "]])
def test_an_empty_tracestate_is_none(values: list[str]) -> None:
    assert parse_tracestate(values) == (None, None)


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        ("a", Refusal.TRACESTATE_MALFORMED),
        ("=1", Refusal.TRACESTATE_MALFORMED),
        ("a=", Refusal.TRACESTATE_MALFORMED),
        ("A=1", Refusal.TRACESTATE_MALFORMED),
        ("_a=1", Refusal.TRACESTATE_MALFORMED),
        ("a b=1", Refusal.TRACESTATE_MALFORMED),
        ("a =1", Refusal.TRACESTATE_MALFORMED),
        ("a=1=2", Refusal.TRACESTATE_MALFORMED),
        ("a=é", Refusal.TRACESTATE_MALFORMED),
        ("a=1\x00", Refusal.TRACESTATE_MALFORMED),
        (f"a={'v' * 257}", Refusal.TRACESTATE_MALFORMED),
        (f"{'k' * 257}=v", Refusal.TRACESTATE_MALFORMED),
        ("a=1,a=2", Refusal.TRACESTATE_DUPLICATE),
        (members(33), Refusal.TRACESTATE_MEMBERS),
        ("a=1," * 1_000_000, Refusal.TRACESTATE_MEMBERS),
    ],
)
def test_an_invalid_tracestate_is_refused_whole(value: str, refusal: Refusal) -> None:
    assert parse_tracestate([value]) == (None, refusal)


def test_a_tracestate_of_512_characters_is_passed_on_whole() -> None:
    value = f"a={'v' * 120},b={'v' * 120},c={'v' * 120},d={'v' * 141}"
    assert len(value) == 512
    assert parse_tracestate([value]) == (value, None)


def test_a_longer_one_is_cut_by_long_members_first_and_then_from_the_end() -> None:
    short = [f"s{i}={'v' * 96}" for i in range(6)]
    value = ",".join([short[0], f"long={'v' * 200}", *short[1:]])
    assert parse_tracestate([value]) == (",".join(short[:5]), Refusal.TRACESTATE_CUT)


# ---- all of them together ----


def test_valid_headers_are_taken_over() -> None:
    ids = incoming({"TraceParent": VALID, "tracestate": "a=b", "X-Correlation-ID": "req-7"})
    assert (str(ids), ids.trace_id, ids.parent_span_id, ids.trace_flags, ids.tracestate) == (
        "req-7", TRACE, PARENT, 1, "a=b",
    )  # fmt: skip
    assert ids.refused is None


@pytest.mark.parametrize("headers", [{}, [], {"accept": "*/*"}])
def test_without_headers_the_ids_are_new(headers: Any) -> None:
    ids = incoming(headers)
    assert is_new(str(ids))
    assert (ids.trace_id, ids.parent_span_id) == (str(ids).replace("-", ""), None)


def test_a_trace_without_a_correlation_id_is_correlated_by_its_own() -> None:
    assert incoming({"traceparent": VALID}) == TRACE


def test_a_correlation_id_without_a_trace_gets_a_trace() -> None:
    ids = incoming({"x-correlation-id": "req-7"})
    assert (str(ids), len(ids.trace_id or ""), ids.parent_span_id) == ("req-7", 32, None)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([("traceparent", VALID), ("traceparent", VALID)], Refusal.TRACEPARENT_DUPLICATE),
        ([("traceparent", "nonsense")], Refusal.TRACEPARENT_MALFORMED),
        ([("tracestate", "a=b")], Refusal.TRACESTATE_ALONE),
        ([("x-correlation-id", "a b")], Refusal.CORRELATION_MALFORMED),
        ([("x-correlation-id", "")], Refusal.CORRELATION_MALFORMED),
        ([("x-correlation-id", "a\r\nb")], Refusal.CORRELATION_MALFORMED),
        ([(b"x-correlation-id", b"\xff")], Refusal.CORRELATION_MALFORMED),
        ([("x-correlation-id", "a" * 129)], Refusal.CORRELATION_LONG),
        ([("x-correlation-id", "a"), ("x-correlation-id", "b")], Refusal.CORRELATION_DUPLICATE),
        (7, Refusal.UNREADABLE),
        ([("one",)], Refusal.UNREADABLE),
        ([(None, "x")], Refusal.UNREADABLE),
    ],
)  # fmt: skip
def test_what_is_not_valid_gives_new_ids_a_reason_and_a_count(
    headers: Any, reason: Refusal
) -> None:
    before = gn.context.refused().get(reason.value, 0)
    ids = incoming(headers)
    assert is_new(str(ids))
    assert ids.refused == reason.value
    assert gn.context.refused()[reason.value] == before + 1


def test_a_broken_tracestate_leaves_the_traceparent_as_it_is() -> None:
    ids = incoming({"traceparent": VALID, "tracestate": "A=1"})
    assert (ids.trace_id, ids.tracestate) == (TRACE, None)
    assert ids.refused == Refusal.TRACESTATE_MALFORMED.value


def test_every_reason_is_told_at_once() -> None:
    ids = incoming({"traceparent": "x", "x-correlation-id": "a b"})
    assert ids.refused == "traceparent: malformed; x-correlation-id: malformed"


def test_a_correlation_id_of_128_characters_is_taken_over() -> None:
    assert incoming({"x-correlation-id": "a" * 128}) == "a" * 128


def test_other_ids_that_are_set_stay_in_an_incoming_request() -> None:
    with gn.context("server", replica_id="r-1"):
        with gn.context.from_headers({"traceparent": VALID}, job_id="j") as ids:
            assert ids.others == {"replica_id": "r-1", "job_id": "j"}
            assert ids.trace_id == TRACE
        with gn.context.from_headers({}) as fresh:
            assert is_new(str(fresh))
