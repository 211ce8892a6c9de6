"""The verb ``nsys``, and joined traces in ``show`` and ``spans``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import gpu_narration
from gpu_narration import correlation, span
from gpu_narration.cli.app import cli
from gpu_narration.cuda import MockKernel, kernel
from gpu_narration.tracefile import Trace
from tests.support.nsys_capture import unpacked
from tests.support.nsys_export import Export
from tests.support.nsys_joined import ReportTime, observed
from tests.support.recording import QUIET, recorded_on_mock
from tests.support.run import environment


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


def as_json(*arguments: str | Path) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("capture"))


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    def program(gpu, clock):
        stream = gpu.stream()
        saxpy = kernel(MockKernel("saxpy", 31_000), every=1)
        with correlation("req-1"), span("engine", "decode", gpu=True, stream=stream):
            saxpy((1,), (1,), (), stream=stream)
        clock.step(1_000_000)

    return recorded_on_mock(tmp_path, program).trace


@pytest.fixture
def report(trace: Trace, tmp_path: Path) -> Path:
    return observed(trace, ReportTime()).export.write(tmp_path / "report.sqlite")


# ---- explain ----


def test_explain_tells_the_story_of_a_real_capture(capture):
    done = run("nsys", "explain", capture)

    assert done.exit_code == 0
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith("The report covers 969.45 ms; for 967.64 ms of it (99.8 %) at least one of 2 GPUs")  # fmt: skip
    assert "for 2,276 its launch call is not in the report" in second
    assert "The median kernel began 421.30 ms after its launch call did" in done.stdout
    assert "11 rows too many" in done.stdout


def test_explain_as_json_has_the_tables(capture):
    told = as_json("nsys", "explain", capture)

    assert told["work"]["kernels"] == 3442
    assert (
        told["unattributed"]["reasons"]["its launch call is not in the report"]["kernels"] == 1810
    )
    assert told["unattributed"]["share_of_work"] == pytest.approx(2276 / 4368)
    assert [row["pid"] for row in told["processes"]] == [111, 112]
    assert told["story"][0].startswith("The report covers")


def test_explain_is_done_in_three_seconds(capture):
    """GIVEN a capture of a second THEN its explanation takes less than 3 s of CPU time."""
    before = time.process_time()
    run("nsys", "explain", capture)
    assert time.process_time() - before < 3


def test_the_limit_leaves_the_first_rows(capture):
    assert len(as_json("nsys", "explain", capture, "--limit", "3")["ranges"]) == 3


def test_each_keeps_calls_apart(capture):
    told = as_json("nsys", "explain", capture, "--each")
    assert len(told["ranges"]) > 10_000


def test_names_in_a_report_cannot_colour_a_terminal(tmp_path):
    export = Export()
    export.range(41, 42, 0, 1_000, "\x1b[31mred\nsecond line")
    export.launch(41, 42, 100, 1, 300, 400)
    done = run("nsys", "explain", export.write(tmp_path / "r.sqlite"))

    assert "\x1b" not in done.stdout
    assert "\\x1b[31mred\\nsecond line" in done.stdout


@pytest.mark.parametrize("content", [b"", b"no database"])
def test_what_is_no_report_has_exit_status_2(tmp_path, content):
    (tmp_path / "r.sqlite").write_bytes(content)
    done = run("nsys", "explain", tmp_path / "r.sqlite")

    assert done.exit_code == 2
    assert "[nsight-report]" in done.output
    assert len(done.output.splitlines()) == 1


def test_a_newer_schema_is_told_on_stderr(tmp_path, trace):
    path = observed(trace, ReportTime()).export.write(tmp_path / "r.sqlite", version="9.1.0")
    done = run("nsys", "explain", path)

    assert done.exit_code == 0
    assert "Note: the report has schema 9.1.0, newer than 3.25" in done.stderr


def test_a_report_on_a_read_only_disk_is_explained(capture, tmp_path):
    """GIVEN a disk that is mounted read-only THEN the report is read, and nothing is written."""
    place = tmp_path / "disk"
    place.mkdir()
    (place / "r.sqlite").write_bytes(capture.read_bytes())
    mount = f"mount --bind {place} {place} && mount -o remount,ro,bind {place}"
    probe = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("mounts in a namespace of our own are not allowed here")
    explain = f"{sys.executable} -m gpu_narration.cli nsys explain {place}/r.sqlite -n 1"
    script = f"{mount} && ! touch {place}/x 2>/dev/null && {explain}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False,
        cwd=tmp_path, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The report covers 969.45 ms")


# ---- join ----


def test_join_tells_what_it_found(trace, report):
    done = run("nsys", "join", trace.path, report)

    assert done.exit_code == 0, done.output
    assert re.search(r"^2 of 2 kernels belong to 2 spans and launches", done.stdout)
    assert "Matched by the ids in its ranges: 1 ranges" in done.stdout


def test_join_as_json(trace, report):
    told = as_json("nsys", "join", trace.path, report)

    assert told["matched_by"] == "payload"
    assert told["work"] == {"kernel": {"total": 2, "attributed": 2}}
    assert told["still_recording"] is False


def test_show_puts_kernel_time_beside_elapsed_on_stream(trace, report):
    """GIVEN a span and a launch that were timed THEN their lines have both times and the
    difference.
    """
    run("nsys", "join", trace.path, report)
    lines = [
        line for line in run("show", trace.path).stdout.splitlines() if "kernel_busy_ms" in line
    ]

    assert len(lines) == 2
    for line in lines:
        fields = dict(re.findall(r"(\w+)=(-?[\d.]+)", line))
        gpu, busy, difference = (
            float(fields[name]) for name in ("gpu_ms", "kernel_busy_ms", "gpu_minus_kernels_ms")
        )
        assert gpu - busy == pytest.approx(difference, abs=0.002)


def test_spans_has_a_table_of_both(trace, report):
    before = run("spans", trace.path).stdout
    run("nsys", "join", trace.path, report)
    after = run("spans", trace.path).stdout

    assert after.startswith(before.rstrip())
    assert "Nsight Systems: kernel time beside elapsed on stream" in after
    rows = as_json("spans", trace.path)["nsight"]
    assert [(row["name"], row["launch"], row["kernels"]) for row in rows] == [
        ("decode", False, 2), ("saxpy", True, 1),
    ]  # fmt: skip
    assert all(row["compared"] == 1 for row in rows)
    assert rows[0]["difference_ns"] == (
        rows[0]["compared_elapsed_on_stream_ns"] - rows[0]["compared_kernel_busy_ns"]
    )


def test_the_table_is_of_one_request_on_demand(trace, report):
    run("nsys", "join", trace.path, report)

    assert as_json("spans", trace.path, "--correlation", "req-1")["nsight"] != []
    assert as_json("spans", trace.path, "--correlation", "req-2")["nsight"] == []


def test_without_a_join_nothing_changes(trace):
    assert "nsight" not in as_json("spans", trace.path)
    assert "kernel_busy_ms" not in run("show", trace.path).stdout


def test_a_join_can_be_deleted(trace, report):
    before = run("show", trace.path).stdout
    run("nsys", "join", trace.path, report)
    (trace.path / "nsight.db").unlink()

    assert run("show", trace.path).stdout == before


def test_a_new_recording_takes_an_old_join_with_it(trace, report):
    """GIVEN a joined trace WHEN it is overwritten THEN nothing of the join is left."""
    run("nsys", "join", trace.path, report)
    gpu_narration.start(trace.path, overwrite=True, **QUIET)
    gpu_narration.stop()

    assert not (trace.path / "nsight.db").exists()


def test_a_report_of_another_run_has_exit_status_2(trace, capture):
    done = run("nsys", "join", trace.path, capture)

    assert done.exit_code == 2
    assert "[nsight-join]" in done.output


def test_a_trace_that_still_grows_is_joined_up_to_now(tmp_path):
    """GIVEN a program that records WHEN its trace is joined THEN it says so."""
    recorder = gpu_narration.start(tmp_path / "t", **QUIET)
    try:
        with span("engine", "decode"):
            pass
        gpu_narration.flush()
        live = Trace(recorder.path)
        path = observed(live, ReportTime()).export.write(tmp_path / "r.sqlite")
        done = run("nsys", "join", recorder.path, path)
        assert done.exit_code == 0, done.output
        assert "is still recording" in done.stdout
    finally:
        gpu_narration.stop()


def test_the_examples_of_the_help_are_there():
    for verb in (["nsys"], ["nsys", "join"], ["nsys", "explain"]):
        assert "Examples:" in run(*verb, "--help").output
