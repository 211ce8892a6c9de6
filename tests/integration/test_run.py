"""``gpu-narration run``: the program behaves as under Python itself, and all of it is recorded."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.support.programs import (
    actions_of,
    begin_python,
    command,
    events_of,
    finish,
    python,
    run_app,
    write_program,
)

CLI = ("-m", "gpu_narration.cli")


# ---- the program is itself ----


def test_the_program_sees_its_own_arguments_and_module(tmp_path: Path) -> None:
    """GIVEN options that look like ours WHEN behind the script THEN they are the program's."""
    done = run_app(
        tmp_path, "import sys; print(sys.argv, __name__, __file__)", "-o", "x", "--help", "--", "-m"
    )
    assert done.stdout == "['app.py', '-o', 'x', '--help', '--', '-m'] __main__ app.py\n"


def test_the_program_reads_our_stdin(tmp_path: Path) -> None:
    done = run_app(tmp_path, "print(input()[::-1])", stdin="abc\n")
    assert done.stdout == "cba\n"


def test_stdout_holds_the_programs_output_alone(tmp_path: Path) -> None:
    done = run_app(
        tmp_path,
        """
        import gpu_narration
        gpu_narration.trace_tiny("app", "step", "", "")
        print("product")
        """,
    )
    assert done.stdout == "product\n"


def test_one_line_on_stderr_says_where_the_trace_is(tmp_path: Path) -> None:
    done = run_app(tmp_path, "import gpu_narration as g; g.trace_tiny('app', 'step', '', '')")
    assert (
        done.stderr
        == "gpu_narration: 1 records of this process in app.gnt; see: gpu-narration show app.gnt\n"
    )


def test_quiet_says_nothing(tmp_path: Path) -> None:
    app = write_program(tmp_path, "pass")
    done = command("run", "-q", "--backend", "none", app.name, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_scripts_directory_is_where_its_imports_are_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write_program(tmp_path / "sub", "import neighbour; print(neighbour.WORD)")
    write_program(tmp_path / "sub", "WORD = 'found'", "neighbour.py")
    done = command("run", "--backend", "none", "sub/app.py", cwd=tmp_path)
    assert done.stdout == "found\n"


def test_main_is_the_program(tmp_path: Path) -> None:
    """GIVEN a class of the script WHEN it is pickled THEN it is found in __main__ again."""
    done = run_app(
        tmp_path,
        """
        import pickle
        class Thing: pass
        print(type(pickle.loads(pickle.dumps(Thing()))) is Thing)
        """,
    )
    assert done.stdout == "True\n"


def test_a_module_runs_as_python_would_run_it(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    write_program(tmp_path / "package", "", "__init__.py")
    write_program(
        tmp_path / "package",
        """
        import sys
        from gpu_narration import trace_tiny
        trace_tiny("app", "in_module", "", "")
        print(sys.argv[1:], __name__, __package__)
        """,
        "__main__.py",
    )
    done = command(
        "run", "--backend", "none", "-o", "m.gnt", "-m", "package", "--flag", "1", cwd=tmp_path
    )
    assert done.stdout == "['--flag', '1'] __main__ package\n"
    assert actions_of(tmp_path / "m.gnt") == ["in_module"]


# ---- how it ends ----

ENDING = """
from gpu_narration import trace_tiny
trace_tiny("app", "before", "", "")
"""


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ("", 0),
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit()", 0),
        ("import sys; sys.exit(None)", 0),
        ("import sys; sys.exit('text')", 1),
        ("raise ValueError('boom')", 1),
        ("def broken(:", 1),
    ],
)
def test_the_exit_status_is_the_programs(tmp_path: Path, last: str, status: int) -> None:
    assert run_app(tmp_path, ENDING + last).returncode == status


@pytest.mark.parametrize(
    "last", ["", "import sys; sys.exit(3)", "import sys; sys.exit('text')", "raise ValueError"]
)
def test_the_trace_is_complete_however_the_program_ends(tmp_path: Path, last: str) -> None:
    run_app(tmp_path, ENDING + last)
    assert actions_of(tmp_path / "app.gnt") == ["before"]


def test_the_text_of_sys_exit_is_on_stderr(tmp_path: Path) -> None:
    done = run_app(tmp_path, "import sys; sys.exit('the reason')")
    assert done.stderr.splitlines()[0] == "the reason"


def test_a_traceback_is_what_python_itself_would_print(tmp_path: Path) -> None:
    """GIVEN an exception from nested calls THEN not one frame of ours is in its report."""
    app = write_program(
        tmp_path,
        """
        def inner():
            raise ValueError("boom")
        def outer():
            inner()
        outer()
        """,
    )
    ours = command("run", "-q", "--backend", "none", app.name, cwd=tmp_path)
    pythons = python(app.name, cwd=tmp_path)
    assert ours.stderr.replace(str(tmp_path) + "/", "") == pythons.stderr.replace(
        str(tmp_path) + "/", ""
    )


