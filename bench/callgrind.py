"""Runs a Python program under callgrind and reads what it counted, section by section."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: The C function whose calls end a section: one that nothing else calls.
MARKER = "getpgrp"

#: The interpreter's hash seed changes how dictionaries collide, so it is fixed.
FIXED = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


class ProgramError(Exception):
    """The program's exit status, and what was printed."""

    def __init__(self, status: int, printed: str) -> None:
        super().__init__(f"exit status {status} of {printed}")
        self.status = status


@dataclass(slots=True)
class Section:
    """Instructions of the main thread between two markers."""

    total: int = 0
    #: By the file of the machine code and the function: in the function itself.
    own: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: By the file of the machine code: in it and below, entered from another file.
    entered: Counter[str] = field(default_factory=Counter)


def missing() -> str | None:
    """Why nothing can be counted here, or None."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed (Debian: apt-get install valgrind)"
    return None


def count(
    program: Path, arguments: list[str], directory: Path, env: Mapping[str, str]
) -> list[Section]:
    """Counts `python program arguments`; the sections in order, what follows the last marker too.

    Other threads run meanwhile and are not counted.  Raises :class:`ProgramError` if the
    program fails.
    """
    out = directory / "callgrind"
    valgrind = [
        "valgrind",
        "--tool=callgrind",
        "--separate-threads=yes",
        f"--dump-before={MARKER}",
        "--compress-strings=no",
        "--compress-pos=no",
        f"--callgrind-out-file={out}",
    ]
    done = subprocess.run(
        [*valgrind, sys.executable, str(program), *arguments],
        env={**_neutral(), **FIXED, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode != 0:
        raise ProgramError(done.returncode, f"valgrind or {program.name}:\n{done.stderr}")
    # Files are callgrind.PART-THREAD, and callgrind-THREAD for the end.
    sections = [read(path) for path in sorted(directory.glob("callgrind*-01"), key=_part)]
    for path in directory.glob("callgrind*"):
        path.unlink()
    return sections


def read(path: Path) -> Section:
    """One dump; the format is that of valgrind's manual, "Callgrind Format Specification"."""
    section = Section()
    holder = function = called = ""
    inclusive = False
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line[0].isdigit() or line[0] in "+-*":
                cost = int(line.split()[1])
                if not inclusive:
                    section.own[holder, function] += cost
                elif called != holder:
                    section.entered[called] += cost
                inclusive, called = False, holder
            elif line.startswith("ob="):
                holder = called = _name(line)
            elif line.startswith("fn="):
                function = line[3:].rstrip()
            elif line.startswith("cob="):
                called = _name(line)
            elif line.startswith("calls="):
                inclusive = True
            elif line.startswith("totals:"):
                section.total = int(line.split()[1])
    return section


def _name(line: str) -> str:
    return Path(line.partition("=")[2].rstrip()).name


def _part(path: Path) -> float:
    found = re.search(r"\.(\d+)-\d+$", path.name)
    return int(found[1]) if found else float("inf")


def _neutral() -> dict[str, str]:
    """The environment without what steers the recorder or NVTX."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GPU_NARRATION", "NVTX_", "PYTHON"))
    }
