"""What makes a directory a trace, and whether a process still writes to it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".gnt"
MARKER = "trace.json"
MARKER_FORMAT = "gpu_narration trace"
FORMAT_VERSION = 1

#: The files of a process in a trace directory.
RECORDS = re.compile(r"\d+-[0-9a-f]+\.(ring|\d{3,}\.seg)")

#: Requests and answers (see control.py), finished or not.
MESSAGES = re.compile(r"(\d+-[0-9a-f]+\.)?control\.json|\.([0-9a-f-]+\.)?control\.json\.\d+-\d+")

#: What a join with a report of Nsight Systems found, finished or not.
NSIGHT = "nsight.db"
_JOINS = re.compile(r"nsight\.db|\.nsight\.db\.\d+")


def is_ours(name: str) -> bool:
    """Whether a file in a trace directory belongs to the trace."""
    parts = (RECORDS, MESSAGES, _JOINS)
    return name == MARKER or any(part.fullmatch(name) for part in parts)


def open_regular(path: Path) -> BinaryIO:
    """Opens a file of a trace for reading; raises OSError if it is none.

    A pipe in its place would never give an answer, and a device never an end.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "is no regular file", str(path))


def read_marker(directory: Path) -> dict[str, object] | None:
    """The marker of a trace directory; None if it is none."""
    try:
        with open_regular(directory / MARKER) as file:
            marker = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(marker, dict) or marker.get("format") != MARKER_FORMAT:
        return None
    return marker


def is_live(ring: Path) -> bool:
    """Whether the process that writes this ring file still runs; it holds a lock on it."""
    try:
        with open_regular(ring) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
