"""The console: narration on stderr while the program runs, and all of it at the end."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from tests.support.programs import begin_python, command, finish, python, write_program

PROGRAM = """
import sys
import gpu_narration
gpu_narration.start("t.gnt", console=True, backend="none", vram=False, nvtx="off")
gpu_narration.trace_tiny("app", "first", "", "hello {}", 1)
"""
FIRST = 'TRACE app first "hello 1"'


def lines_of(count: int) -> list[str]:
    return [f'TRACE app step "{i}"' for i in range(count)]


def steps(count: int) -> str:
    return f"\nfor i in range({count}): gpu_narration.trace_tiny('app', 'step', '', '{{}}', i)\n"


def test_a_line_appears_while_the_program_still_runs(tmp_path: Path) -> None:
    """GIVEN a program that waits for us WHEN its event is on stderr THEN it has not ended yet."""
    app = write_program(tmp_path, PROGRAM + "input()\n")
    process = begin_python(app, cwd=tmp_path)
    assert process.stderr is not None
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    line = process.stderr.readline()
    watchdog.cancel()
    assert line == FIRST + "\n"
    assert process.poll() is None
    assert finish(process, "\n").returncode == 0


def test_all_lines_are_there_when_the_program_has_ended(tmp_path: Path) -> None:
    app = write_program(tmp_path, PROGRAM + steps(5000))
    assert python(app, cwd=tmp_path).stderr.splitlines() == [FIRST, *lines_of(5000)]


def test_stdout_is_left_to_the_program(tmp_path: Path) -> None:
    app = write_program(tmp_path, PROGRAM + "print('product')")
    assert python(app, cwd=tmp_path).stdout == "product\n"


def test_all_lines_are_there_though_the_program_was_killed(tmp_path: Path) -> None:
    """GIVEN SIGKILL right after the last call THEN the console shows that call, and that it died."""
    app = write_program(tmp_path, PROGRAM + steps(2000) + "import os; os.kill(os.getpid(), 9)")
    done = python(app, cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL
    *shown, notice = done.stderr.splitlines()
    assert shown == [FIRST, *lines_of(2000)]
    assert notice.startswith("WARN gpu_narration died ")


def test_a_replaced_stderr_gets_the_text(tmp_path: Path) -> None:
    """GIVEN sys.stderr is an object, as in a notebook, THEN the lines are written to it."""
    app = write_program(
        tmp_path,
        """
        import io, sys
        sys.stderr = io.StringIO()
        """
        + PROGRAM.replace("\n", "\n" + " " * 8)
        + """
        gpu_narration.stop()
        sys.stdout.write(sys.stderr.getvalue())
        """,
    )
    done = python(app, cwd=tmp_path)
    assert (done.stdout, done.stderr) == (FIRST + "\n", "")


@pytest.mark.parametrize(
    ("voice", "text"), [("human", "plainly"), ("cute", "cutely"), ("story", "plainly")]
)
def test_the_console_speaks_the_voice_that_was_asked_for(
    tmp_path: Path, voice: str, text: str
) -> None:
    app = write_program(
        tmp_path,
        f"""
        import gpu_narration
        gpu_narration.start("t.gnt", console={voice!r}, backend="none", vram=False, nvtx="off")
        gpu_narration.narrate("app", "say", "", "plainly", cute="cutely")
        """,
    )
    assert python(app, cwd=tmp_path).stderr == f'INFO app say "{text}"\n'


def test_the_voice_can_come_from_the_environment(tmp_path: Path) -> None:
    app = write_program(
        tmp_path, PROGRAM + "gpu_narration.narrate('app', 'say', '', 'plainly', cute='cutely')"
    )
    done = python(app, cwd=tmp_path, env={"GPU_NARRATION_VOICE": "cute"})
    assert done.stderr.splitlines() == [FIRST, 'INFO app say "cutely"']


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("text", 'INFO app say "purr"'),
        ("pretty", "                   purr"),
        ("json", '"text": "purr"'),
        ("logfmt", " text=purr "),
    ],
)
def test_the_console_has_every_format(tmp_path: Path, form: str, shown: str) -> None:
    """GIVEN a format and a voice THEN the console shows the event so, and stdout stays empty."""
    app = write_program(
        tmp_path,
        f"""
        import gpu_narration
        gpu_narration.start("t.gnt", console={form!r}, voice="cute", backend="none", vram=False, nvtx="off")
        gpu_narration.narrate("app", "say", "", "plainly", cute="purr")
        """,
    )
    done = python(app, cwd=tmp_path)
    assert shown in done.stderr
    assert done.stdout == ""


def test_run_takes_a_format_for_its_console(tmp_path: Path) -> None:
    app = write_program(
        tmp_path, "from gpu_narration import narrate; narrate('app', 'say', '', 'plainly')"
    )
    done = command("run", "-q", "--format", "logfmt", "--backend", "none", app.name, cwd=tmp_path)
    assert " text=plainly " in done.stderr


def test_run_has_a_console_too(tmp_path: Path) -> None:
    app = write_program(
        tmp_path, "from gpu_narration import trace_tiny; trace_tiny('app', 'step', '', '{}', 0)"
    )
    done = command("run", "-q", "--console", "--backend", "none", app.name, cwd=tmp_path)
    assert done.stderr.splitlines() == lines_of(1)


def test_ctrl_c_does_not_silence_the_console(tmp_path: Path) -> None:
    """GIVEN SIGINT WHEN an atexit function records THEN its line is shown as well."""
    app = write_program(
        tmp_path,
        PROGRAM
        + "import atexit; atexit.register(gpu_narration.trace_tiny, 'app', 'bye', '', '')\n"
        + "print('ready', flush=True); input()\n",
    )
    process = begin_python(app, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.returncode == -signal.SIGINT
    shown = [line for line in done.stderr.splitlines() if line.startswith("TRACE")]
    assert shown == [FIRST, 'TRACE app bye ""']


def test_nothing_recorded_can_colour_the_terminal(tmp_path: Path) -> None:
    app = write_program(
        tmp_path, PROGRAM + r"gpu_narration.trace_tiny('app', 'x', '', '{}', '\x1b[31m\n\u202e')"
    )
    assert python(app, cwd=tmp_path).stderr.splitlines()[1] == (r'TRACE app x "\x1b[31m\n\u202e"')


def test_directives_of_the_console_choose_what_it_shows_as_they_change(tmp_path: Path) -> None:
    """GIVEN a filter with parts for the console WHEN it changes THEN the console follows, and the
    trace holds everything."""
    app = write_program(
        tmp_path,
        """
        import gpu_narration as gn
        gn.start("t.gnt", console=True, backend="none", vram=False, nvtx="off",
                 filter="trace,console:warn,console:a.shown=trace")
        gn.narrate("a", "hidden", "", "1")
        gn.trace_tiny("a", "shown", "", "2")
        gn.narrate("b", "warns", "", "3", level="warn")
        gn.set_filter("console:off")
        gn.narrate("b", "warns", "", "4", level="warn")
        gn.set_filter("")
        gn.narrate("a", "hidden", "", "5")
        """,
    )
    done = python(app, cwd=tmp_path)
    shown = [line.split()[1:3] for line in done.stderr.splitlines() if "gpu_narration" not in line]
    assert shown == [["a", "shown"], ["b", "warns"], ["a", "hidden"]]
    everything = python("-m", "gpu_narration.cli", "show", "t.gnt", cwd=tmp_path).stdout
    assert everything.count("\n") == 7
