"""The verb ``vram`` on real traces: lines, table, picture, and what it says when there is nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gpu_narration import correlation, narrate, span
from gpu_narration.cli.app import cli
from gpu_narration.cuda import MockGpu
from tests.support.programs import begin_python, command, finish, write_program
from tests.support.recording import ManualClock, recorded, recorded_on_mock

GIB = 1 << 30


def _program(gpu: MockGpu, _: ManualClock) -> None:
    with correlation("req-1"), span("engine", "load", vram=True):
        weights = gpu.malloc(3 * GIB)
    narrate("engine", "ready", "", "The model is loaded")
    with correlation("req-2"), span("engine", "serve", vram=True):
        with span("engine", "prefill", vram=True):
            cache = gpu.malloc(GIB)
        gpu.free(cache)
    with span("engine", "unload", vram=True):
        gpu.free(weights)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    seen = recorded_on_mock(tmp_path_factory.mktemp("vram"), _program, vram=True)
    return seen.trace.path


def invoke(verb: str, *arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [verb, *map(str, arguments)])


def vram(*arguments: str | Path) -> Result:
    return invoke("vram", *arguments)


def rows(*arguments: str | Path) -> dict[str, Any]:
    record = json.loads(vram(*arguments, "--by-scope", "--json").stdout)
    return {row["scope"]: row for row in record["scopes"]}


def test_the_lines_are_those_that_show_prints(trace: Path) -> None:
    shown = [line for line in invoke("show", trace).stdout.splitlines() if " state_change " in line]
    assert vram(trace).stdout.splitlines() == shown
    assert len(shown) >= 4


def test_a_correlation_leaves_the_changes_of_that_request(trace: Path) -> None:
    lines = vram(trace, "--correlation", "req-1").stdout.splitlines()
    assert len(lines) == 1
    assert 'correlation_id="req-1" "VRAM on simulated gpu0 rose 3.0 GiB' in lines[0]


def test_lines_as_json_have_the_bytes(trace: Path) -> None:
    records = [json.loads(line) for line in vram(trace, "--json").stdout.splitlines()]
    assert [record["fields"]["used_bytes"] for record in records][:2] == [0, 3 * GIB]


def test_the_table_has_each_scope_with_and_without_what_is_inside(trace: Path) -> None:
    found = rows(trace)
    assert {
        name: (row["rose_bytes"], row["fell_bytes"], row["own_net_bytes"])
        for name, row in found.items()
    } == {
        "load": (3 * GIB, 0, 3 * GIB), "serve": (GIB, GIB, -GIB), "prefill": (GIB, 0, GIB),
        "unload": (0, 3 * GIB, -3 * GIB),
    }  # fmt: skip
    assert (found["load"]["sources"], found["load"]["requests"]) == (["exact"], 1)
    assert all(row["simulated"] for row in found.values())


def test_the_table_is_a_table(trace: Path) -> None:
    lines = vram(trace, "--by-scope").stdout.splitlines()
    assert lines[0].startswith("gpu0 simulated: first 0 B, peak 4.0 GiB, last")
    assert lines[2].startswith("VRAM by scope (simulated): with the scopes inside, and own")
    (row,) = (line for line in lines if line.startswith("engine load"))
    assert row.split() == [
        "engine", "load", "gpu0", "simulated", "1", "3.0", "GiB", "0", "B", "+3.0", "GiB",
        "+3.0", "GiB", "3.0", "GiB", "3.0", "GiB", "exact", "1",
    ]  # fmt: skip


def test_the_limit_counts_the_rows_that_are_left(trace: Path) -> None:
    assert "… and 3 more rows" in vram(trace, "--by-scope", "--limit", "1").stdout


@pytest.mark.parametrize("device", ["0", "gpu0", "GPU-0000"])
def test_a_device_is_chosen_by_index_name_or_uuid(trace: Path, device: str) -> None:
    assert len(rows(trace, "--device", device)) >= 3


def test_a_device_that_is_not_there_is_said_with_those_that_are(trace: Path) -> None:
    result = vram(trace, "--device", "gpu7")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "of device gpu7" in result.stderr
    assert "it has readings of gpu0 [no-vram]" in result.stderr


def test_a_trace_without_readings_says_so(tmp_path: Path) -> None:
    path = recorded(tmp_path, lambda: span("a", "b").__enter__().__exit__(None, None, None))
    for arguments in ([], ["--by-scope"], ["--plot", tmp_path / "a.svg"]):
        result = vram(path.trace.path, *arguments)
        assert result.exit_code == 1
        assert "There are no readings of device memory in" in result.stderr
    assert not (tmp_path / "a.svg").exists()


@pytest.mark.parametrize("name", ["a.png", "a.html", "a.svg", "A.SVG"])
def test_a_picture_is_written(trace: Path, tmp_path: Path, name: str) -> None:
    result = vram(trace, "--plot", tmp_path / name)
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / name).stat().st_size > 2000
    assert f"The picture is {tmp_path / name}" in result.stderr


def test_a_picture_and_a_table_can_be_had_at_once(trace: Path, tmp_path: Path) -> None:
    result = vram(trace, "--by-scope", "--plot", tmp_path / "a.svg")
    assert "VRAM by scope" in result.stdout
    assert (tmp_path / "a.svg").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--plot", "a.gif"],
        ["--plot", "a.svg", "--from", "9", "--to", "1"],
        ["--plot", "a.svg", "--from", "1e6"],
        ["--plot", "a.svg", "--from", "nan"],
        ["--plot", "a.svg", "--to", "inf"],
        ["--plot", "a.svg", "--to", "1e308"],
        ["--from", "1"],
        ["--limit", "-1"],
    ],
)
def test_an_option_that_cannot_be_has_exit_status_2(trace: Path, options: list[str]) -> None:
    assert vram(trace, *options).exit_code == 2


def test_a_name_that_is_not_found_cannot_colour_the_terminal(trace: Path) -> None:
    result = vram(trace, "--device", "\x1b[31mred")
    assert "of device \\x1b[31mred in " in result.stderr


def test_a_picture_that_cannot_be_written_has_exit_status_2(trace: Path, tmp_path: Path) -> None:
    result = vram(trace, "--plot", tmp_path / "none" / "a.svg")
    assert (result.exit_code, "[system-error]" in result.stderr) == (2, True)


def test_what_is_no_trace_has_exit_status_2(tmp_path: Path) -> None:
    result = vram(tmp_path / "nothing.gnt")
    assert (result.exit_code, "[not-a-trace]" in result.stderr) == (2, True)


def test_a_damaged_trace_has_exit_status_3(trace: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gnt"
    damaged.mkdir()
    for file in trace.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    (segment,) = damaged.glob("*.seg")
    segment.write_bytes(segment.read_bytes()[:-3])
    assert vram(damaged).exit_code == 3
    assert "torn_tail" in vram(damaged, "--by-scope").stdout


def test_the_help_has_examples() -> None:
    assert "gpu-narration vram demo.gnt --by-scope" in vram("--help").stdout


def test_the_devices_of_the_trace_complete(trace: Path) -> None:
    done = command(
        cwd=trace.parent,
        env={
            "COMP_WORDS": f"gpu-narration vram {trace.name} --device gp",
            "COMP_CWORD": "4",
            "_GPU_NARRATION_COMPLETE": "bash_complete",
        },
    )
    assert done.stdout.split() == ["plain,gpu0"]


KILLED = """
import os
import gpu_narration as gn
from gpu_narration import cuda

