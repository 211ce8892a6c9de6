"""The trace directory: making it, joining it, and never destroying what is not ours.

A trace is a directory ``NAME.gnt`` with a marker file and, for every process that
took part, segment files and, while it runs or if it died, a ring file.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from gpu_narration._errors import TraceExistsError, TracePathError
from gpu_narration._marker import (
    FORMAT_VERSION,
    MARKER,
    MARKER_FORMAT,
    SUFFIX,
    is_live,
    is_ours,
    read_marker,
)


@dataclass(frozen=True, slots=True)
class TraceDirectory:
    """A directory that is ready for a recording of this process."""

    path: Path
    trace_id: str


def prepare(path: str | os.PathLike[str], *, overwrite: bool = False) -> TraceDirectory:
    """Makes a new trace directory.

    Raises :class:`TraceExistsError` if there is something at ``path`` already:
    a trace may be replaced with ``overwrite`` unless a process still writes it;
    what is no trace is never touched.  Raises :class:`TracePathError` where
    nothing can be written.
    """
    directory = with_suffix(path)
    if _exists(directory):
        _clear(directory, overwrite=overwrite)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        trace_id = uuid.uuid4().hex
        _write_marker(directory, trace_id)
    except OSError as error:
        raise TracePathError(
            f"cannot write a trace to {directory}: {error.strerror or error}",
            next_step="choose another path",
        ) from error
    return TraceDirectory(directory.absolute(), trace_id)


def join(path: str | os.PathLike[str], trace_id: str) -> TraceDirectory | None:
    """The trace of a parent process, if that is what lies at ``path``."""
    directory = with_suffix(path)
    marker = read_marker(directory)
    if marker is None or marker.get("trace_id") != trace_id:
        return None
    return TraceDirectory(directory.absolute(), trace_id)


def take_back(trace: TraceDirectory) -> None:
    """Removes a trace directory in which no process could begin to record."""
    with contextlib.suppress(OSError):
        if [entry.name for entry in trace.path.iterdir()] == [MARKER]:
            (trace.path / MARKER).unlink()
            trace.path.rmdir()


def unused(path: str | os.PathLike[str]) -> Path:
    """``path``, or where something is there already, the first free ``name-2``, ``name-3`` …"""
    directory = with_suffix(path)
    candidate = directory
    number = 2
    while _exists(candidate):
        candidate = directory.with_name(f"{directory.stem}-{number}{SUFFIX}")
        number += 1
    return candidate


def with_suffix(path: str | os.PathLike[str]) -> Path:
    """The path, with ``.gnt`` appended unless it is there.

    Raises :class:`TracePathError` for what names no file.
    """
    given: object = path  # of any type: a program that is not checked calls this too
    if not isinstance(given, (str, os.PathLike)) or not isinstance(os.fspath(given), str):
        raise TracePathError(
            f"{given!r} is no path", next_step="give a str or a pathlib.Path, as 'app.gnt'"
        )
    plain = Path(path)
    if plain.name in ("", "..") or "\0" in str(plain):
        raise TracePathError(
            f"{os.fspath(path)!r} names no directory that could be made",
            meaning="a trace is a new directory NAME.gnt",
            next_step="give a name for it, as app.gnt",
        )
    return plain if plain.name.endswith(SUFFIX) else plain.with_name(plain.name + SUFFIX)


def _exists(directory: Path) -> bool:
    """Raises :class:`TracePathError` where the system cannot even say (a name too long)."""
    try:
        return directory.exists()
    except (OSError, ValueError) as error:
        raise TracePathError(
            f"cannot write a trace to {directory}: {error}", next_step="choose another path"
        ) from error


def _clear(directory: Path, *, overwrite: bool) -> None:
    if not directory.is_dir():
        raise TraceExistsError(
            f"{directory} is a file, not a trace directory", next_step="choose another path"
        )
    entries = sorted(directory.iterdir())
    if not entries:
        return
    if read_marker(directory) is None:
        raise TraceExistsError(
            f"{directory} exists and is no trace",
            meaning="it is left as it is",
            next_step="choose another path",
        )
    if any(is_live(entry) for entry in entries if entry.suffix == ".ring"):
        raise TraceExistsError(
            f"{directory} is being written by a running process",
            next_step="choose another path, or wait for it to end",
        )
    if not overwrite:
        raise TraceExistsError(
            f"{directory} holds a trace already",
            next_step="choose another path, or replace it with overwrite=True "
            "(--overwrite on the command line)",
        )
    try:
        for entry in entries:
            if is_ours(entry.name):
                entry.unlink()
    except OSError as error:
        raise TracePathError(f"cannot replace {directory}: {error}") from error


def _write_marker(directory: Path, trace_id: str) -> None:
    marker = {
        "format": MARKER_FORMAT,
        "version": FORMAT_VERSION,
        "trace_id": trace_id,
        "created_unix_ns": time.time_ns(),
    }
    (directory / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")
