"""The verb ``spans`` on real traces: whole ones, simulated ones, those of killed programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gpu_narration import correlation, span
from gpu_narration.cli.app import cli
from gpu_narration.cuda import MockGpu, MockKernel, kernel
from gpu_narration.views.units import duration
from tests.support.damage import segment_of
from tests.support.programs import begin_python, command, finish, write_program
from tests.support.recording import ManualClock, recorded_on_mock

#: Two spans of one request, one of another, a launch on each of two streams.
SAXPY = MockKernel("saxpy", 31_000)


def _program(gpu: MockGpu, clock: ManualClock) -> None:
    first, second = gpu.stream(), gpu.stream()
    with correlation("req-1"), span("engine", "prefill", gpu=True, stream=first):
        kernel(SAXPY, every=1)((1,), (1,), (), stream=first)
    with correlation("req-2"), span("engine", "decode"):
        kernel(SAXPY, every=1)((1,), (1,), (), stream=second)
    clock.step(100_000)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_on_mock(tmp_path_factory.mktemp("spans"), _program).trace.path


def spans(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["spans", *map(str, arguments)])


def as_json(*arguments: str | Path) -> Any:
    return json.loads(spans(*arguments, "--json").stdout)


def test_the_tables_have_spans_launches_and_streams(trace: Path) -> None:
    lines = spans(trace).stdout.splitlines()
    titles = [line.partition(" (")[0].strip() for line in lines if line and line[0].isupper()]
    assert [
        title for title in titles if title in {"Spans", "Streams"} or title.startswith("GPU")
    ] == ["Spans", "GPU time of launches", "GPU time of spans", "Streams"]


def test_each_stream_of_the_simulated_gpu_has_its_own_row(trace: Path) -> None:
    launches = as_json(trace)["launches"]
    assert [(row["stream"], row["elapsed_on_stream"]["total_ns"]) for row in launches] == [
        (7, 31_000), (8, 31_000)
    ]  # fmt: skip


def test_by_name_the_streams_share_a_row(trace: Path) -> None:
    (row,) = as_json(trace, "--by", "name")["launches"]
    assert (row["calls"], row["stream"]) == (2, None)


def test_a_correlation_leaves_the_events_of_that_request(trace: Path) -> None:
    record = as_json(trace, "--correlation", "req-2")
    assert [row["name"] for row in record["spans"]] == ["decode"]
    assert [row["calls"] for row in record["launches"]] == [1]


def test_a_correlation_that_is_not_there_is_said(trace: Path) -> None:
    result = spans(trace, "--correlation", "req-9")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no events of the request 'req-9'" in result.stderr


def test_an_actor_leaves_its_rows(trace: Path) -> None:
    record = as_json(trace, "--actor", "cuda")
    assert (record["spans"], len(record["launches"])) == ([], 2)


def test_the_limit_holds_for_json_too(trace: Path) -> None:
    assert len(as_json(trace, "--limit", "1")["spans"]) == 1


def test_rows_are_sorted_by_name_on_demand(trace: Path) -> None:
    names = [row["name"] for row in as_json(trace, "--sort", "name")["spans"]]
    assert names == ["decode", "prefill"]


def test_what_is_no_trace_has_exit_status_2(tmp_path: Path) -> None:
    result = spans(tmp_path / "nothing.gnt")
    assert (result.exit_code, "[not-a-trace]" in result.stderr) == (2, True)


@pytest.mark.parametrize("option", [["--by", "device"], ["--sort", "size"], ["--limit", "-1"]])
def test_an_option_that_cannot_be_has_exit_status_2(trace: Path, option: list[str]) -> None:
    assert spans(trace, *option).exit_code == 2


def test_a_damaged_trace_has_exit_status_3_and_its_rows(trace: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gnt"
    damaged.mkdir()
    for file in trace.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    segment = segment_of(damaged)
    segment.write_bytes(segment.read_bytes()[:-3])
    result = spans(damaged)
    assert result.exit_code == 3
    assert "WARN gpu_narration torn_tail" in result.stdout


def test_output_that_is_no_terminal_has_no_colour(trace: Path) -> None:
    assert "\x1b" not in spans(trace).stdout


def test_colour_can_be_asked_for(trace: Path) -> None:
    assert "\x1b[1m" in spans(trace, "--color", "always").stdout


def test_the_help_has_examples() -> None:
    assert "gpu-narration spans demo.gnt --by name" in spans("--help").stdout


def test_the_actors_of_the_trace_complete(trace: Path) -> None:
    done = command(
        cwd=trace.parent,
        env={
            "COMP_WORDS": f"gpu-narration spans {trace.name} --actor en",
            "COMP_CWORD": "4",
            "_GPU_NARRATION_COMPLETE": "bash_complete",
        },
    )
    assert done.stdout.split() == ["plain,engine"]


KILLED = """
import os
import gpu_narration as gn
from gpu_narration import cuda

gn.start("t.gnt", backend="mock", vram=False, nvtx="off")
kernel = cuda.kernel(cuda.MockKernel("long", 60_000_000_000), every=1)
gn.span("engine", "finished").__enter__().__exit__(None, None, None)
open_span = gn.span("engine", "running")
open_span.__enter__()
kernel((1,), (1,), ())
os.kill(os.getpid(), 9)
"""


def test_the_trace_of_a_killed_program_has_what_it_did(tmp_path: Path) -> None:
    """GIVEN a program killed in a span, its kernel running THEN neither has a time."""
    finish(begin_python(write_program(tmp_path, KILLED), cwd=tmp_path))
    result = spans(tmp_path / "t.gnt", "--json")
    record = json.loads(result.stdout)
    found = {row["name"]: (row["calls"], row["open"]) for row in record["spans"]}
    assert result.exit_code == 0
    assert found == {"finished": (1, 0), "running": (0, 1)}
    (launch,) = record["launches"]
    assert (launch["timed"], launch["elapsed_on_stream"], launch["simulated"]) == (0, None, True)
    assert launch["untimed"] == {"no answer in the trace": 1}


def test_the_demo_shows_two_streams_that_overlap_each_with_its_own_time(tmp_path: Path) -> None:
    """GIVEN the demo THEN each of its streams has a row with the time that is its own."""
    demo = command("demo", "--backend", "mock", "--tokens", "1", "--quiet", cwd=tmp_path)
    assert demo.returncode == 0, demo.stderr
    record = as_json(tmp_path / "demo.gnt")
    elapsed = [stream["launches"]["elapsed_ns"] for stream in record["streams"]]
    shown = [duration(ns) for ns in elapsed]
    rows = [line for line in demo.stdout.splitlines() if line.startswith("gpu0 simulated  ")]
    rows = rows[:2]  # of the streams; the device's memory has a row like theirs
    assert len(elapsed) == 2
    assert [text in row for text, row in zip(shown, rows, strict=True)] == [True, True]
