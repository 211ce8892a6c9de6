"""The verb ``watch`` as a person sees it: on terminals of two widths, and off them."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gpu_narration.cli.app import cli
from tests.support.nvml import GIB, device, nvml_environment
from tests.support.programs import begin_python, command, finish, write_program
from tests.support.terminal import Terminal, terminal

#: Works until it is told to end; one line in, one step done.
PROGRAM = """
import sys
import gpu_narration as gn
from gpu_narration import cuda

gn.start("t.gnt", backend="mock", nvtx="off")
gpu = cuda.current().backend.gpu
saxpy = cuda.kernel(cuda.MockKernel("saxpy", 31_000), every=1)
for number, line in enumerate(sys.stdin):
    with gn.correlation(f"req-{number}"), gn.span("engine", "prefill", gpu=True, vram=True):
        gpu.malloc(4 << 30)
        saxpy((1,), (1,), ())
    gn.narrate("engine", "accept", f"job-{number}", f"Accepted request {number}")
    gn.flush()
    print("done", flush=True)
gn.stop()
"""


class Program:
    """A program that records to t.gnt, a step when it is asked for one."""

    def __init__(self, directory: Path) -> None:
        self.process: subprocess.Popen[str] = begin_python(
            write_program(directory, PROGRAM), cwd=directory
        )

    def step(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path)
    made.step()
    yield made
    if made.process.poll() is None:
        finish(made.process)


def has(*texts: str) -> Callable[[list[str]], bool]:
    """Whether the screen has all of these."""
    return lambda lines: all(any(text in line for line in lines) for text in texts)


def watching(screen: Terminal) -> list[str]:
    return screen.until(
        has("4.0 GiB of  24.0 GiB", "saxpy  1 call", "Accepted request 0", "q ends")
    )


def test_a_terminal_of_140_columns_has_everything(program: Program, tmp_path: Path) -> None:
    with terminal("watch", "t.gnt", cwd=tmp_path, columns=140, rows=24) as screen:
        lines = watching(screen)
        screen.press("q")
        screen.end()
    assert lines[0].startswith("t.gnt  running  ")
    assert "0 dropped" in lines[0]
    assert lines[1].startswith("gpu0 simulated  ██████████")
    assert lines[1].endswith("4.0 GiB of  24.0 GiB   17 %  peak   4.0 GiB  exact")
    assert lines[3] == "moved last (how long ago)"
    assert lines[4].endswith("gpu0 simulated    +4.0 GiB  to   4.0 GiB  prefill  req-0")
    assert lines[6] == "GPU time, elapsed on stream"
    assert {line.split("  ")[-1] for line in lines[7:9]} == {"simulated"}
    assert lines[10] == "narrations (how long ago)"
    assert lines[11].endswith("INFO engine: Accepted request 0")
    assert lines[-1] == "q ends"


def test_a_terminal_of_60_columns_has_the_same_without_details(
    program: Program, tmp_path: Path
) -> None:
    with terminal("watch", "t.gnt", cwd=tmp_path, columns=60, rows=24) as screen:
        lines = watching(screen)
        screen.press("q")
        screen.end()
    assert lines[0].startswith("t.gnt  running  ")
    assert lines[1].startswith("gpu0 sim.  ███")
    assert lines[1].endswith("4.0 GiB of  24.0 GiB   17 %")
    assert lines[4].endswith("gpu0 sim.    +4.0 GiB  prefill")
    assert lines[-1] == "q ends"
    assert max(map(len, lines)) <= 60


def test_it_follows_what_happens_and_a_window_that_changes(
    program: Program, tmp_path: Path
) -> None:
    with terminal("watch", "t.gnt", cwd=tmp_path, columns=140, rows=24) as screen:
        watching(screen)
        program.step()
        screen.until(has("8.0 GiB of  24.0 GiB", "saxpy  2 calls", "Accepted request 1"))
        screen.resize(60, 16)
        lines = screen.until(lambda lines: lines[1].startswith("gpu0 sim.  █"))
        assert max(map(len, lines)) <= 60
        screen.press("q")
        assert screen.end() == 0


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_q_and_control_c_end_it_and_the_terminal_is_as_it_was(
    program: Program, tmp_path: Path, key: str
) -> None:
    with terminal("watch", "t.gnt", cwd=tmp_path, columns=100, rows=24) as screen:
        watching(screen)
        assert screen.modes != screen.modes_before
        screen.press(key)
        assert screen.end() == 0
        assert screen.modes == screen.modes_before
        assert screen.raw.rindex(b"\x1b[?1049l") > screen.raw.rindex(b"\x1b[?1049h")
        assert screen.raw.rindex(b"\x1b[?25h") > screen.raw.rindex(b"\x1b[?25l")


def test_sigterm_leaves_the_terminal_as_it_was(program: Program, tmp_path: Path) -> None:
    with terminal("watch", "t.gnt", cwd=tmp_path) as screen:
        watching(screen)
        screen.process.send_signal(signal.SIGTERM)
        assert screen.end() == 143
        assert screen.modes == screen.modes_before
        assert b"\x1b[?1049l" in screen.raw


def test_the_end_of_the_trace_ends_it_with_the_last_look_on_the_screen(
    program: Program, tmp_path: Path
) -> None:
    with terminal("watch", "t.gnt", cwd=tmp_path, columns=140, rows=24) as screen:
        watching(screen)
        finish(program.process)
        assert screen.end() == 0
        assert has("t.gnt  ended", "4.0 GiB of  24.0 GiB")(screen.lines())


def test_it_survives_the_death_of_the_program_and_says_so(program: Program, tmp_path: Path) -> None:
    """GIVEN kill -9 after a second step that no one has seen THEN the last look has that step."""
    with terminal("watch", "t.gnt", cwd=tmp_path, columns=140, rows=24) as screen:
        watching(screen)
        program.step()
        program.kill()
        assert screen.end() == 0
        assert has(
            "t.gnt  died", f"process {program.process.pid} died while it recorded",
            "8.0 GiB of  24.0 GiB", "saxpy  2 calls",
        )(screen.lines())  # fmt: skip


def test_colour_is_left_out_on_demand(program: Program, tmp_path: Path) -> None:
    def colors(**env: str) -> bool:
        with terminal("watch", "t.gnt", cwd=tmp_path, env=env) as screen:
            watching(screen)
            screen.press("q")
            screen.end()
            return b"\x1b[32m" in screen.raw

    assert [colors(), colors(NO_COLOR="1")] == [True, False]


def test_off_a_terminal_it_is_one_look_as_text(program: Program, tmp_path: Path) -> None:
    done = command("watch", "t.gnt", cwd=tmp_path, env={"COLUMNS": "140"})
    lines = done.stdout.splitlines()
    assert (done.returncode, "\x1b" in done.stdout) == (0, False)
    assert lines[0].startswith("t.gnt  running  ")
    assert "q ends" not in lines
    assert has("4.0 GiB of  24.0 GiB", "saxpy  1 call", "Accepted request 0")(lines)


def test_one_look_as_json_has_the_numbers(program: Program, tmp_path: Path) -> None:
    record = json.loads(command("watch", "t.gnt", "--json", cwd=tmp_path).stdout)
    assert record["status"] == "running"
    assert [row["used_bytes"] for row in record["devices"]] == [4 * GIB]
    assert {row["name"]: row["kind"] for row in record["gpu_work"]} == {
        "saxpy": "launch", "engine prefill": "span"
    }  # fmt: skip


def test_what_is_no_trace_has_exit_status_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["watch", str(tmp_path / "nothing.gnt")])
    assert (result.exit_code, "[not-a-trace]" in result.stderr) == (2, True)


def test_a_pace_that_is_no_number_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["watch", str(tmp_path), "--per-second", "nan"])
    assert (result.exit_code, "Invalid value for '--per-second'" in result.stderr) == (2, True)


def test_the_help_has_examples() -> None:
    assert "gpu-narration watch app.gnt" in CliRunner().invoke(cli, ["watch", "--help"]).stdout


# ---- the machine ----


def change(directory: Path, *lines: str) -> None:
    (directory / "machine.new").write_text("\n".join(lines) + "\n")
    (directory / "machine.new").replace(directory / "machine.txt")


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    change(tmp_path, device(4 * GIB), device(15 * GIB, uuid="GPU-bbbb"))
    return nvml_environment(tmp_path)


def test_without_a_trace_it_is_the_machine(machine: dict[str, str], tmp_path: Path) -> None:
    with terminal("watch", cwd=tmp_path, columns=140, rows=20, env=machine) as screen:
        lines = screen.until(has("gpu1"))
        assert lines[0].startswith("GPUs of ")
        assert lines[1].startswith("gpu0  █")
        assert lines[1].endswith("4.0 GiB of  16.0 GiB   25 %  peak   4.0 GiB  sampled")
        assert lines[2].endswith("15.0 GiB of  16.0 GiB   94 %  peak  15.0 GiB  sampled")
        change(tmp_path, device(6 * GIB), device(15 * GIB, uuid="GPU-bbbb"))
        lines = screen.until(has("6.0 GiB of  16.0 GiB", "+2.0 GiB"))
        assert has("gpu0    +2.0 GiB  to   6.0 GiB")(lines)
        screen.press("q")
        assert screen.end() == 0


def test_a_look_at_the_machine_is_json(machine: dict[str, str], tmp_path: Path) -> None:
    done = command("watch", "--json", cwd=tmp_path, env=machine)
    record = json.loads(done.stdout)
    assert [(row["name"], row["used_bytes"], row["sources"]) for row in record["devices"]] == [
        ("gpu0", 4 * GIB, ["sampled"]), ("gpu1", 15 * GIB, ["sampled"])
    ]  # fmt: skip
    assert (record["events"], record["dropped"]) == (None, None)


def test_a_device_that_is_lost_while_it_is_watched_says_so_and_the_others_go_on(
    machine: dict[str, str], tmp_path: Path
) -> None:
    with terminal("watch", cwd=tmp_path, columns=140, rows=20, env=machine) as screen:
        screen.until(has("gpu1"))
        change(tmp_path, device(4 * GIB, flags="lost"), device(14 * GIB, uuid="GPU-bbbb"))
        screen.until(has("gpu0  unknown: ", "14.0 GiB of  16.0 GiB"))
        screen.press("q")
        assert screen.end() == 0


def test_a_machine_without_nvml_says_what_to_do(tmp_path: Path) -> None:
    change(tmp_path, "init 9")
    done = command("watch", cwd=tmp_path, env=nvml_environment(tmp_path))
    assert done.returncode == 2
    assert "NVML cannot tell this machine's memory" in done.stderr
    assert done.stderr.rstrip().endswith("[no-nvml]")
