"""The summary: spans, waiting, and what the streams of the GPUs did."""

from __future__ import annotations

import pytest

from gpu_narration._types import WAITS, Outcome
from gpu_narration.timeline import order
from gpu_narration.timeline.gpu_time import (
    BEFORE_CALL,
    IMPOSSIBLE,
    IMPOSSIBLE_PLACE,
    NO_ANSWER,
    NO_PLACE,
    GpuRow,
)
from gpu_narration.timeline.summary import Summary
from tests.support.events import Story


def one(rows: list[GpuRow]) -> GpuRow:
    (row,) = rows
    return row


def story() -> Story:
    """Three launches of saxpy on one stream, 10, 20 and 30 ns long, called at 100, 200, 300."""
    told = Story()
    for index in (1, 2, 3):
        at = 100 * index
        told.timed("saxpy", at, at + 50, at + 50 + 10 * index, error_ns=index)
    return told


# ---- launches ----


def test_launches_of_one_name_on_one_stream_are_one_row() -> None:
    row = one(story().summary().launches)
    assert (row.name, row.device, row.stream, row.calls) == ("saxpy", 0, 7, 3)


def test_elapsed_on_stream_has_total_median_and_p99() -> None:
    figures = one(story().summary().launches).figures
    assert figures is not None
    assert (figures.total_ns, figures.median_ns, figures.p99_ns) == (60, 20, 30)


def test_the_lag_goes_from_the_call_to_the_end_of_the_work() -> None:
    lag = one(story().summary().launches).finish_lag.figures
    assert lag is not None
    assert (lag.median_ns, lag.p99_ns) == (70, 80)


def test_the_bound_of_a_row_is_its_widest() -> None:
    assert one(story().summary().launches).error_ns == 3


def test_the_share_is_the_covered_part_of_the_window() -> None:
    """GIVEN work from 150 to 380 and calls from 100 on THEN 60 of 280 ns are covered."""
    summary = story().summary()
    share = one(summary.launches).share(summary.window_ns)
    assert share is not None
    assert (share.covered_ns, share.of_ns, share.at_least) == (60, 280, False)


def test_the_window_reaches_to_the_end_of_the_last_gpu_work() -> None:
    assert story().summary().end_ns == 380


def test_two_streams_are_two_rows() -> None:
    told = Story()
    told.timed("a", 0, 10, 20, stream=7)
    told.timed("a", 0, 10, 20, stream=8)
    assert [row.stream for row in told.summary().launches] == [7, 8]


def test_by_name_two_streams_are_one_row_whose_share_counts_overlap_once() -> None:
    told = Story()
    told.timed("a", 0, 0, 60, stream=7)
    told.timed("a", 0, 40, 100, stream=8)
    summary = told.summary(by="name")
    share = one(summary.launches).share(summary.window_ns)
    assert share is not None
    assert (share.covered_ns, share.of_ns) == (100, 100)


def test_the_same_handle_in_two_processes_is_two_streams() -> None:
    told = Story()
    told.timed("a", 0, 10, 20, process=0)
    told.timed("a", 0, 10, 20, process=1)
    assert len(told.summary().streams) == 2


def test_simulated_and_real_launches_are_never_in_one_row() -> None:
    told = Story()
    told.timed("a", 0, 10, 20)
    told.timed("a", 0, 10, 20, simulated=True)
    rows = told.summary(by="name").launches
    assert sorted(row.simulated for row in rows) == [False, True]


def test_a_graph_is_a_row_of_its_own_with_the_scopes_of_its_capture() -> None:
    told = Story()
    told.launch("decode", 0, action="graph_launch", fields={"scopes": "attention, mlp"}, gpu_ns=9)
    row = one(told.summary().launches)
    assert (row.action, row.scopes) == ("graph_launch", "attention, mlp")


def test_a_failed_launch_is_counted_as_failed_and_has_no_time() -> None:
    told = Story()
    told.launch("a", 0, gpu_ns=None, gpu_reason="the launch failed", error="CudaError: 1")
    row = one(told.summary().launches)
    assert (row.failed, row.figures, row.untimed) == (1, None, {"the launch failed": 1})


# ---- unknown is not zero ----


def test_a_row_without_any_time_has_no_figures() -> None:
    told = Story()
    told.launch("a", 0, gpu_ns=None, gpu_reason="stream capture")
    row = one(told.summary().launches)
    assert (row.figures, row.finish_lag.figures, row.error_ns, row.share(100)) == (None,) * 4


def test_reasons_are_counted_and_the_most_frequent_comes_first() -> None:
    told = Story()
    for at, reason in enumerate(["unknown stream", "stream capture", "stream capture"]):
        told.launch("a", at, gpu_ns=None, gpu_reason=reason)
    assert list(told.summary().untimed.items()) == [("stream capture", 2), ("unknown stream", 1)]


