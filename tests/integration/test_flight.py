"""A flight recorder in a program: what it writes when something goes wrong, and nothing else."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from gpu_narration.tracefile import Event, Trace, Trouble
from tests.support.programs import (
    begin_python,
    command,
    count_of,
    finish,
    python,
    read_all,
    troubles,
    write_program,
)

CLI = ("-m", "gpu_narration.cli")

START = """
import asyncio, os, signal, sys, threading, time
import gpu_narration
from gpu_narration import trace_tiny
def begin(**options):
    return gpu_narration.start("t.gnt", backend="none", vram=False, nvtx="off", mode="flight",
                               ring_bytes=512 * 1024, **options)
def fill(count):
    for i in range(count):
        trace_tiny("app", "step", "", "{} {}", i, "x" * 900)
"""


def reasons(path: Path) -> list[object]:
    """Why there were dumps, in the order of time."""
    return [
        note.fields["reason"]
        for process in Trace(path).processes
        for note in process.notes
        if note.topic == "dump"
    ]


def numbers(events: list[Event]) -> list[object]:
    return [event.arguments[0].value for event in events]


# ---- exceptions ----

ENDINGS = {
    "in the main thread": ("raise ValueError('boom')", ["unhandled ValueError in thread MainThread"]),
    "in another thread": (
        "thread = threading.Thread(target=lambda: 1 // 0, name='worker'); thread.start(); thread.join()",
        ["unhandled ZeroDivisionError in thread worker"],
    ),
    "out of asyncio": (
        ("async def fail(): raise LookupError('boom')\n"
        "async def main(): await asyncio.create_task(fail())\n"
        "asyncio.run(main())"),
        ["unhandled LookupError in thread MainThread"],
    ),
    "by sys.exit": ("sys.exit(3)", []),
    "handled": ("try: 1 // 0\nexcept ZeroDivisionError: pass", []),
}  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_exception_that_nobody_handles_dumps(tmp_path: Path, ending: str) -> None:
    last, expected = ENDINGS[ending]
    app = write_program(tmp_path, START + "begin()\nfill(3)\n" + last)
    python(app, cwd=tmp_path)
    assert reasons(tmp_path / "t.gnt") == expected


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_program_ends_as_without_us(tmp_path: Path, ending: str) -> None:
    """GIVEN any end THEN status and report are those of the same program without a recording."""
    last, _ = ENDINGS[ending]
    app = write_program(tmp_path, START + "begin()\nfill(3)\n" + last)
    traced = python(app, cwd=tmp_path)
    plain = python(write_program(tmp_path, START + "\nfill(3)\n" + last), cwd=tmp_path)
    assert traced.returncode == plain.returncode
    # Line numbers are the same by the empty line in place of begin().
    assert traced.stderr == plain.stderr


def test_under_run_a_traceback_is_pythons_own(tmp_path: Path) -> None:
    app = write_program(
        tmp_path, "from gpu_narration import trace_tiny\ntrace_tiny('a', 'b', '', '')\n1 / 0\n"
    )
    ours = command("run", "-q", "--flight", "--backend", "none", app.name, cwd=tmp_path)
    pythons = python(app.name, cwd=tmp_path)
    assert ours.returncode == 1
    assert ours.stderr.replace(f"{tmp_path}/", "") == pythons.stderr.replace(f"{tmp_path}/", "")
    assert reasons(tmp_path / "app.gnt") == ["unhandled ZeroDivisionError in thread MainThread"]


@pytest.mark.parametrize("option", ["--no-dump-on-exception", "--dump-on-exception"])
def test_run_has_an_option_for_exceptions(tmp_path: Path, option: str) -> None:
    app = write_program(tmp_path, "1 / 0")
    command("run", "-q", "--flight", option, "--backend", "none", app.name, cwd=tmp_path)
    assert len(reasons(tmp_path / "app.gnt")) == (option == "--dump-on-exception")


# ---- signals ----


def test_a_signal_dumps_and_the_program_goes_on(tmp_path: Path) -> None:
    app = write_program(
        tmp_path,
        START
        + """
begin(dump_signal="SIGUSR1")
fill(3)
print("ready", flush=True)
sys.stdin.readline()
fill(2)
print("done")
""",
    )
    process = begin_python(app, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGUSR1)
    done = finish(process, "\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert reasons(tmp_path / "t.gnt") == ["SIGUSR1"]
    assert numbers(read_all(tmp_path / "t.gnt")[0]) == [0, 1, 2, 0, 1]


def test_run_has_an_option_for_the_signal(tmp_path: Path) -> None:
    app = write_program(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGUSR1)")
    done = command(
        "run",
        "-q",
        "--flight",
        "--dump-signal",
        "USR1",
        "--backend",
        "none",
        app.name,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert reasons(tmp_path / "app.gnt") == ["SIGUSR1"]


def test_signals_in_a_row_break_nothing(tmp_path: Path) -> None:
    """GIVEN a signal at any moment of recording THEN no event is lost, doubled or out of order."""
    app = write_program(
        tmp_path,
        START
        + """
gpu_narration.start("t.gnt", backend="none", vram=False, nvtx="off", mode="flight",
                    ring_bytes=16 << 20, dump_signal="SIGUSR1")
pid = os.getpid()
def pester():
    for _ in range(200):
        os.kill(pid, signal.SIGUSR1)
        time.sleep(0.001)
thread = threading.Thread(target=pester)
thread.start()
count = 0
while thread.is_alive():
    trace_tiny("app", "step", "", "{}", count)
    count += 1
