"""What gpu_check takes for shown: a must fails where its figures fail or are not there."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import load

verdicts: Any = load("verdicts")
overhead: Any = load("overhead")
syncs: Any = load("syncs")
selected: Any = load("selected")

TESTS, OVERHEAD, ERROR_50, ERROR_500, ERROR_5000, SYNCS, PLACEMENT, SELECTED = range(8)


def _accuracy(length_ns: int) -> dict[str, Any]:
    error = {"n": 100, "p50_ns": 400, "p99_ns": 3_000, "max_ns": 9_000}
    return {"way": "queued", "length_ns": length_ns, "absolute_error": error, "unknown": {}}


#: Figures that just pass; every test spoils one of them.
GOOD: dict[str, Any] = {
    "tests": {
        "passed": 9, "failures": 0, "errors": 0, "skipped": 1, "exit_status": 0,
        "skipped_because": {"needs two devices": 1},
    },
    "overhead": [
        {
            "mix": "realistic mix",
            "ways": {overhead.SAMPLED: {"median_ratio": 1.02}},
            "answers": {overhead.SAMPLED: {"launches_timed": 5, "spans": 2, "spans_timed": 2}},
        }
    ],
    "accuracy": [_accuracy(ns) for ns in (50_000, 500_000, 5_000_000)],
    "syncs": {
        "proved": True, "added_synchronising_calls": 0, "launches": 8,
        "answers": {"launches_timed": 8},
    },
    "placement": {"placed": 5, "outside": 0, "not_placed": {}},
    "selected": {"launched": 5, "inside": 3, "selected": 3},
}  # fmt: skip


def judged(spoil: Any = None) -> list[bool | None]:
    parts = copy.deepcopy(GOOD)
    if spoil is not None:
        spoil(parts)
    return [verdict.ok for verdict in verdicts.judge(parts)]


def test_figures_at_their_limits_hold() -> None:
    assert judged() == [True] * 8


@pytest.mark.parametrize(
    ("must", "spoil"),
    [
        (TESTS, lambda parts: parts["tests"].update(failures=1)),
        (TESTS, lambda parts: parts["tests"].update(errors=1)),
        (TESTS, lambda parts: parts["tests"].update(exit_status=1)),
        (OVERHEAD, lambda parts: parts["overhead"][0]["ways"].update(
            {overhead.SAMPLED: {"median_ratio": 1.0201}})),
        (ERROR_500, lambda parts: parts["accuracy"][1]["absolute_error"].update(p99_ns=3_001)),
        (SYNCS, lambda parts: parts["syncs"].update(added_synchronising_calls=1)),
        (PLACEMENT, lambda parts: parts["placement"].update(outside=1)),
        (SELECTED, lambda parts: parts["selected"].update(selected=5)),
        (SELECTED, lambda parts: parts["selected"].update(selected=0)),
    ],
)  # fmt: skip
def test_a_figure_beyond_its_limit_fails_its_must(must: int, spoil: Any) -> None:
    assert judged(spoil) == [index != must for index in range(8)]


@pytest.mark.parametrize(
    ("must", "spoil"),
    [
        (TESTS, lambda parts: parts["tests"].update(passed=0)),
        (TESTS, lambda parts: parts["tests"]["skipped_because"].update(
            {"no cupy backend: CuPy finds no usable GPU": 3})),
        (OVERHEAD, lambda parts: parts["overhead"][0]["answers"][overhead.SAMPLED].update(
            launches_timed=0)),
        (OVERHEAD, lambda parts: parts["overhead"][0]["answers"][overhead.SAMPLED].update(
            spans_timed=1)),
        (OVERHEAD, lambda parts: parts["overhead"].clear()),
        (ERROR_50, lambda parts: parts["accuracy"][0].update(absolute_error=None)),
        (SYNCS, lambda parts: parts["syncs"].update(proved=False)),
        (SYNCS, lambda parts: parts["syncs"]["answers"].update(launches_timed=0)),
        (PLACEMENT, lambda parts: parts["placement"].update(placed=0)),
        (SELECTED, lambda parts: parts["selected"].update(denied="ERR_NVGPUCTRPERM")),
    ],
)  # fmt: skip
def test_a_must_whose_figures_are_not_there_is_not_shown(must: int, spoil: Any) -> None:
    """GIVEN a part that did nothing THEN that is no success, however cheap it was."""
    assert judged(spoil) == [None if index == must else True for index in range(8)]


def test_a_part_that_failed_shows_nothing() -> None:
    parts = {name: {"failed": "it ended with -11"} for name in GOOD}
    assert [verdict.ok for verdict in verdicts.judge(parts)] == [None] * 6


def test_without_the_tool_there_is_no_verdict_on_it() -> None:
    """GIVEN a machine without Nsight Compute THEN the report says so and no must is about it."""
    assert judged(lambda parts: parts.update(selected={"absent": "no ncu"})) == [True] * 7


def test_without_any_part_nothing_is_shown() -> None:
    assert {verdict.ok for verdict in verdicts.judge({})} == {None}


# ---- Nsight Compute ----

#: What ncu prints with --csv --page raw: its own lines, names, units, a row a launch.
NCU_OUTPUT = """\
==PROF== Connected to process 71
==PROF== Profiling "spin" - 0: 0%....100% - 1 pass
"ID","Process ID","Kernel Name","Context","Stream","gpu__time_duration.sum"
"","","","","","ns"
"0","71","spin(unsigned long long)","1","13","1,024"
"1","71","spin(unsigned long long)","1","13","1,056"
"""


def test_the_launches_that_ncu_profiled_are_counted_without_the_line_of_units() -> None:
    assert selected.kernels_of(NCU_OUTPUT) == ["spin(unsigned long long)"] * 2


@pytest.mark.parametrize("output", ["", "==WARNING== No kernels were profiled.\n"])
def test_no_launch_profiled_is_none(output: str) -> None:
    assert selected.kernels_of(output) == []


def fake_ncu(directory: Path, output: str, status: int = 0) -> str:
    path = directory / "ncu"
    path.write_text(f"#!/bin/sh\ncat <<'end'\n{output}end\nexit {status}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_what_ncu_found_is_reported_beside_what_was_launched(tmp_path: Path) -> None:
    found = selected.selected_by(fake_ncu(tmp_path, NCU_OUTPUT), "cupy", tmp_path)
    assert (found["launched"], found["inside"], found["selected"]) == (5, 3, 2)


def test_counters_that_are_denied_are_a_reason(tmp_path: Path) -> None:
    ncu = fake_ncu(tmp_path, "==ERROR== ERR_NVGPUCTRPERM - no permission\n", 1)
    assert "administrators" in str(selected.selected_by(ncu, "cupy", tmp_path)["denied"])


def test_an_ncu_that_fails_is_a_part_that_failed(tmp_path: Path) -> None:
    ncu = fake_ncu(tmp_path, "==ERROR== unknown option\n", 3)
    assert "ncu ended with 3" in str(selected.selected_by(ncu, "cupy", tmp_path)["failed"])


# ---- counting ----


def test_calls_beyond_a_baseline_are_told_by_function() -> None:
    after = {"cuEventRecord": 7, "cuStreamSynchronize": 4, "cuEventQuery": 2}
    assert syncs.more(after, {"cuEventRecord": 5, "cuStreamSynchronize": 4}) == {
        "cuEventQuery": 2, "cuEventRecord": 2
    }  # fmt: skip


def test_calls_that_wait_are_counted_in_every_version() -> None:
    counts = {
        "cuStreamSynchronize_ptsz": 1, "cuCtxSynchronize": 2, "cuMemcpyDtoH_v2": 3,
        "cuEventRecord": 50, "cuEventQuery": 50,
    }  # fmt: skip
    assert syncs.synchronising(counts) == 6


# ---- turns ----


def test_every_way_runs_once_a_turn_and_a_first_turn_does_not_count() -> None:
    ran: list[str] = []

    def way(name: str) -> Any:
        def run() -> int:
            ran.append(name)
            return len(ran)

        return run

    took = overhead.interleaved({"a": way("a"), "b": way("b"), "c": way("c")}, 3)
    assert {name: len(values) for name, values in took.items()} == {"a": 3, "b": 3, "c": 3}
    assert [ran[turn * 3] for turn in range(4)] == ["c", "a", "b", "c"]


def test_the_ratio_is_the_median_of_the_ratios_of_the_turns() -> None:
    mix = load("plan").QUICK.mixes[0]
    report = overhead.report(mix, {"bare": [100, 200, 100], "recording": [110, 240, 500]})
    assert report["ways"]["recording"]["median_ratio"] == 1.2