def test_what_was_known_at_once_counts_as_what_was_learned_later() -> None:
    """GIVEN a launch that was never to be timed THEN its own fields say why, and where it ran."""
    told = Story()
    fields = {"gpu_ns": None, "gpu_reason": "stream capture", "device": 0, "stream": 7}
    told.launch("a", 0, fields=fields)
    row = one(told.summary().launches)
    assert (row.device, row.stream, row.untimed) == (0, 7, {"stream capture": 1})


def test_a_launch_without_an_answer_is_counted_as_such() -> None:
    told = Story()
    told.launch("a", 0)
    assert told.summary().untimed == {NO_ANSWER: 1}


@pytest.mark.parametrize("value", [-1, -(1 << 70)])
def test_a_negative_time_is_no_time(value: int) -> None:
    told = Story()
    told.launch("a", 0, gpu_ns=value)
    assert told.summary().untimed == {IMPOSSIBLE: 1}


def test_true_is_no_time() -> None:
    told = Story()
    told.launch("a", 0, gpu_ns=True)
    assert told.summary().untimed == {NO_ANSWER: 1}


def test_a_measured_zero_is_a_time() -> None:
    told = Story()
    told.launch("a", 0, gpu_ns=0)
    figures = one(told.summary().launches).figures
    assert figures is not None
    assert figures.total_ns == 0


def test_a_time_without_a_place_has_elapsed_and_no_share() -> None:
    told = Story()
    told.launch("a", 0, gpu_ns=10, gpu_place_reason="no anchor near")
    summary = told.summary()
    row = one(summary.launches)
    assert (len(row.elapsed), row.share(100)) == (1, None)
    assert summary.unplaced == {"no anchor near": 1}


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({}, NO_PLACE),
        ({"gpu_start_ns": 150, "gpu_end_ns": 160}, NO_PLACE),
        ({"gpu_start_ns": 160, "gpu_end_ns": 150, "gpu_place_error_ns": 5}, IMPOSSIBLE_PLACE),
        ({"gpu_start_ns": 150, "gpu_end_ns": 160, "gpu_place_error_ns": -5}, IMPOSSIBLE_PLACE),
        ({"gpu_start_ns": 10, "gpu_end_ns": 20, "gpu_place_error_ns": 79}, BEFORE_CALL),
    ],
)
def test_a_placement_that_cannot_be_is_refused(place: dict[str, int], reason: str) -> None:
    """GIVEN a launch at 100 THEN its work cannot end before that by more than the bound."""
    told = Story()
    told.launch("a", 100, gpu_ns=10, **place)
    assert told.summary().unplaced == {reason: 1}


def test_a_placement_may_precede_its_call_within_its_bound() -> None:
    told = Story()
    told.timed("a", 100, 10, 20, error_ns=80)
    lag = one(told.summary().launches).finish_lag.figures
    assert lag is not None
    assert lag.median_ns == -80


@pytest.mark.parametrize("missing", [{"gpu_ns": None}, {"gpu_ns": 10}], ids=["untimed", "unplaced"])
def test_a_share_is_at_least_so_much_where_some_work_is_not_in_it(
    missing: dict[str, int | None],
) -> None:
    told = story()
    told.launch("saxpy", 400, device=0, stream=7, **missing)
    share = one(told.summary().launches).share(1000)
    assert share is not None
    assert share.at_least


# ---- streams and devices ----


def overlapping() -> Summary:
    """Two streams of one GPU: 0 to 60, and 40 to 100."""
    told = Story()
    told.timed("a", 0, 0, 60, stream=7)
    told.timed("b", 0, 40, 100, stream=8)
    return told.summary()


def test_each_stream_has_its_own_elapsed() -> None:
    assert [row.launches.elapsed_ns for row in overlapping().streams] == [60, 60]


def test_a_device_is_busy_for_the_union_of_its_streams_not_their_sum() -> None:
    (device,) = overlapping().devices
    assert (device.streams, device.placed, device.launches.covered_ns) == (2, 2, 100)


def test_a_scope_does_not_make_its_launches_count_twice() -> None:
    """GIVEN a scope of 100 ns with a launch of 10 in it THEN the two are told apart."""
    told = Story()
    place = {"gpu_start_ns": 0, "gpu_end_ns": 100, "gpu_place_error_ns": 1}
    told.span("engine", "step", 0, 30, gpu_ns=100, stream=7, device=0, **place)
    told.timed("a", 10, 20, 30)
    summary = told.summary()
    (stream,), (device,) = summary.streams, summary.devices
    assert (stream.launches.elapsed_ns, stream.scopes.elapsed_ns) == (10, 100)
    assert (device.launches.covered_ns, device.scopes.covered_ns) == (10, 100)


def test_one_gpu_of_two_processes_is_one_device_where_its_uuid_is_known() -> None:
    told = Story()
    told.timed("a", 0, 0, 60, process=0, device=0)
    told.timed("a", 0, 40, 100, process=1, device=1)
    (device,) = told.summary(uuids={(0, 0): "GPU-a", (1, 1): "GPU-a"}).devices
    assert (device.uuid, device.launches.covered_ns) == ("GPU-a", 100)


