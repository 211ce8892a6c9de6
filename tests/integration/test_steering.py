"""``gpu-narration filter``, ``dump`` and ``flush`` on programs that run."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_narration.tracefile import Event, Trace
from tests.support.programs import begin_python, command, finish, write_program
from tests.support.run import TIMEOUT_S

CLI = ("-m", "gpu_narration.cli")

#: For every line on stdin: makes an event of two actors, and says that it did.
STEPS = """
import sys
from gpu_narration import trace_tiny
print("ready", flush=True)
for number, line in enumerate(sys.stdin):
    trace_tiny("engine", "step", "", "{}", number)
    trace_tiny("app", "step", "", "{}", number)
    print("stepped", flush=True)
"""


class Program:
    """A program under ``gpu-narration run`` that steps when it is told to."""

    def __init__(self, directory: Path, *options: str, source: str = STEPS) -> None:
        self.directory = directory
        app = write_program(directory, source)
        self.process = begin_python(
            *CLI, "run", "-q", "--backend", "none", "-o", "t.gnt", *options, app, cwd=directory
        )
        self.hear("ready")

    @property
    def trace(self) -> Path:
        return self.directory / "t.gnt"

    def hear(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{word}\n"

    def step(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.hear("stepped")

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        verb, *rest = arguments
        return command(verb, "t.gnt", *rest, cwd=self.directory)

    def end(self) -> subprocess.CompletedProcess[str]:
        return finish(self.process)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Begins programs, and ends those that a failed test leaves."""
    begun: list[Program] = []

    def begin(*options: str, source: str = STEPS) -> Program:
        begun.append(Program(tmp_path, *options, source=source))
        return begun[-1]

    yield begin
    for left in begun:
        if left.process.poll() is None:
            left.process.kill()
            left.process.communicate(timeout=TIMEOUT_S)


def steps(path: Path) -> list[tuple[str | None, object]]:
    return [(event.names[0], event.arguments[0].value) for event in Trace(path).events()]


def line_of(program: Program, text: str) -> str:
    return f"process {program.process.pid}: {text}\n"


# ---- filter ----


def test_the_filter_of_a_running_program_changes(program: Callable[..., Program]) -> None:
    """GIVEN a program that records all WHEN it is told to keep an actor out THEN it does, at once."""
    running = program()
    running.step()
    done = running.ask("filter", "engine=off")
    assert (done.returncode, done.stdout) == (0, line_of(running, "engine=off"))
    running.step()
    assert running.ask("filter", "").returncode == 0
    running.step()
    assert running.end().returncode == 0
    assert steps(running.trace) == [
        ("engine", 0), ("app", 0), ("app", 1), ("engine", 2), ("app", 2),
    ]  # fmt: skip


def test_without_directives_the_filter_in_force_is_printed(program: Callable[..., Program]) -> None:
    running = program("--filter", "info,app=trace")
    assert running.ask("filter").stdout == line_of(running, "info,app=trace")
    running.end()


def test_a_filter_that_lets_all_through_is_said_in_words(program: Callable[..., Program]) -> None:
    running = program()
    assert running.ask("filter").stdout == line_of(running, "everything is recorded")
    running.end()


def test_directives_that_do_not_parse_never_reach_the_program(
    program: Callable[..., Program],
) -> None:
    running = program()
    done = running.ask("filter", "app=loud")
    assert (done.returncode, done.stdout) == (2, "")
    assert "[bad-filter]" in done.stderr
    assert not (running.trace / "control.json").exists()
    running.end()


def test_show_tells_when_the_filter_changed(program: Callable[..., Program]) -> None:
    running = program()
    running.step()
    running.ask("filter", "engine=off")
    running.step()
    running.end()
    shown = command("show", "t.gnt", cwd=running.directory).stdout.splitlines()
    assert shown[2] == 'INFO gpu_narration filter filter="engine=off" "The filter was changed"'
    assert len(shown) == 4


def test_actor_and_level_leave_out_what_happened_to_the_recording(
    program: Callable[..., Program],
) -> None:
    running = program()
    running.ask("filter", "engine=off")
    running.step()
    running.end()
    for options in (["--actor", "app"], ["--correlation", "x"], ["--level", "warn"]):
        shown = command("show", "t.gnt", *options, cwd=running.directory).stdout
        assert "gpu_narration" not in shown, options


# ---- several processes ----

