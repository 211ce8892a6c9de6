"""Running programs under ``gpu-narration``, killing them, and reading what they left."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from gpu_narration.tracefile import Event, Notice, Trace, Trouble
from tests.support.run import TIMEOUT_S, environment


def write_program(directory: Path, source: str, name: str = "app.py") -> Path:
    """A script in a directory; its path."""
    path = directory / name
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


def begin_python(
    *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Begins this interpreter with arguments; the caller talks to it and ends it."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**environment(), **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(
    process: subprocess.Popen[str], stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Waits for the end of a process; its status and output, whatever the status is."""
    try:
        stdout, stderr = process.communicate(stdin, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def python(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs this interpreter to its end."""
    return finish(begin_python(*arguments, cwd=cwd, env=env), stdin)


def command(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs ``gpu-narration`` with arguments to its end."""
    return python("-m", "gpu_narration.cli", *arguments, cwd=cwd, env=env, stdin=stdin)


def run_app(
    directory: Path, source: str, *arguments: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a script under ``gpu-narration run`` in a directory, recording to app.gnt there."""
    app = write_program(directory, source)
    return command("run", "--backend", "none", app.name, *arguments, cwd=directory, stdin=stdin)


def events_of(path: Path) -> list[Event]:
    """The events of a trace in which nothing is wrong."""
    events, notices = read_all(path)
    assert notices == [], notices
    return events


def read_all(path: Path) -> tuple[list[Event], list[Notice]]:
    """The events of a trace and what is wrong with it."""
    trace = Trace(path)
    events = list(trace.events())
    return events, trace.notices()


def actions_of(path: Path) -> list[str | None]:
    """The actions of a faultless trace's events."""
    return [event.names[1] for event in events_of(path)]


def count_of(notices: list[Notice], trouble: Trouble) -> int:
    """The counts of all notices of one kind together."""
    return sum(notice.count for notice in notices if notice.trouble is trouble)


def troubles(notices: list[Notice]) -> set[Trouble]:
    return {notice.trouble for notice in notices}