gn.start("t.gnt", backend="mock", nvtx="off")
gpu = cuda.current().backend.gpu
with gn.span("engine", "load", vram=True):
    gpu.malloc(1 << 30)
gn.span("engine", "serve", vram=True).__enter__()
os.kill(os.getpid(), 9)
"""


def test_the_trace_of_a_killed_program_has_its_memory(tmp_path: Path) -> None:
    finish(begin_python(write_program(tmp_path, KILLED), cwd=tmp_path))
    found = rows(tmp_path / "t.gnt")
    assert found["load"]["net_bytes"] == GIB


def test_a_new_users_path_from_the_demo_to_the_picture(tmp_path: Path) -> None:
    """GIVEN the demo THEN its table names who took the memory, and its picture can be had."""
    demo = command("demo", "--backend", "mock", "--tokens", "1", "--quiet", cwd=tmp_path)
    assert demo.returncode == 0, demo.stderr
    found = rows(tmp_path / "demo.gnt")
    assert (found["load_weights"]["net_bytes"], found["unload"]["net_bytes"]) == (
        3 * GIB // 2, -3 * GIB // 2
    )  # fmt: skip
    assert (found["run"]["net_bytes"], found["run"]["own_net_bytes"]) == (0, 0)
    assert vram(tmp_path / "demo.gnt", "--plot", tmp_path / "a.png").exit_code == 0