def test_a_traceback_of_a_module_begins_in_the_module(tmp_path: Path) -> None:
    write_program(tmp_path, "1 / 0", "divide.py")
    done = command("run", "-q", "--backend", "none", "-m", "divide", cwd=tmp_path)
    frames = [line for line in done.stderr.splitlines() if line.startswith("  File")]
    assert len(frames) == 1
    assert "divide.py" in frames[0]


def test_a_cause_is_reported_with_the_exception(tmp_path: Path) -> None:
    done = run_app(
        tmp_path,
        """
        try:
            {}["first"]
        except KeyError as error:
            raise RuntimeError("second") from error
        """,
    )
    assert "KeyError: 'first'" in done.stderr
    assert "gpu_narration/cli" not in done.stderr


def test_the_programs_own_excepthook_is_used(tmp_path: Path) -> None:
    done = run_app(
        tmp_path,
        """
        import sys
        sys.excepthook = lambda kind, error, traceback: print("hook:", error)
        raise ValueError("boom")
        """,
    )
    assert done.stdout == "hook: boom\n"


@pytest.mark.parametrize("pause_s", [0.0, 0.5])
def test_ctrl_c_ends_the_program_by_the_signal(tmp_path: Path, pause_s: float) -> None:
    """GIVEN a program WHEN SIGINT comes, early or late, THEN its parent sees that it died of it."""
    app = write_program(
        tmp_path,
        ENDING
        + """
import atexit, time
atexit.register(trace_tiny, "app", "at_exit", "", "")
print("ready", flush=True)
time.sleep(60)
""",
    )
    process = begin_python(*CLI, "run", app.name, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(pause_s)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.returncode == -signal.SIGINT
    assert actions_of(tmp_path / "app.gnt") == ["before", "at_exit"]


def test_a_caught_ctrl_c_is_no_end_by_signal(tmp_path: Path) -> None:
    done = run_app(
        tmp_path,
        """
        import os, signal, sys
        try:
            os.kill(os.getpid(), signal.SIGINT)
            while True: pass
        except KeyboardInterrupt:
            sys.exit(5)
        """,
    )
    assert done.returncode == 5


def test_atexit_functions_of_the_program_are_in_the_trace(tmp_path: Path) -> None:
    run_app(
        tmp_path,
        """
        import atexit
        from gpu_narration import trace_tiny
        atexit.register(trace_tiny, "app", "registered_first", "", "")
        atexit.register(trace_tiny, "app", "registered_last", "", "")
        """,
    )
    assert actions_of(tmp_path / "app.gnt") == ["registered_last", "registered_first"]


def test_threads_that_outlive_the_script_are_in_the_trace(tmp_path: Path) -> None:
    run_app(
        tmp_path,
        """
        import threading, time
        from gpu_narration import trace_tiny
        def work():
            for i in range(20):
                time.sleep(0.01)
                trace_tiny("app", "late", "", "{}", i)
        threading.Thread(target=work).start()
        """,
    )
    late = [event.arguments[0].value for event in events_of(tmp_path / "app.gnt")]
    assert late == list(range(20))


# ---- start() of the program ----


JOINING = """
import gpu_narration
recorder = gpu_narration.start("own.gnt", backend="none")
gpu_narration.trace_tiny("app", "inside", "", "")
recorder.stop()
gpu_narration.stop()
gpu_narration.trace_tiny("app", "after_stop", "", "")
"""


def test_start_of_the_program_joins_the_recording(tmp_path: Path) -> None:
    """GIVEN a program that starts and stops a recording itself THEN run's one holds it all."""
    done = run_app(tmp_path, JOINING)
    assert done.returncode == 0
    assert actions_of(tmp_path / "app.gnt") == ["inside", "after_stop"]


def test_start_of_the_program_makes_no_second_trace(tmp_path: Path) -> None:
    run_app(tmp_path, JOINING)
    assert sorted(path.name for path in tmp_path.glob("*.gnt")) == ["app.gnt"]


# ---- where the trace goes ----


def test_a_second_run_gets_a_name_of_its_own(tmp_path: Path) -> None:
    run_app(tmp_path, ENDING)
    run_app(tmp_path, ENDING)
    assert sorted(path.name for path in tmp_path.glob("*.gnt")) == ["app-2.gnt", "app.gnt"]


@pytest.mark.parametrize(
    "arguments", [["missing.py"], [], ["--backend", "cuda", "app.py"], ["--nonsense", "app.py"]]
)
def test_wrong_use_is_status_2_and_makes_nothing(tmp_path: Path, arguments: list[str]) -> None:
    write_program(tmp_path, "print('ran')")
    done = command("run", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert list(tmp_path.glob("*.gnt")) == []


def test_what_stands_behind_a_module_is_its_own(tmp_path: Path) -> None:
    """As with python -m: options that are called as some of ours are the module's."""
    write_program(tmp_path, "import sys; print(sys.argv[1:])", name="shows.py")
    own = ["--help", "-o", "x", "-q", "--nsys", "--", "-m", "y"]
    done = command("run", "-q", "--backend", "none", "-m", "shows", *own, cwd=tmp_path)
    assert (done.stdout, done.returncode) == (f"{own}\n", 0)
    assert (tmp_path / "shows.gnt").is_dir()
