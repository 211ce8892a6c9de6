"""The summary as tables and as JSON: what is unknown is a dash or null, never 0."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from gpu_narration.timeline.summary import Summary
from gpu_narration.views import text
from gpu_narration.views.summary import print_summary
from gpu_narration.views.summary_object import summary_object
from gpu_narration.views.tables import TableConsole
from gpu_narration.views.units import duration
from tests.support.events import Story


def shown(summary: Summary, **options: Any) -> list[str]:
    out = io.StringIO()
    print_summary(summary, out, **{"color": False, **options})
    return out.getvalue().splitlines()


def cells(lines: list[str], name: str) -> list[str]:
    """The cells of the only row that begins with a name."""
    (line,) = (line for line in lines if line.startswith(name))
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def overlapping() -> Summary:
    told = Story()
    told.timed("a", 0, 0, 60_000, stream=7, simulated=True)
    told.timed("b", 0, 40_000, 100_000, stream=8, simulated=True)
    return told.summary()


def unknown() -> Summary:
    told = Story()
    told.launch("a", 0, gpu_ns=None, gpu_reason="stream capture", device=0, stream=7)
    told.span("engine", "step", 0, 50, gpu_ns=None, gpu_reason="the device is lost")
    return told.summary()


def test_a_launch_is_a_row_with_all_its_figures() -> None:
    told = Story()
    told.timed("saxpy", 1_000, 3_000, 34_000, error_ns=250)
    told.launch("saxpy", 2_000, gpu_ns=None, gpu_reason="stream capture", device=0, stream=7)
    assert cells(shown(told.summary()), "saxpy") == [
        "saxpy", "gpu0", "7", "2", "1", "31.0 µs", "31.0 µs", "31.0 µs", "33.0 µs", "33.0 µs",
        "250 ns", "≥ 93.9 %",
    ]  # fmt: skip


def test_streams_that_overlap_have_their_own_elapsed_and_the_device_their_union() -> None:
    lines = shown(overlapping())
    elapsed = [line.split()[5:7] for line in lines if line.startswith("gpu0 simulated  ")]
    assert elapsed == [["60.0", "µs"], ["60.0", "µs"]]
    assert (
        "gpu0 simulated, 2 streams: in launches 100.0 µs (100.0 %); the union of 2 placed "
        "intervals ±100 ns, so work that overlaps counts once"
    ) in lines


def test_the_sum_over_streams_is_nowhere() -> None:
    assert not any("120" in line for line in shown(overlapping()))


def test_every_row_of_simulated_work_says_so() -> None:
    lines = shown(overlapping())
    rows = [line for line in lines if line.startswith(("a ", "b ", "gpu0"))]
    assert len(rows) == 5
    assert all("simulated" in line for line in rows)


def test_what_is_unknown_is_a_dash_with_its_reason_counted_below() -> None:
    lines = shown(unknown())
    assert cells(lines, "a ")[5:] == ["\N{EN DASH}"] * 7
    assert lines[-3:] == ["Without GPU time: 2", "  1  stream capture", "  1  the device is lost"]


@pytest.mark.parametrize("make", [unknown, Story().summary])
def test_no_cell_shows_zero_for_unknown(make: Any) -> None:
    assert not any("0.0" in line or " 0 ns" in line for line in shown(make()))


def test_rows_beyond_the_limit_are_counted() -> None:
    told = Story()
    for number in range(5):
        told.span("app", f"step{number}", number, number + 1)
    lines = shown(told.summary(), limit=2)
    assert [line for line in lines if line.startswith(("app", "…"))][2:] == ["… and 3 more rows"]


def test_a_limit_of_none_shows_all_rows() -> None:
    told = Story()
    for number in range(50):
        told.span("app", f"step{number}", number, number + 1)
    assert sum(line.startswith("app") for line in shown(told.summary(), limit=0)) == 50


def test_a_long_name_is_whole_on_one_line_where_there_is_no_terminal() -> None:
    told = Story()
    told.launch("k" * 500, 0, gpu_ns=5)
    assert any(line.startswith("k" * 500) for line in shown(told.summary()))


def test_a_name_cannot_colour_the_terminal_or_break_its_row() -> None:
    told = Story()
    told.launch("[red]a\x1b[31m\nb", 0, gpu_ns=5, gpu_place_reason="x\ny")
    lines = shown(told.summary())
    assert any(line.startswith(r"[red]a\x1b[31m\nb") for line in lines)
    assert r"  1  x\ny" in lines


def test_processes_are_told_apart_by_their_pid_where_there_are_several() -> None:
    told = Story()
    told.timed("a", 0, 0, 10, process=0)
    told.timed("a", 0, 0, 10, process=1)
    lines = shown(told.summary(), pids=[41, 42])
    assert [line.split()[1] for line in lines if line.startswith("a ")] == ["41", "42"]


def test_waiting_is_shown_as_waiting_with_its_share() -> None:
    told = Story()
    told.span("cuda", "memcpy", 0, 50_000)
    told.span("app", "step", 0, 100_000)
    lines = shown(told.summary())
    assert "Waiting for the GPU" in [line.strip() for line in lines]
    assert "At least one thread waited for 50.0 µs, 50.0 % of the time" in lines


# ---- JSON ----


def test_as_json_what_is_unknown_is_null_beside_its_reason() -> None:
    record: Any = json.loads(json.dumps(summary_object(unknown())))
    launch = record["launches"][0]
    assert launch["untimed"] == {"stream capture": 1}
    assert [
        launch[key]
        for key in ("elapsed_on_stream", "call_to_finish", "placement_error_ns", "share_of_window")
    ] == [None] * 4


def test_as_json_times_are_whole_nanoseconds() -> None:
    record: Any = summary_object(overlapping())
    assert record["launches"][0]["elapsed_on_stream"]["total_ns"] == 60_000
    assert record["devices"][0]["busy_in_launches"] == {
        "covered_ns": 100_000, "fraction": 1.0, "at_least": False
    }  # fmt: skip


def test_as_json_every_row_of_simulated_work_says_so() -> None:
    record: Any = summary_object(overlapping())
    rows = [*record["launches"], *record["streams"], *record["devices"]]
    assert [row["simulated"] for row in rows] == [True] * 5


def test_a_handle_that_json_cannot_hold_is_a_string() -> None:
    told = Story()
    told.launch("a", 0, gpu_ns=5, stream=1 << 60)
    record: Any = summary_object(told.summary())
    assert record["launches"][0]["stream"] == str(1 << 60)


# ---- units, and the lines of single events ----


@pytest.mark.parametrize(
    ("ns", "text_"),
    [(0, "0 ns"), (999, "999 ns"), (1_000, "1.0 µs"), (999_949, "999.9 µs"),
     (999_950, "1.00 ms"), (999_994_999, "999.99 ms"), (999_995_000, "1.00 s"),
     (-31_000, "-31.0 µs")],
)  # fmt: skip
def test_a_duration_is_in_the_unit_that_reads_best(ns: int, text_: str) -> None:
    assert duration(ns) == text_


def line_of(**learned: Any) -> str:
    told = Story()
    told.launch("saxpy", 0, **learned)
    event = told.events[0]
    return text.line(event, told.annotations(event))


def test_the_line_of_a_launch_leaves_its_placement_to_json() -> None:
    line = line_of(
        gpu_ns=31_000, gpu_start_ns=5, gpu_end_ns=31_005, gpu_place_error_ns=10, stream=7, device=0
    )
    assert line == (
        'TRACE cuda launch saxpy gpu_ms=0.031 stream=7 device=0 "saxpy ran 0.031 ms on gpu0"'
    )


def test_the_line_of_a_launch_that_was_not_placed_is_no_longer_for_it() -> None:
    assert "place" not in line_of(gpu_ns=31_000, gpu_place_reason="no anchor near")


@pytest.mark.parametrize("reason", [{"gpu_reason": "stream capture"}, {}])
def test_an_unknown_time_is_none_with_a_reason_and_never_a_number(reason: dict[str, str]) -> None:
    line = line_of(gpu_ns=None, **reason)
    assert "gpu_ms=None gpu_reason=" in line
    assert "0.000" not in line


def test_a_closed_pipe_is_told_as_such_and_ends_no_process() -> None:
    """The command ends well then; Rich by itself would end it with status 1."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        TableConsole(file=Closed()).print("row")