thread.join()
print(count)
""",
    )
    done = python(app, cwd=tmp_path)
    events, notices = read_all(tmp_path / "t.gnt")
    kept = numbers(events)
    total = int(done.stdout)
    assert kept == sorted(set(kept))
    assert len(kept) + count_of(notices, Trouble.OVERWRITTEN) == total
    assert len(reasons(tmp_path / "t.gnt")) > 1


def test_sigterm_is_dumped_before_it_ends_the_program(tmp_path: Path) -> None:
    app = write_program(
        tmp_path,
        START + 'begin(dump_signal="SIGTERM")\nfill(3)\nos.kill(os.getpid(), signal.SIGTERM)\n',
    )
    done = python(app, cwd=tmp_path)
    assert done.returncode == -signal.SIGTERM
    assert reasons(tmp_path / "t.gnt") == ["SIGTERM"]
    assert numbers(read_all(tmp_path / "t.gnt")[0]) == [0, 1, 2]


def test_start_with_a_signal_off_the_main_thread_is_refused(tmp_path: Path) -> None:
    app = write_program(
        tmp_path,
        START
        + """
def main():
    try:
        begin(dump_signal="SIGUSR1")
    except gpu_narration.OptionError as error:
        print(error)
thread = threading.Thread(target=main)
thread.start(); thread.join()
print(os.path.exists("t.gnt"))
""",
    )
    said, made = python(app, cwd=tmp_path).stdout.splitlines()
    assert said.startswith("dump_signal=SIGUSR1 needs a start in the main thread; ")
    assert said.endswith("[bad-option]")
    assert made == "False"


@pytest.mark.parametrize(
    "options", [["--dump-signal", "SIGUSR1"], ["--flight", "--dump-signal", "SIGKILL"]]
)
def test_options_that_make_no_sense_are_status_2(tmp_path: Path, options: list[str]) -> None:
    write_program(tmp_path, "print('ran')")
    done = command("run", *options, "app.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("[bad-option]\n")
    assert list(tmp_path.glob("*.gnt")) == []


# ---- children ----


def test_a_forked_child_dumps_on_the_signal_too(tmp_path: Path) -> None:
    """GIVEN a child that has recorded and one that has not THEN the signal ends neither."""
    app = write_program(
        tmp_path,
        START
        + """
begin(dump_signal="SIGUSR1")
fill(1)
for records in (True, False):
    child = os.fork()
    if child == 0:
        if records: fill(2)
        os.kill(os.getpid(), signal.SIGUSR1)
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""",
    )
    done = python(app, cwd=tmp_path)
    assert done.stdout == "7\n7\n"
    assert reasons(tmp_path / "t.gnt") == ["SIGUSR1"]


def test_a_forked_childs_exception_is_dumped_once(tmp_path: Path) -> None:
    app = write_program(
        tmp_path,
        START
        + """
begin()
fill(1)
if os.fork() == 0:
    fill(2)
    raise ValueError("in the child")
os.wait()
""",
    )
    python(app, cwd=tmp_path)
    assert reasons(tmp_path / "t.gnt") == ["unhandled ValueError in thread MainThread"]


def test_a_program_started_by_the_program_is_a_flight_too(tmp_path: Path) -> None:
    write_program(
        tmp_path, "from gpu_narration import trace_tiny; trace_tiny('b', 'in_b', '', '')", "b.py"
    )
    app = write_program(
        tmp_path, START + "begin()\nimport subprocess\nsubprocess.run([sys.executable, 'b.py'])\n"
    )
    python(app, cwd=tmp_path)
    modes = [process.note("process")["mode"] for process in Trace(tmp_path / "t.gnt").processes]
    assert modes == ["flight", "flight"]


# ---- killed ----

KILLED = (
    START
    + """
begin()
fill(int(sys.argv[1]))
if sys.argv[2] == "True": gpu_narration.dump("in time")
fill(10)
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
)


@pytest.mark.parametrize("dumped", [False, True])
def test_a_killed_flight_leaves_its_ring(tmp_path: Path, dumped: bool) -> None:
    """GIVEN a flight that was killed THEN its newest events are read from the ring."""
    app = write_program(tmp_path, KILLED)
    assert python(app, "50", str(dumped), cwd=tmp_path).returncode == -signal.SIGKILL
    events, notices = read_all(tmp_path / "t.gnt")
    assert numbers(events) == [*range(50), *range(10)]
    assert troubles(notices) == {Trouble.DIED}


@pytest.mark.parametrize("dumped", [False, True])
def test_a_killed_flights_account_is_exact(tmp_path: Path, dumped: bool) -> None:
    app = write_program(tmp_path, KILLED)
    python(app, "5000", str(dumped), cwd=tmp_path)
    events, notices = read_all(tmp_path / "t.gnt")
    assert len(events) + count_of(notices, Trouble.OVERWRITTEN) == 5010
    assert numbers(events)[-10:] == list(range(10))


def test_show_ends_with_what_was_forgotten(tmp_path: Path) -> None:
    app = write_program(tmp_path, START + "begin()\nfill(5000)\nprint(gpu_narration.stats())")
    python(app, cwd=tmp_path)
    done = command("show", "t.gnt", cwd=tmp_path)
    *events, last = done.stdout.splitlines()
    forgotten = 5000 - len(events)
    assert done.returncode == 0
    assert last == (
        f'WARN gpu_narration overwritten count={forgotten} "{forgotten} older events were '
        'forgotten: the flight recorder keeps the newest"'
    )


def test_run_says_how_many_were_forgotten(tmp_path: Path) -> None:
    app = write_program(tmp_path, START + "fill(5000)")
    done = command(
        "run", "--flight", "--ring-mib", "1", "--backend", "none", app.name, cwd=tmp_path
    )
    _, notices = read_all(tmp_path / "app.gnt")
    forgotten = count_of(notices, Trouble.OVERWRITTEN)
    assert done.stderr.startswith(
        f"gpu_narration: 5000 records of this process, {forgotten} forgotten in app.gnt; "
    )