WITH_CHILDREN = """
import os, subprocess, sys
from gpu_narration import trace_tiny
CHILD = '''
import sys
from gpu_narration import trace_tiny
trace_tiny("app", "begun", "", "")
print("ready", flush=True)
sys.stdin.readline()
trace_tiny("engine", "after", "", "")
trace_tiny("app", "after", "", "")
'''
def spawn():
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    return child
trace_tiny("app", "begun", "", "")
child = spawn()
gate, opened = os.pipe()
told, tell = os.pipe()
forked = os.fork()
if forked == 0:
    trace_tiny("app", "begun", "", "")
    os.write(tell, b"!")
    os.read(gate, 1)
    trace_tiny("engine", "after", "", "")
    trace_tiny("app", "after", "", "")
    sys.exit()
os.read(told, 1)
print("ready", flush=True)
sys.stdin.readline()
trace_tiny("engine", "after", "", "")
trace_tiny("app", "after", "", "")
late = spawn()
os.write(opened, b"!")
os.waitpid(forked, 0)
for each in (child, late):
    each.communicate("")
"""


def test_every_process_of_the_trace_is_asked(program: Callable[..., Program]) -> None:
    running = program(source=WITH_CHILDREN)
    done = running.ask("filter", "engine=off")
    running.end()
    assert done.returncode == 0, done.stderr
    pids = {int(line.split()[1].rstrip(":")) for line in done.stdout.splitlines()}
    assert len(pids) == 3
    assert running.process.pid in pids


def test_a_process_that_comes_later_takes_the_filter_over(program: Callable[..., Program]) -> None:
    """GIVEN a filter set from outside THEN the processes there are and those to come have it."""
    running = program(source=WITH_CHILDREN)
    running.ask("filter", "engine=off")
    running.end()
    trace = Trace(running.trace)
    after = [event.names[0] for event in trace.events() if event.names[1] == "after"]
    assert after == ["app"] * 4


# ---- flush and dump ----


def segments_alone(path: Path, copy: Path) -> list[Event]:
    """The events that the segments hold without the ring."""
    copy.mkdir()
    for file in path.iterdir():
        if file.suffix != ".ring":
            (copy / file.name).write_bytes(file.read_bytes())
    return list(Trace(copy).events())


def test_a_flush_brings_the_segments_up_to_date(program: Callable[..., Program]) -> None:
    running = program()
    running.step()
    done = running.ask("flush")
    assert done.stdout == line_of(running, "2 events recorded")
    assert len(segments_alone(running.trace, running.directory / "copy")) == 2
    running.end()


def test_a_dump_writes_what_a_flight_recorder_holds(program: Callable[..., Program]) -> None:
    running = program("--flight")
    running.step()
    assert segments_alone(running.trace, running.directory / "before") == []
    done = running.ask("dump")
    assert done.stdout == line_of(running, "2 events recorded, 0 forgotten")
    assert len(segments_alone(running.trace, running.directory / "after")) == 2
    running.end()


def test_a_dump_from_outside_is_shown_in_its_place(program: Callable[..., Program]) -> None:
    running = program("--flight")
    running.step()
    running.ask("dump")
    running.step()
    running.end()
    shown = command("show", "t.gnt", cwd=running.directory).stdout.splitlines()
    assert shown[2] == (
        'INFO gpu_narration dump reason="gpu-narration dump" records=2 forgotten=0 '
        '"The flight recorder wrote out what it held"'
    )
    assert len(shown) == 5


def test_a_flush_of_a_flight_recorder_says_that_its_events_stay(
    program: Callable[..., Program],
) -> None:
    running = program("--flight")
    running.step()
    assert "stay in its ring until a dump" in running.ask("flush").stdout
    assert segments_alone(running.trace, running.directory / "copy") == []
    running.end()


# ---- the signal ----


def test_with_a_signal_the_program_need_not_look_by_itself(program: Callable[..., Program]) -> None:
    """GIVEN --no-control and a signal THEN the command wakes the program, which goes on."""
    running = program("--no-control", "--control-signal", "SIGUSR2")
    done = running.ask("filter", "engine=off")
    assert (done.returncode, done.stdout) == (0, line_of(running, "engine=off"))
    running.step()
    assert running.end().returncode == 0
    assert steps(running.trace) == [("app", 0)]


