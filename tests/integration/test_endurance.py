"""The endurance runs of bench/, at a small scale; at full length they take minutes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import gpu_narration
from gpu_narration import trace_tiny
from gpu_narration.tracefile import Trace
from tests.support.programs import python

BENCH = Path(__file__).parents[2] / "bench"
QUIET: dict[str, Any] = {"backend": "none", "vram": False, "nvtx": "off", "children": False}


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    import endurance_checks

    yield endurance_checks
    for name in ("endurance_checks", "endurance_work"):
        sys.modules.pop(name, None)


def run(directory: Path, name: str, count: int, *more: str) -> tuple[int, dict[str, Any]]:
    """A run's exit status, and its verdict."""
    done = python(
        BENCH / "endurance.py", name, "--count", str(count), "--directory", directory, "--json",
        *more, cwd=directory,
    )  # fmt: skip
    assert done.stdout, done.stderr
    (verdict,) = json.loads(done.stdout)["runs"]
    return done.returncode, verdict


def test_a_long_recording_loses_nothing_and_memory_stays(tmp_path: Path) -> None:
    status, verdict = run(tmp_path, "events", 1_000_000, "--least-rate", "0")
    assert (status, verdict["figures"]["lost"]) == (0, 0), verdict
    assert verdict["figures"]["decoded_in_full"] > 100_000


def test_threads_that_come_and_go_keep_count_and_order(tmp_path: Path) -> None:
    """GIVEN 16 threads at a time, 80 in all, THEN each has its events, in order."""
    status, verdict = run(tmp_path, "threads", 20_000)
    assert (status, verdict["figures"]["events"], verdict["figures"]["threads"]) == (0, 320_000, 80)


def test_twenty_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    status, verdict = run(tmp_path, "kills", 20)
    assert (status, verdict["figures"]["missing"]) == (0, 0), verdict
    assert verdict["figures"]["returned"] > 1000


def test_new_strings_for_ever_keep_no_memory(tmp_path: Path) -> None:
    status, verdict = run(tmp_path, "strings", 1_000_000)
    assert status == 0, verdict


# ---- the runs can fail ----


def test_a_claim_that_does_not_hold_is_status_1(tmp_path: Path) -> None:
    status, verdict = run(tmp_path, "events", 200_000, "--least-rate", "1e15")
    assert status == 1
    assert [claim for claim, holds in verdict["claims"].items() if not holds] == [
        "at least 1,000,000,000,000,000 events/s"
    ]


def test_what_cannot_be_run_is_status_2(tmp_path: Path) -> None:
    """GIVEN more events than the disk has room for THEN one line says so and nothing is made."""
    done = python(
        BENCH / "endurance.py", "events", "--count", str(10**15), "--directory", tmp_path,
        cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert list(tmp_path.iterdir()) == []


def recorded(path: Path, numbers: list[int], action: str) -> Path:
    with gpu_narration.start(path, **QUIET):
        for number in numbers:
            trace_tiny("doomed", action, "", "", number)
    return path


def test_an_event_that_is_missing_after_a_kill_is_found(checks: Any, tmp_path: Path) -> None:
    path = recorded(tmp_path / "t.gnt", [0, 1, 3], "slot_0")
    assert checks.wreck(path, [4]).missing == 1


def test_an_event_that_is_there_twice_is_found(checks: Any, tmp_path: Path) -> None:
    path = recorded(tmp_path / "t.gnt", [0, 1, 1, 2], "slot_0")
    assert checks.wreck(path, [3]).surplus > 0


def test_threads_out_of_order_are_found(checks: Any, tmp_path: Path) -> None:
    path = tmp_path / "t.gnt"
    with gpu_narration.start(path, **QUIET):
        for number in [0, 2, 1, 3]:
            trace_tiny("lane", "step", "", "{} {} {}", 0, 0, number)
    order = checks.order_of_threads(Trace(path), {(0, 0): 5})
    assert (order.out_of_order, order.wrong_totals) == (2, ["lane 0 generation 0"])


def test_events_decoded_wrong_are_found(checks: Any, tmp_path: Path) -> None:
    path = recorded(tmp_path / "t.gnt", [0, 1, 7], "decode")
    assert checks.wrong_in_sample(Trace(path), 1) == (3, 1)
