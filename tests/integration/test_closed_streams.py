"""The command where stdout or stderr is closed from the start, as by ``>&-`` in a shell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gpu_narration import narrate, span
from tests.support.programs import write_program
from tests.support.recording import QUIET
from tests.support.run import environment


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    import gpu_narration

    with gpu_narration.start(tmp_path / "t.gnt", **QUIET), span("engine", "step"):
        narrate("engine", "ready", "m", "The model is loaded")
    return tmp_path / "t.gnt"


def _command(directory: Path, closing: str, *arguments: str | Path) -> tuple[int, str]:
    """Exit status, and what came out on stderr."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closing}', "sh", sys.executable, "-m", "gpu_narration.cli",
         *map(str, arguments)],
        cwd=directory, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("verb", ["show", "spans", "watch"])
@pytest.mark.parametrize("closing", [">&-", ">&- 2>&-"])
def test_a_verb_that_reads_says_it_to_nobody(tmp_path, trace, verb, closing):
    assert _command(tmp_path, closing, verb, trace) == (0, "")


def test_a_program_that_is_run_finds_its_streams_as_they_were(tmp_path):
    program = write_program(tmp_path, "import sys; sys.exit(7 if sys.stdout is None else 1)")
    status, said = _command(tmp_path, ">&-", "run", "--backend", "none", program)
    assert status == 7, said
