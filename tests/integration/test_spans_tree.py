"""The verb ``spans --tree`` on a real, simulated trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gpu_narration import correlation, span, start, stop
from gpu_narration.cli.app import cli
from gpu_narration.cuda import MockGpu, MockKernel, kernel
from tests.support.recording import QUIET, ManualClock, recorded_on_mock

SAXPY = MockKernel("saxpy", 31_000)


def _program(gpu: MockGpu, clock: ManualClock) -> None:
    stream = gpu.stream()
    with correlation("req-1"), span("app", "serve"):
        with span("engine", "prefill", gpu=True, vram=True, stream=stream):
            held = gpu.malloc(1 << 30)
            kernel(SAXPY, every=1)((1,), (1,), (), stream=stream)
        with span("engine", "decode"):
            kernel(SAXPY, every=1)((1,), (1,), (), stream=stream)
    clock.step(1_000_000)
    gpu.free(held)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_on_mock(tmp_path_factory.mktemp("tree"), _program, vram=True).trace.path


def tree(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["spans", "--tree", *map(str, arguments)])


def as_json(*arguments: str | Path) -> Any:
    return json.loads(tree(*arguments, "--json").stdout)["tree"]


def test_the_table_shows_depth_by_indentation(trace: Path) -> None:
    lines = tree(trace).stdout.splitlines()
    assert [line.partition("    ")[0].rstrip() for line in lines[:2]] == [
        "Spans by their nesting (simulated)", "span",
    ]  # fmt: skip
    names = sorted(line[: line.index("1") - 1].rstrip() for line in lines[2:])
    assert names == [
        "    cuda saxpy (launch)", "    cuda saxpy (launch)", "  engine decode",
        "  engine prefill", "app serve",
    ]  # fmt: skip


def test_json_has_spans_inside_spans_with_their_figures(trace: Path) -> None:
    """The clock of this GPU has no place on that of the CPU, so how long it was busy is unknown."""
    (serve,) = as_json(trace, "--sort", "vram")
    assert (serve["launches"], serve["gpu_busy_ns"], serve["simulated"]) == (2, None, True)
    prefill, decode = serve["inside"]
    assert (prefill["name"], prefill["vram_net_bytes"], prefill["elapsed_on_stream_ns"]) == (
        "prefill", 1 << 30, 31_000,
    )  # fmt: skip
    assert decode["vram_net_bytes"] is None
    assert decode["inside"][0] | {"inside": 0} == decode["inside"][0] | {
        "name": "saxpy", "launch": True, "cpu_ns": None, "inside": 0,
    }  # fmt: skip


def test_what_is_unknown_is_a_dash(trace: Path) -> None:
    (decode,) = [line for line in tree(trace).stdout.splitlines() if "decode" in line]
    assert decode.split()[-1] == "\N{EN DASH}"


def test_a_request_that_is_not_there_is_said(trace: Path) -> None:
    result = tree(trace, "--correlation", "req-9")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no spans or launches of the request 'req-9'" in result.stderr


@pytest.mark.parametrize("sort", ["calls", "median", "size"])
def test_orders_of_the_tables_are_none_of_the_tree(trace: Path, sort: str) -> None:
    assert tree(trace, "--sort", sort).exit_code == 2


def test_orders_of_the_tree_are_none_of_the_tables(trace: Path) -> None:
    result = CliRunner().invoke(cli, ["spans", str(trace), "--sort", "vram"])
    assert (result.exit_code, "--tree" in result.stderr) == (2, True)


def test_by_is_not_for_the_tree(trace: Path) -> None:
    assert tree(trace, "--by", "name").exit_code == 2


def test_a_limit_says_what_it_left_out(trace: Path) -> None:
    assert tree(trace, "--limit", "2").stdout.splitlines()[-1] == "… and 3 more rows"


def test_hostile_names_stay_in_their_line(tmp_path: Path) -> None:
    start(tmp_path / "t", **QUIET)
    with span("a\x1b[31m", "b\n  forged row"):
        pass
    stop()
    lines = tree(tmp_path / "t.gnt").stdout.splitlines()
    assert (len(lines), "\x1b" in "".join(lines)) == (3, False)
