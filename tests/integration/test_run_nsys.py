"""``gpu-narration run --nsys``: the program under nsys, recorded by us, and itself all the same."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from gpu_narration.tracefile import Trace
from tests.support.nsys import FakeNsys
from tests.support.nvtx_log import NvtxLog
from tests.support.programs import begin_python, finish, python, write_program

RUN = ("-m", "gpu_narration.cli", "run")
APP = """
import sys
from gpu_narration import span
with span("app", "prefill"):
    print("arguments", sys.argv[1:])
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
"""


@pytest.fixture
def nsys(tmp_path: Path) -> FakeNsys:
    write_program(tmp_path, APP)
    return FakeNsys(tmp_path)


def environment(nsys: FakeNsys) -> Mapping[str, str]:
    return {"PATH": f"{nsys.directory}{os.pathsep}{os.environ['PATH']}"}


def run(nsys: FakeNsys, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(*RUN, *arguments, cwd=nsys.directory.parent, env=environment(nsys))


def test_the_tool_sees_our_ranges_with_the_ids_of_the_trace(nsys: FakeNsys, tmp_path: Path) -> None:
    done = run(nsys, "--nsys", "app.py")
    assert done.returncode == 0, done.stderr
    (event,) = (e for e in Trace(tmp_path / "app.gnt").events() if e.phase.value == "begin")
    (pushed,) = NvtxLog(tmp_path / "nvtx.log").of("push")
    assert (pushed.message, pushed.payload) == ("prefill", event.id)


def test_the_programs_arguments_output_and_status_are_its_own(nsys: FakeNsys) -> None:
    done = run(nsys, "--nsys", "app.py", "3", "--nsys", "-o", "x")
    assert (done.returncode, done.stdout) == (3, "arguments ['3', '--nsys', '-o', 'x']\n")


def test_it_says_where_the_report_is_and_what_to_do_with_it(nsys: FakeNsys) -> None:
    done = run(nsys, "-o", "my trace", "--nsys", "app.py")
    assert done.stderr.splitlines()[-1] == (
        "gpu_narration: the report is my trace.nsys-rep, my trace.sqlite; join it with the trace: "
        "gpu-narration nsys join 'my trace.gnt' 'my trace.sqlite'"
    )


def test_quiet_says_nothing(nsys: FakeNsys) -> None:
    assert run(nsys, "--quiet", "--nsys", "app.py").stderr == ""


def test_options_of_nsys_follow_directly_and_ours_may_come_after(
    nsys: FakeNsys, tmp_path: Path
) -> None:
    done = run(nsys, "--nsys", "-t", "cuda,nvtx", "--sample=none", "--no-vram", "app.py", "-t", "1")
    assert done.returncode in (0, 1), done.stderr
    arguments = nsys.arguments()
    assert arguments[arguments.index("-t") + 1] == "cuda,nvtx"
    assert arguments[-4:] == ["--no-vram", "app.py", "-t", "1"]
    assert (tmp_path / "app.gnt").is_dir()


def test_our_options_reach_the_recording(nsys: FakeNsys, tmp_path: Path) -> None:
    run(nsys, "--filter", "app=off", "--nsys", "app.py")
    assert not list(Trace(tmp_path / "app.gnt").events())


def test_every_kind_of_our_options_is_handed_on(nsys: FakeNsys) -> None:
    done = run(
        nsys, "--ffi", "llama", "--flight", "--ring-mib", "16", "--no-vram", "--strip", "--dry-run",
        "--nsys", "app.py",
    )  # fmt: skip
    inner = done.stdout.partition(" run --output=app.gnt ")[2].split()
    assert sorted(inner) == [
        "--ffi=llama", "--flight", "--no-vram", "--nvtx=on", "--ring-mib=16", "--strip", "app.py",
    ]  # fmt: skip


def test_dry_run_prints_the_command_and_runs_nothing(nsys: FakeNsys, tmp_path: Path) -> None:
    done = run(nsys, "--dry-run", "--capture-range", "prefill", "--nsys", "app.py", "a b")
    assert done.returncode == 0
    assert done.stdout.startswith(f"{nsys.path} profile --trace=cuda,nvtx,osrt ")
    assert "--nvtx-capture=prefill@gpu_narration" in done.stdout
    assert done.stdout.endswith("run --output=app.gnt --nvtx=on app.py 'a b'\n")
    assert not (tmp_path / "app.gnt").exists()


def test_a_report_in_the_way_is_left_alone(nsys: FakeNsys, tmp_path: Path) -> None:
    (tmp_path / "app.nsys-rep").write_text("precious")
    done = run(nsys, "--nsys", "app.py")
    assert done.returncode == 2
    assert "app.nsys-rep is there already; add --overwrite, or choose another -o" in done.stderr
    assert (tmp_path / "app.nsys-rep").read_text() == "precious"
    assert run(nsys, "--overwrite", "--nsys", "app.py").returncode == 0


def test_no_report_from_a_capture_range_says_that_none_began(tmp_path: Path) -> None:
    write_program(tmp_path, APP)
    nsys = FakeNsys(tmp_path, captures=False)
    done = run(nsys, "--capture-range", "decode", "--nsys", "app.py")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "Error: nsys wrote no report to app.nsys-rep; it collects from the first span or range "
        "named 'decode' on, and perhaps none began; gpu-narration show app.gnt lists the names "
        "[nsys]"
    )


def test_an_nsys_that_refuses_is_told_with_its_status(tmp_path: Path) -> None:
    write_program(tmp_path, APP)
    done = run(FakeNsys(tmp_path, refuses=True), "--nsys", "app.py")
    assert done.returncode == 2
    assert "it ended with status 1; what it says above tells why" in done.stderr


def test_an_old_nsys_is_used_and_told(tmp_path: Path) -> None:
    write_program(tmp_path, APP)
    nsys = FakeNsys(tmp_path, version="NVIDIA Nsight Systems version 2024.5.1")
    done = run(nsys, "--nsys", "app.py")
    assert done.returncode == 0
    assert done.stderr.startswith("gpu_narration: nsys 2024.5 draws no NVTX counters")


def test_without_nsys_nothing_runs(tmp_path: Path) -> None:
    write_program(tmp_path, APP)
    done = python(*RUN, "--nsys", "app.py", cwd=tmp_path, env={"PATH": "/nonexistent"})
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: there is no nsys on PATH")
    assert done.stderr.endswith("[no-nsys]\n")


def test_a_dry_run_needs_no_nsys(tmp_path: Path) -> None:
    write_program(tmp_path, APP)
    done = python(*RUN, "--dry-run", "--nsys", "app.py", cwd=tmp_path, env={"PATH": "/nonexistent"})
    assert done.returncode == 0
    assert done.stdout.startswith("nsys profile ")


def test_ending_it_ends_the_program_and_keeps_the_report(nsys: FakeNsys, tmp_path: Path) -> None:
    write_program(
        tmp_path,
        """
        import time
        from gpu_narration import trace_tiny
        trace_tiny("app", "wait", "", "")
        print("ready", flush=True)
        time.sleep(60)
        """,
    )
    process = begin_python(*RUN, "--nsys", "app.py", cwd=tmp_path, env=environment(nsys))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert done.returncode == 128 + signal.SIGTERM
    assert "the report is app.nsys-rep, app.sqlite" in done.stderr
    assert [event.names[1] for event in Trace(tmp_path / "app.gnt").events()] == ["wait"]


def test_dry_run_alone_says_what_it_belongs_to(nsys: FakeNsys) -> None:
    done = run(nsys, "--dry-run", "app.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--dry-run and --memory-usage are for --nsys" in done.stderr