def test_an_index_of_two_processes_is_two_devices_where_no_uuid_is_known() -> None:
    told = Story()
    told.timed("a", 0, 0, 60, process=0)
    told.timed("a", 0, 40, 100, process=1)
    assert len(told.summary().devices) == 2


def test_a_device_on_which_nothing_was_timed_is_no_row() -> None:
    told = Story()
    told.launch("a", 0, gpu_ns=None, gpu_reason="stream capture", device=0, stream=7)
    assert told.summary().devices == []


# ---- scopes ----


def test_a_scope_is_a_span_that_asked_for_gpu_time() -> None:
    told = Story()
    told.span("engine", "step", 0, 30, gpu_ns=100)
    told.span("engine", "other", 40, 50)
    assert [row.name for row in told.summary().scopes] == ["engine step"]


def test_the_lag_of_a_scope_begins_with_the_scope() -> None:
    told = Story()
    place = {"gpu_start_ns": 20, "gpu_end_ns": 120, "gpu_place_error_ns": 1}
    told.span("engine", "step", 5, 30, gpu_ns=100, **place)
    row = one(told.summary().scopes)
    assert row.finish_lag.figures is not None
    assert row.start_lag.figures is not None
    assert (row.finish_lag.figures.median_ns, row.start_lag.figures.median_ns) == (115, 15)


def test_a_scope_without_gpu_time_is_counted_with_its_reason() -> None:
    told = Story()
    told.span("engine", "step", 0, 30, gpu_ns=None, gpu_reason="the device is lost")
    assert one(told.summary().scopes).untimed == {"the device is lost": 1}


# ---- spans ----


def test_spans_of_one_name_are_one_row_with_their_cpu_time() -> None:
    told = Story()
    told.span("engine", "step", 0, 10)
    told.span("engine", "step", 20, 50, outcome=Outcome.ERROR)
    (row,) = told.summary().spans
    assert row.figures is not None
    assert (row.calls, row.failed) == (2, 1)
    assert (row.figures.total_ns, row.figures.median_ns, row.figures.longest_ns) == (40, 10, 30)


def test_a_span_without_an_end_is_open_and_has_no_time() -> None:
    told = Story()
    told.span("engine", "step", 0, None)
    (row,) = told.summary().spans
    assert (row.calls, row.open, row.figures) == (0, 1, None)


@pytest.mark.parametrize("name", sorted(WAITS))
def test_a_wait_is_shown_as_waiting_and_not_as_a_span(name: str) -> None:
    told = Story()
    told.span("cuda", name, 0, 30)
    summary = told.summary()
    assert (len(summary.waits), summary.spans) == (1, [])


def test_two_threads_that_wait_at_once_wait_once() -> None:
    told = Story()
    told.span("cuda", "memcpy", 0, 60)
    told.span("cuda", "stream_synchronize", 40, 100)
    assert told.summary().waiting.covered_ns == 100


def test_a_span_of_the_program_with_such_a_name_is_no_wait() -> None:
    told = Story()
    told.span("app", "memcpy", 0, 60)
    assert told.summary().waits == []


# ---- what is left out ----


def test_a_correlation_leaves_its_request_and_the_window_of_it() -> None:
    told = Story()
    told.span("engine", "step", 0, 10, correlation="req-1")
    told.span("engine", "step", 20, 50, correlation="req-2")
    summary = told.summary(correlation="req-2")
    assert (summary.events, summary.window_ns, summary.spans[0].calls) == (2, 30, 1)


def test_an_actor_leaves_its_rows_in_the_same_window() -> None:
    told = Story()
    told.span("engine", "step", 20, 50)
    told.timed("a", 0, 10, 20)
    summary = told.summary(actors=frozenset({"engine"}))
    assert (len(summary.spans), summary.launches, summary.window_ns) == (1, [], 50)


# ---- order ----


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("total", ["long", "often", "never"]),
        ("longest", ["long", "often", "never"]),
        ("calls", ["often", "never", "long"]),
        ("failed", ["never", "long", "often"]),
        ("median", ["long", "often", "never"]),
        ("p99", ["long", "often", "never"]),
        ("name", ["long", "never", "often"]),
    ],
)
def test_rows_are_sorted_and_those_without_a_figure_come_last(
    key: order.SortKey, names: list[str]
) -> None:
    told = Story()
    told.launch("long", 0, gpu_ns=100)
    for at in (1, 2, 3):
        told.launch("often", at, gpu_ns=10)
    for at in (4, 5):
        told.launch("never", at, gpu_ns=None, gpu_reason="stream capture", error="E: failed")
    summary = told.summary(by="name")
    order.sort(summary, key)
    assert [row.name for row in summary.launches] == names