def test_the_signal_of_a_stranger_does_nothing_but_look(program: Callable[..., Program]) -> None:
    running = program("--control-signal", "SIGUSR2")
    for _ in range(20):
        running.process.send_signal(signal.SIGUSR2)
    running.step()
    assert running.end().returncode == 0
    assert steps(running.trace) == [("engine", 0), ("app", 0)]


# ---- what cannot be done ----


def test_a_trace_that_nobody_writes_is_named(program: Callable[..., Program]) -> None:
    running = program()
    running.end()
    done = running.ask("dump")
    assert (done.returncode, done.stdout) == (2, "")
    assert "[no-process]" in done.stderr


def test_what_is_no_trace_is_named(tmp_path: Path) -> None:
    done = command("filter", "nothing.gnt", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "[not-a-trace]" in done.stderr


def test_a_program_with_control_off_says_so(program: Callable[..., Program]) -> None:
    running = program("--no-control")
    done = running.ask("filter", "engine=off")
    assert (done.returncode, done.stdout) == (1, "")
    assert "[control-off]" in done.stderr
    running.end()


def test_a_stopped_program_does_not_answer(program: Callable[..., Program]) -> None:
    """GIVEN a program under SIGSTOP THEN the command says so in time; later it follows."""
    running = program()
    running.process.send_signal(signal.SIGSTOP)
    done = running.ask("filter", "engine=off", "--timeout", "0.3")
    running.process.send_signal(signal.SIGCONT)
    assert (done.returncode, done.stdout) == (1, "")
    assert "[no-answer]" in done.stderr
    assert running.ask("filter").stdout == line_of(running, "engine=off")
    running.end()


def test_a_killed_program_is_not_waited_for(program: Callable[..., Program]) -> None:
    running = program()
    running.process.send_signal(signal.SIGSTOP)
    asking = begin_python(*CLI, "dump", "t.gnt", "--timeout", "100", cwd=running.directory)
    deadline = time.monotonic() + TIMEOUT_S
    while not (running.trace / "control.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    running.process.kill()
    done = finish(asking)
    assert "ended before it answered [no-answer]" in done.stderr
    assert done.returncode == 1


def test_two_commands_do_not_take_each_others_requests_away(
    program: Callable[..., Program],
) -> None:
    running = program()
    asking = [
        begin_python(*CLI, "filter", "t.gnt", f"app=trace,a{n}=off", "--timeout", "60",
                     cwd=running.directory)
        for n in range(3)
    ]  # fmt: skip
    answers = [finish(process).stdout for process in asking]
    running.end()
    assert answers == [line_of(running, f"app=trace,a{n}=off") for n in range(3)]


def test_behind_another_command_it_waits_no_longer_than_it_was_told(
    program: Callable[..., Program],
) -> None:
    running = program()
    with (running.trace / "trace.json").open("rb") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        done = running.ask("dump", "--timeout", "0.2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "[control-busy]" in done.stderr
    running.end()


FORGED = """
import json, os
os.setuid(12345)
with open("t.gnt/control.json", "w") as file:
    json.dump(dict(number=1, verb="filter", directives="off", filter="off", filter_number=1), file)
os.chmod("t.gnt/control.json", 0o644)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_cannot_steer() -> None:
    """GIVEN a trace directory that anyone may write to THEN a stranger's request is refused."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        running = Program(directory)
        running.trace.chmod(0o777)
        subprocess.run([sys.executable, "-c", FORGED], cwd=directory, check=True)
        (answer,) = running.trace.glob("*-*.control.json")
        deadline = time.monotonic() + TIMEOUT_S
        while "refused" not in answer.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        running.step()
        done = running.end()
        assert steps(running.trace) == [("engine", 0), ("app", 0)]
    assert "belongs to user 12345 [control-refused]" in done.stderr


@pytest.mark.parametrize("verb", ["filter", "dump", "flush"])
def test_help_has_examples(tmp_path: Path, verb: str) -> None:
    done = command(verb, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"gpu-narration {verb} serve.gnt" in done.stdout


def test_the_shell_completes_the_verbs(tmp_path: Path) -> None:
    done = command(
        cwd=tmp_path,
        env={
            "_GPU_NARRATION_COMPLETE": "bash_complete", "COMP_WORDS": "gpu-narration f",
            "COMP_CWORD": "1",
        },
    )  # fmt: skip
    assert done.stdout.split() == ["plain,filter", "plain,flush"]
